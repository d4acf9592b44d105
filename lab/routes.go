package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/fabric"
)

// Route is a unicast route of the main table.
type Route struct {
	Dst  netip.Prefix
	Hops []Hop
}

// Hop is one of the ways of a route, which are in the order of their devices.
type Hop struct {
	Gateway netip.Addr // zero: on the segment
	Dev     string
}

// String is "198.18.1.1 eth0".
func (h Hop) String() string {
	if !h.Gateway.IsValid() {
		return h.Dev
	}
	return h.Gateway.String() + " " + h.Dev
}

// Routes lists the routes to prefixes inside the given one, by prefix.
// Nexthop objects are resolved; blackholes and the like are left out.
func (n *Namespace) Routes(within netip.Prefix) ([]Route, error) {
	family := netlink.FAMILY_V4
	if fabric.FamilyOf(within.Addr()) == fabric.IPv6 {
		family = netlink.FAMILY_V6
	}
	names, err := n.deviceNames()
	if err != nil {
		return nil, err
	}
	all, err := n.links.RouteList(nil, family)
	if err != nil {
		return nil, fmt.Errorf("routes of %s: %w", n.Name, err)
	}
	var out []Route
	for _, r := range all {
		dst, ok := prefixOf(r.Dst)
		if !ok || !within.Overlaps(dst) || dst.Bits() < within.Bits() || r.Type != unicast {
			continue
		}
		ways := r.MultiPath
		if len(ways) == 0 {
			ways = []*netlink.NexthopInfo{{Gw: r.Gw, LinkIndex: r.LinkIndex, Via: r.Via}}
		}
		route := Route{Dst: dst}
		for _, w := range ways {
			route.Hops = append(route.Hops, Hop{gatewayOf(w), names[w.LinkIndex]})
		}
		slices.SortFunc(route.Hops, func(a, b Hop) int { return strings.Compare(a.Dev, b.Dev) })
		out = append(out, route)
	}
	slices.SortFunc(out, func(a, b Route) int { return a.Dst.Addr().Compare(b.Dst.Addr()) })
	return out, nil
}

// unicast is RTN_UNICAST.
const unicast = 1

// deviceNames are the names of the namespace's devices by index.
func (n *Namespace) deviceNames() (map[int]string, error) {
	links, err := n.links.LinkList()
	if err != nil {
		return nil, fmt.Errorf("links of %s: %w", n.Name, err)
	}
	out := make(map[int]string, len(links))
	for _, l := range links {
		out[l.Attrs().Index] = l.Attrs().Name
	}
	return out, nil
}

// gatewayOf is the gateway of one way, which may be of the other family (RFC
// 5549).
func gatewayOf(w *netlink.NexthopInfo) netip.Addr {
	if via, ok := w.Via.(*netlink.Via); ok {
		a, _ := netip.AddrFromSlice(via.Addr)
		return a.Unmap()
	}
	a, _ := netip.AddrFromSlice(w.Gw)
	return a.Unmap()
}
