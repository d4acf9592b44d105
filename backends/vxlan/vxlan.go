// Package vxlan is the overlay: a VXLAN device for each generation of it, and
// for each peer and generation a neighbour entry per family, a forwarding entry
// and one nexthop object per family. It is pure: see package backends.
package vxlan

import (
	"net/netip"
	"slices"
	"strconv"
	"unique"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// DeviceName is that of a generation's device. While an overlay is moved to
// another port there are two with one VNI, so the names take turns.
func DeviceName(o fabric.VXLANSpec) string {
	name := kernel.Prefix + "." + strconv.FormatUint(uint64(o.VNI), 10)
	if o.Generation&1 != 0 {
		name += "b"
	}
	return unique.Make(name).Value() // each peer's objects hold it
}

// VTEPMAC is the overlay devices' address on the node with the given id. It
// follows from the id alone, so a device made anew is known to all peers.
func VTEPMAC(id fabric.NodeID) fabric.MAC { return fabric.DeriveMAC("vtep", string(id)) }

// Overlays are those that nodes may use by any of the plans, one of even and one
// of odd generation at most, as everything of theirs is named by that. Plans of
// one generation differ in what pods send at most.
func Overlays(in backends.Input) []fabric.VXLANSpec {
	var out []fabric.VXLANSpec
	for _, p := range in.InForce() {
		known := slices.ContainsFunc(out, func(o fabric.VXLANSpec) bool { return o.Generation&1 == p.VXLAN.Generation&1 })
		if !known && p.Uses(in.Spec.PathRules, fabric.PathVXLAN) {
			out = append(out, p.VXLAN)
		}
	}
	return out
}

// Devices are those of the overlays, with what lets packets through them. Outer
// packets are not to be fragmented: where the underlay shrinks, senders are told
// (see backends.Base), or probes find out.
func Devices(in backends.Input) kernel.Objects {
	var objs kernel.Objects
	for _, o := range Overlays(in) {
		dev := DeviceName(o)
		objs.Links = append(objs.Links, device(in, o))
		objs.Sysctls = append(objs.Sysctls, backends.TunnelSysctls(in.Spec, dev)...)
		var seen fabric.PerFamily[bool]
		for _, p := range in.Subnets {
			if f := fabric.FamilyOf(p.Addr()); !seen.Get(f) { // the VTEP's own address is what the host's packets into the overlay come from
				objs.Addrs = append(objs.Addrs, kernel.Addr{Link: dev, Prefix: netip.PrefixFrom(p.Addr(), f.Bits())})
				seen.Set(f, true)
			}
		}
	}
	return objs
}

// device never has an MTU of more than fits into the underlay's: the kernel
// would refuse it (drivers/net/vxlan/vxlan_core.c, vxlan_change_mtu), and pods
// may send more while the fabric moves away from the overlay.
func device(in backends.Input, o fabric.VXLANSpec) kernel.Link {
	outer := backends.Outer(in.Underlay.Addrs)
	return kernel.Link{
		Name: DeviceName(o), Kind: kernel.VXLAN, MAC: VTEPMAC(in.Self),
		MTU: min(backends.DeviceMTU(in), in.Underlay.MTU-backends.Overhead(outer)),
		VXLAN: kernel.VXLANConfig{
			VNI: o.VNI, Port: o.Port, UDPChecksum: o.UDPChecksum, DF: true,
			Uplink: in.Underlay.Interface, Local: in.Underlay.Addrs.Get(outer),
		},
	}
}
