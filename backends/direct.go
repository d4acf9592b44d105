package backends

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// The slots of a peer's nexthop objects (kernel.NexthopID). Those of the
// overlay are for even and odd generations: there are two while one is moved.
const (
	slotVXLAN  = 0
	slotDirect = 1
)

// NexthopID is that of the object by which a path leads to the node with this
// index. BGP's objects are shared, and not numbered by nodes: it has 0.
func NexthopID(index uint32, f fabric.Family, p fabric.Path) uint32 {
	switch p.Kind {
	case fabric.PathDirect:
		return kernel.NexthopID(index, f, slotDirect)
	case fabric.PathVXLAN:
		return kernel.NexthopID(index, f, slotVXLAN+2*uint32(p.Generation&1))
	}
	return 0
}

// Direct adds the object that leads to r without encapsulation, by its underlay
// address of family f, if r accepts that and the address lies in a network that
// this host is connected to. Id is 0 where it does not. Reason says how, or why
// not.
func Direct(objs *kernel.Objects, in Input, r Remote, f fabric.Family) (id uint32, reason Reason) {
	far := r.Underlay.Get(f)
	switch {
	case !r.CanReceive(fabric.PathDirect):
		return 0, Reason{Form: "it accepts no packets from the segment"}
	case !far.IsValid():
		return 0, Reason{Form: "it has no FAMILY underlay address", Family: f}
	case in.Underlay.Interface == "":
		return 0, Reason{Form: "this host's underlay address is on no segment"}
	case !slices.ContainsFunc(in.Underlay.Connected, func(p netip.Prefix) bool { return p.Contains(far) }):
		return 0, Reason{Form: "FAR is on no segment of this host", Far: far}
	}
	id = NexthopID(r.Index, f, fabric.Path{Kind: fabric.PathDirect})
	objs.Nexthops = append(objs.Nexthops, kernel.Nexthop{ID: id, Link: in.Underlay.Interface, Gateway: far})
	return id, Reason{Form: "on the same segment, by LINK", Link: in.Underlay.Interface}
}
