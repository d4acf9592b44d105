package bgp

import (
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Backend is the routing backend's part that does not come from the speaker.
// It has no state.
type Backend struct{}

// alone is the plan without an overlay.
func alone(in backends.Input) backends.Input {
	plan := in.Spec.Plan()
	plan.Paths, plan.Overlay = nil, fabric.OverlayNever
	in.Plans = []fabric.Plan{plan}
	return in
}

// MTU is that of the bridge and the pods, in bytes: nothing is added to
// packets on their way.
func (Backend) MTU(in backends.Input) int { return backends.PodMTU(alone(in)) }

// Base is everything that does not depend on peers.
func (Backend) Base(in backends.Input) kernel.Objects { return backends.Base(alone(in)) }

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
