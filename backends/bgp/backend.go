package bgp

import (
	"github.com/weft-net/weft/backends"
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

// Base is everything that does not depend on peers.
func (b Backend) Base(in backends.Input) kernel.Objects { return kernel.Objects{} }

// Peer adds nothing: the routes to peers come from the speaker, see FIB.
func (Backend) Peer(_ *kernel.Objects, _ backends.Input, r backends.Remote) backends.Way {
	return backends.Way{}
}
