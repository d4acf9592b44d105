package bgp

import (
	"fmt"
	"net/netip"
	"slices"
)

// Guard is what no peer may say, whatever the policies let in.
type Guard struct {
	Networks []netip.Prefix // of the fabric's pods: no next hop lies in one
	Own      []netip.Prefix // leases of this node: nobody else has a route to them
	Addrs    []netip.Addr   // of this host: no next hop is one
}

// Guard replaces the guard. What was taken in before is judged anew.
func (f *FIB) Guard(g Guard) {
	if slices.Equal(g.Networks, f.guard.Networks) && slices.Equal(g.Own, f.guard.Own) && slices.Equal(g.Addrs, f.guard.Addrs) {
		return
	}
	f.guard = Guard{Networks: slices.Clone(g.Networks), Own: slices.Clone(g.Own), Addrs: slices.Clone(g.Addrs)}
	for _, w := range f.ways {
		why := f.guard.hop(w.addr)
		if (why == "") != (w.refused == "") {
			for s := range w.sets {
				f.touch(s)
			}
		}
		w.refused = why
	}
	for _, slot := range f.index {
		r := &f.routes[slot]
		if why := f.guard.prefix(r.prefix); why != r.refused {
			r.refused = why
			f.list(slot)
		}
	}
}

// refusal is why a prefix is not taken, whoever announces it.
type refusal uint8

const (
	allowed refusal = iota
	ownSubnet
	ownAddress
	unroutable
)

// unroutables are where no route may lead: this host, the link, groups (RFC
// 6890). IPv6 forms of IPv4 addresses would be routes beside those to the
// addresses themselves.
var unroutables = [...]netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("127.0.0.0/8"),
	netip.MustParsePrefix("169.254.0.0/16"), netip.MustParsePrefix("224.0.0.0/4"),
	netip.MustParsePrefix("::/127"), netip.MustParsePrefix("::ffff:0:0/96"),
	netip.MustParsePrefix("fe80::/10"), netip.MustParsePrefix("ff00::/8"),
}

// prefix judges a prefix.
func (g *Guard) prefix(p netip.Prefix) refusal {
	switch {
	case slices.ContainsFunc(g.Own, func(own netip.Prefix) bool { return inside(p, own) }):
		return ownSubnet
	case p.IsSingleIP() && g.isHost(p.Addr()):
		return ownAddress
	}
	for _, u := range unroutables {
		if inside(p, u) {
			return unroutable
		}
	}
	return allowed
}

func (g *Guard) isHost(a netip.Addr) bool {
	a = a.WithZone("")
	return slices.ContainsFunc(g.Addrs, func(own netip.Addr) bool { return own.WithZone("").Unmap() == a })
}

func (r refusal) words(g Guard, p netip.Prefix) string {
	switch r {
	case ownSubnet:
		i := slices.IndexFunc(g.Own, func(own netip.Prefix) bool { return inside(p, own) })
		return fmt.Sprintf("it lies in this node's own subnet %s", g.Own[i])
	case ownAddress:
		return "it is an address of this host"
	case unroutable:
		return "no route may lead there: it is of this host, of a link or a group"
	}
	return ""
}

// hop judges a next hop: why it is refused, in words, or nothing.
func (g *Guard) hop(a netip.Addr) string {
	switch {
	case !a.IsValid() || a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return "is no address of a router"
	case a.Is6() && a.IsLinkLocalUnicast() && a.Zone() == "":
		return "is link-local, and of no known interface"
	case g.isHost(a):
		return "is an address of this host"
	}
	for _, n := range g.Networks {
		if n.Contains(a.WithZone("")) {
			return fmt.Sprintf("lies in %s, where pods are", n)
		}
	}
	return ""
}
