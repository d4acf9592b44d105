package vxlan

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// sameSegment reports whether packets of family f go to r without
// encapsulation: the fabric wants it, r accepts it, and its address lies in a
// network that this host is connected to.
func sameSegment(in backends.Input, r backends.Remote, f fabric.Family) bool {
	far := r.Underlay.Get(f)
	if !in.Spec.VXLAN.DirectRouting || in.Underlay.Interface == "" || !far.IsValid() || !r.CanReceive(fabric.PathDirect) {
		return false
	}
	return slices.ContainsFunc(in.Underlay.Connected, func(p netip.Prefix) bool { return p.Contains(far) })
}

func direct(objs *kernel.Objects, in backends.Input, r backends.Remote, f fabric.Family) backends.Way {
	objs.Nexthops = append(objs.Nexthops, kernel.Nexthop{
		ID: kernel.NexthopID(r.Index, f, 0), Link: in.Underlay.Interface, Gateway: r.Underlay.Get(f),
	})
	return backends.Way{Kind: fabric.PathDirect, Reason: "on the same segment"}
}

// overlay adds what leads to r's VTEP: a gateway that is never asked for by ARP
// or ND, because the neighbour entry answers for it, and that need not be
// connected (onlink).
func overlay(objs *kernel.Objects, in backends.Input, r backends.Remote, first netip.Prefix) backends.Way {
	far := r.Underlay.Get(outer(in.Underlay))
	switch {
	case !r.CanReceive(fabric.PathVXLAN):
		return backends.Way{Reason: "it accepts no VXLAN"}
	case !far.IsValid():
		return backends.Way{Reason: "it has no " + outer(in.Underlay).String() + " underlay address"}
	case !r.VTEPMAC.Valid():
		return backends.Way{Reason: "it has no VTEP MAC address"}
	}
	dev, f := DeviceName(in.Spec), fabric.FamilyOf(first.Addr())
	gateway := vtep(first, r.VTEPMAC)
	objs.Neighs = append(objs.Neighs, kernel.Neigh{NeighKey: kernel.NeighKey{Link: dev, Addr: gateway}, MAC: r.VTEPMAC})
	objs.Nexthops = append(objs.Nexthops, kernel.Nexthop{
		ID: kernel.NexthopID(r.Index, f, 0), Link: dev, Gateway: gateway, OnLink: true,
	})
	return backends.Way{Kind: fabric.PathVXLAN, Reason: "over the overlay"}
}

// vtep is the address by which a peer's VTEP is the gateway of a family. In
// IPv4 it is that of the peer's first subnet. In IPv6 the kernel refuses an
// onlink gateway to which a route leads through another device
// (net/ipv6/route.c, ip6_validate_gw), be it the peer's own route while it
// moves into the overlay; the link-local address that follows from the MAC
// (RFC 4291, appendix A) is beyond the reach of any route.
func vtep(first netip.Prefix, m fabric.MAC) netip.Addr {
	if first.Addr().Is4() {
		return first.Addr()
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// forwarding leads frames for r's VTEP to its underlay address.
func forwarding(in backends.Input, r backends.Remote) kernel.FDB {
	return kernel.FDB{FDBKey: kernel.FDBKey{Link: DeviceName(in.Spec), MAC: r.VTEPMAC}, Dst: r.Underlay.Get(outer(in.Underlay))}
}

// smallestMTU is what every IPv4 host must accept (RFC 791, section 3.2); a
// record that claims less is not believed.
const smallestMTU = 576

// routes leads r's subnets to the nexthop object. A peer whose MTU is smaller
// than ours gets it on its routes.
func routes(objs *kernel.Objects, in backends.Input, r backends.Remote, f fabric.Family) {
	mtu := 0
	if theirs := r.MTU - overhead(outer(in.Underlay)); theirs >= smallestMTU && theirs < (Backend{}).MTU(in) {
		mtu = theirs
	}
	for _, s := range r.Subnets {
		if fabric.FamilyOf(s.Prefix.Addr()) == f {
			objs.Routes = append(objs.Routes, kernel.Route{RouteKey: key(s.Prefix), Nexthop: kernel.NexthopID(r.Index, f, 0), MTU: mtu})
		}
	}
}

func key(p netip.Prefix) kernel.RouteKey { return kernel.RouteKey{Dst: p, Metric: kernel.Metric} }

// firstOf is the first subnet of a family.
func firstOf(subnets []fabric.Subnet, f fabric.Family) (netip.Prefix, bool) {
	for _, s := range subnets {
		if fabric.FamilyOf(s.Prefix.Addr()) == f {
			return s.Prefix, true
		}
	}
	return netip.Prefix{}, false
}

// combine makes one Way of those of the families.
func combine(ways []backends.Way) backends.Way {
	switch {
	case len(ways) == 0:
		return backends.Way{Reason: "it has no subnet"}
	case len(ways) == 2 && ways[0] != ways[1]:
		kinds := []string{string(ways[0].Kind), string(ways[1].Kind)}
		kind := fabric.PathKind(strings.Trim(strings.Join(kinds, "+"), "+"))
		return backends.Way{Kind: kind, Reason: "IPv4: " + ways[0].Reason + "; IPv6: " + ways[1].Reason}
	}
	return ways[0]
}
