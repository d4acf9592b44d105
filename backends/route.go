package backends

import (
	"net/netip"

	"github.com/weft-net/weft/kernel"
)

// Via is where the route to one of a peer's subnets leads.
type Via struct {
	Nexthop     uint32 // id of a nexthop object or group; 0: there is no way
	MTU         int    // bytes, see RouteMTU; 0: the route says nothing
	Unreachable bool   // senders are told that there is no way
}

// Route leads to one of a peer's subnets. It is false where there is to be
// none. Another way to the subnet is the same route with another Via, which the
// kernel replaces in one message.
func Route(p netip.Prefix, via Via) (kernel.Route, bool) {
	r := kernel.Route{RouteKey: kernel.RouteKey{Dst: p, Metric: kernel.Metric}, Nexthop: via.Nexthop, MTU: via.MTU}
	if via.Unreachable {
		r.Type, r.Nexthop, r.MTU = kernel.Unreachable, 0, 0
	}
	return r, via.Unreachable || via.Nexthop != 0
}
