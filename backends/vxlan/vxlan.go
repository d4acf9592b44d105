// Package vxlan is the overlay backend: one VXLAN device for the fabric and,
// per peer, a neighbour entry, a forwarding entry, one nexthop object per
// family and a route per subnet; peers on the same segment are routed to
// directly where the fabric allows it. It is pure: see package backends.
package vxlan

import (
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Overheads of the encapsulation in bytes: outer IP header, UDP, VXLAN and the
// inner Ethernet header (RFC 7348, section 5).
const (
	overheadIPv4 = 20 + 8 + 8 + 14
	overheadIPv6 = 40 + 8 + 8 + 14
)

// Backend is the VXLAN backend. It has no state.
type Backend struct{}

// DeviceName is the overlay's device.
func DeviceName(spec *fabric.Spec) string {
	return fmt.Sprintf("%s.%d", kernel.Prefix, spec.VXLAN.VNI)
}

// VTEPMAC is the overlay device's address on the node with the given id. It
// follows from the id alone, so a device made anew is known to all peers.
func VTEPMAC(id fabric.NodeID) fabric.MAC { return fabric.DeriveMAC("vtep", string(id)) }

// Receives lists the paths by which every node accepts packets, whichever the
// fabric uses at the moment: that is what lets a fabric change while it runs.
func Receives() []fabric.PathKind {
	return []fabric.PathKind{fabric.PathVXLAN, fabric.PathDirect}
}

// outer is the family of the outer packets. A VXLAN device speaks one family
// only (drivers/net/vxlan/vxlan_core.c, vxlan_sock_add): IPv4 where the host
// has it.
func outer(u kernel.Underlay) fabric.Family {
	if u.Addrs.IPv4.IsValid() {
		return fabric.IPv4
	}
	return fabric.IPv6
}

func overhead(f fabric.Family) int {
	if f == fabric.IPv6 {
		return overheadIPv6
	}
	return overheadIPv4
}

// MTU is that of the overlay device, the bridge and the pods, in bytes.
func (Backend) MTU(in backends.Input) int {
	if in.Spec.VXLAN.MTU != 0 {
		return in.Spec.VXLAN.MTU
	}
	return in.Underlay.MTU - overhead(outer(in.Underlay))
}

// Base is everything that does not depend on peers.
func (b Backend) Base(in backends.Input) kernel.Objects {
	mtu := b.MTU(in)
	dev := DeviceName(in.Spec)
	objs := backends.Base(in, mtu, dev)
	objs.Links = append(objs.Links, kernel.Link{Name: dev, Kind: kernel.VXLAN, MAC: VTEPMAC(in.Self), MTU: mtu, VXLAN: kernel.VXLANConfig{
		VNI: in.Spec.VXLAN.VNI, Port: in.Spec.VXLAN.Port, UDPChecksum: in.Spec.VXLAN.UDPChecksum,
		Uplink: in.Underlay.Interface, Local: in.Underlay.Addrs.Get(outer(in.Underlay)),
	}})
	var seen fabric.PerFamily[bool]
	for _, p := range in.Subnets {
		if f := fabric.FamilyOf(p.Addr()); !seen.Get(f) { // the VTEP's own address is what the host's packets into the overlay come from
			objs.Addrs = append(objs.Addrs, kernel.Addr{Link: dev, Prefix: netip.PrefixFrom(p.Addr(), f.Bits())})
			seen.Set(f, true)
		}
	}
	return objs
}

// Peer appends to objs what the host needs to reach r and says how it does.
func (Backend) Peer(objs *kernel.Objects, in backends.Input, r backends.Remote) backends.Way {
	if r.Down {
		for _, s := range r.Subnets {
			objs.Routes = append(objs.Routes, kernel.Route{RouteKey: key(s.Prefix), Type: kernel.Unreachable})
		}
		return backends.Way{Kind: backends.Unreachable, Reason: "its agent is gone and its host answers no probe"}
	}
	var ways [2]backends.Way
	n := 0
	encapsulated := false
	for _, f := range fabric.Families {
		first, ok := firstOf(r.Subnets, f)
		if !ok {
			continue
		}
		if sameSegment(in, r, f) {
			ways[n] = direct(objs, in, r, f)
		} else {
			ways[n] = overlay(objs, in, r, first)
			if ways[n].Kind != "" && !encapsulated { // one entry serves both families
				objs.FDB = append(objs.FDB, forwarding(in, r))
				encapsulated = true
			}
		}
		if ways[n].Kind != "" {
			routes(objs, in, r, f)
		}
		n++
	}
	return combine(ways[:n])
}
