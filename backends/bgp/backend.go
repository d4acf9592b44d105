package bgp

import (
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Backend is the routing backend's part that does not come from the speaker.
// It has no state.
type Backend struct{}

// MTU is that of the bridge and the pods, in bytes: nothing is added to
// packets on their way.
func (Backend) MTU(in backends.Input) int {
	if in.Spec.VXLAN.MTU != 0 {
		return in.Spec.VXLAN.MTU
	}
	return in.Underlay.MTU
}

// Base is everything that does not depend on peers. The kernel is to choose
// among equal ways by addresses and ports: by addresses alone, all that two
// pods say to each other would take one way.
func (b Backend) Base(in backends.Input) kernel.Objects {
	objs := backends.Base(in, b.MTU(in))
	for _, f := range fabric.Families {
		if in.Spec.Network.Get(f).IsValid() {
			objs.Sysctls = append(objs.Sysctls, kernel.Sysctl{Path: "net/" + f.String() + "/fib_multipath_hash_policy", Value: "1"})
		}
	}
	return objs
}

// Peer adds nothing: the routes to peers come from the speaker, see FIB.
func (Backend) Peer(_ *kernel.Objects, _ backends.Input, r backends.Remote) backends.Way {
	switch {
	case r.Down:
		return backends.Way{Kind: backends.Unreachable, Reason: "its agent is gone and its host answers no probe"}
	case len(r.Subnets) == 0:
		return backends.Way{Reason: "it has no subnet"}
	case !r.CanReceive(fabric.PathBGP):
		return backends.Way{Reason: "it does not route yet"}
	}
	return backends.Way{Kind: fabric.PathBGP, Reason: "as the routers say"}
}
