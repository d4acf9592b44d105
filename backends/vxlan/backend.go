package vxlan

import (
	"slices"
	"strings"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Backend chooses between the segment and the overlay without a memory. It has
// no state.
type Backend struct{}

// MTU is that of the pods, in bytes.
func (Backend) MTU(in backends.Input) int { return backends.PodMTU(in) }

// Base is everything that does not depend on peers.
func (Backend) Base(in backends.Input) kernel.Objects {
	objs, dev := backends.Base(in), Devices(in)
	objs.Links, objs.Addrs = append(objs.Links, dev.Links...), append(objs.Addrs, dev.Addrs...)
	objs.Sysctls = append(objs.Sysctls, dev.Sysctls...)
	return objs
}

// Peer appends to objs what the host needs to reach r and says how it does.
func (Backend) Peer(objs *kernel.Objects, in backends.Input, r backends.Remote) backends.Way {
	var ways []backends.Way
	plan := in.Spec.Plan()
	mtu := backends.PeerMTU(in, plan, r.Peer)
	overlay, over := Arm(objs, in, r, in.Spec.VXLAN)
	for _, f := range fabric.Families {
		if _, ok := firstOf(r.Subnets, f); !ok {
			continue
		}
		via := backends.Via{Nexthop: overlay.Get(f), MTU: backends.RouteMTU(in, f, mtu), Unreachable: r.Down}
		way := backends.Way{Kind: fabric.PathVXLAN, Reason: over}
		if slices.Contains(plan.Default(false), fabric.PathDirect) {
			if id, reason := backends.Direct(objs, in, r, f); id != 0 {
				via.Nexthop, way = id, backends.Way{Kind: fabric.PathDirect, Reason: reason}
			}
		}
		switch {
		case r.Down:
			way = backends.Way{Kind: backends.Unreachable, Reason: "its agent is gone and its host answers no probe"}
		case via.Nexthop == 0:
			way.Kind = ""
		}
		backends.Routes(objs, r, f, via)
		ways = append(ways, way)
	}
	return combine(ways)
}

// combine makes one Way of those of the families.
func combine(ways []backends.Way) backends.Way {
	switch {
	case len(ways) == 0:
		return backends.Way{Reason: "it has no subnet"}
	case len(ways) == 2 && ways[0] != ways[1]:
		kinds := []string{string(ways[0].Kind), string(ways[1].Kind)}
		kind := fabric.PathKind(strings.Trim(strings.Join(slices.Compact(kinds), "+"), "+"))
		return backends.Way{Kind: kind, Reason: "IPv4: " + ways[0].Reason + "; IPv6: " + ways[1].Reason}
	}
	return ways[0]
}
