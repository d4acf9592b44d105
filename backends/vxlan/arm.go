package vxlan

import (
	"net/netip"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Arm adds what leads to r through overlay o: a forwarding entry for its VTEP
// and, for each family that it has subnets of, a nexthop object, whose id is in
// via. Its gateway is never asked for by ARP or ND, because the neighbour entry
// answers for it, and need not be connected (onlink). Reason says how, or why
// nothing was added.
func Arm(objs *kernel.Objects, in backends.Input, r backends.Remote, o fabric.VXLANSpec) (via fabric.PerFamily[uint32], reason backends.Reason) {
	outer := backends.Outer(in.Underlay.Addrs)
	far := r.Underlay.Get(outer)
	switch {
	case !r.CanReceive(fabric.PathVXLAN):
		return via, backends.Reason{Form: "it accepts no VXLAN"}
	case !far.IsValid():
		return via, backends.Reason{Form: "it has no FAMILY underlay address", Family: outer}
	case !r.VTEPMAC.Valid():
		return via, backends.Reason{Form: "it has no VTEP MAC address"}
	case len(r.Subnets) == 0:
		return via, backends.Reason{Form: "it has no subnet"}
	}
	dev := DeviceName(o)
	objs.FDB = append(objs.FDB, kernel.FDB{FDBKey: kernel.FDBKey{Link: dev, MAC: r.VTEPMAC}, Dst: far})
	for _, f := range fabric.Families {
		first, ok := r.FirstSubnet(f)
		if !ok {
			continue
		}
		id := backends.NexthopID(r.Index, f, fabric.Path{Kind: fabric.PathVXLAN, Generation: o.Generation})
		gateway := gatewayOf(first, r.VTEPMAC)
		objs.Neighs = append(objs.Neighs, kernel.Neigh{NeighKey: kernel.NeighKey{Link: dev, Addr: gateway}, MAC: r.VTEPMAC})
		objs.Nexthops = append(objs.Nexthops, kernel.Nexthop{ID: id, Link: dev, Gateway: gateway, OnLink: true})
		via.Set(f, id)
	}
	return via, backends.Reason{Form: "through LINK to FAR", Link: dev, Far: far}
}

// gatewayOf is the address by which a peer's VTEP is the gateway of a family. In
// IPv4 it is that of the peer's first subnet. In IPv6 the kernel refuses an
// onlink gateway to which a route leads through another device
// (net/ipv6/route.c, ip6_validate_gw), be it the peer's own route while it
// moves into the overlay; the link-local address that follows from the MAC
// (RFC 4291, appendix A) is beyond the reach of any route.
func gatewayOf(first netip.Prefix, m fabric.MAC) netip.Addr {
	if first.Addr().Is4() {
		return first.Addr()
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}
