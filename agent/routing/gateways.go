package routing

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// forgetGateway is how long a gateway's link must have been up without a default
// route through it before its session goes.
const forgetGateway = 30 * time.Second

// link is an interface of this host.
type link struct {
	name string
	up   bool           // with carrier
	nets []netip.Prefix // addresses with their lengths, link-local ones left out
}

// gateways remembers the gateways of default routes. A default route goes with
// its link, also when the link comes back before anybody looked; the session
// must outlive that, so a gateway once seen stays until its link works without it.
type gateways map[netip.Addr]*gateway

type gateway struct {
	link    string    // empty: not known
	without time.Time // since when the link is up and the route missing
}

// follow takes the gateways that there are now and returns those that count,
// sorted.
func (g gateways) follow(seen []netip.Addr, links []link, now time.Time) []netip.Addr {
	for _, a := range seen {
		if g[a] == nil {
			g[a] = &gateway{}
		}
		g[a].without = time.Time{}
		if name := linkTo(a, links); name != "" {
			g[a].link = name
		}
	}
	for a, known := range g {
		switch {
		case slices.Contains(seen, a):
		case !known.works(links, len(seen) > 0):
			known.without = time.Time{}
		case known.without.IsZero():
			known.without = now
		case now.Sub(known.without) >= forgetGateway:
			delete(g, a)
		}
	}
	out := make([]netip.Addr, 0, len(g))
	for a := range g {
		out = append(out, a)
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out
}

// works reports whether the gateway's link is up; where nobody knows its link,
// whether any default route is there.
func (g *gateway) works(links []link, others bool) bool {
	if g.link == "" {
		return others
	}
	return slices.ContainsFunc(links, func(l link) bool { return l.name == g.link && l.up })
}

// linkTo names the link that a gateway is behind.
func linkTo(a netip.Addr, links []link) string {
	if a.Zone() != "" {
		return a.Zone()
	}
	for _, l := range links {
		if slices.ContainsFunc(l.nets, func(p netip.Prefix) bool { return p.Masked().Contains(a) }) {
			return l.name
		}
	}
	return ""
}

// keepAddrs are the node's own addresses as its sessions know them. A host with
// several uplinks is found under another address while one of them is down; the
// BGP identifier would change with it and reset every session. So an address
// counts for as long as the host has it.
func keepAddrs(was, now fabric.PerFamily[netip.Addr], links []link) fabric.PerFamily[netip.Addr] {
	for _, f := range fabric.Families {
		if a := was.Get(f); a.IsValid() && has(links, a) {
			now.Set(f, a)
		}
	}
	return now
}

func has(links []link, a netip.Addr) bool {
	return slices.ContainsFunc(links, func(l link) bool {
		return slices.ContainsFunc(l.nets, func(p netip.Prefix) bool { return p.Addr() == a })
	})
}

// readLinks lists this host's interfaces. One that cannot be read is left out,
// and so are weft's own and its pods', by their names: no gateway is behind
// them, and package net reads all addresses of the host once for each interface,
// half a second of work with 500 pods.
func readLinks() []link {
	list, err := net.Interfaces()
	if err != nil {
		return nil // as if none were up: nothing is forgotten
	}
	var out []link
	for _, i := range list {
		if strings.HasPrefix(i.Name, kernel.Prefix) {
			continue
		}
		l := link{name: i.Name, up: i.Flags&(net.FlagUp|net.FlagRunning) == net.FlagUp|net.FlagRunning}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil && !p.Addr().IsLinkLocalUnicast() {
				l.nets = append(l.nets, p)
			}
		}
		out = append(out, l)
	}
	return out
}
