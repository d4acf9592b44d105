package kernel

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// Retain keeps, while it is on, what an earlier life of the agent left in the
// kernel: unicast routes of weft's own that nobody has wanted in this life,
// with all that they need (nexthop objects, groups, the overlay they lead
// into). They carry traffic until it is known what is wanted in their place.
// When it is switched off, the next Sync removes those that are left. The
// families are apart.
func (h *Host) Retain(f fabric.Family, on bool) {
	s := &h.state
	if s.retain.Get(f) == on {
		return
	}
	s.retain.Set(f, on)
	if on {
		return // keep finds them
	}
	s.routes.release(func(k RouteKey) bool { return fabric.FamilyOf(k.Dst.Addr()) == f })
	// What the other family's routes need is kept again.
	s.groups.release(nil)
	s.nexthops.release(nil)
	s.neighs.release(nil)
	s.fdb.release(nil)
	s.addrs.release(nil)
	s.links.release(nil)
}

// Retained is the number of routes that are there only because of Retain.
func (h *Host) Retained() int { return h.state.routes.kept }

// keep marks, of the objects that would go, those that Retain keeps. A route
// whose wish was ended in this life goes all the same.
func (s *state) keep() {
	if s.retain == (fabric.PerFamily[bool]{}) {
		return
	}
	s.routes.keepIf(func(e *entry[RouteKey, path]) bool {
		return !e.asked && e.actual.typ == Unicast && s.retain.Get(fabric.FamilyOf(e.key.Dst.Addr()))
	})
	var needed map[uint32]bool
	need := func(id uint32) bool {
		if needed == nil { // once: there may be many routes
			needed = s.neededNexthops()
		}
		return needed[id]
	}
	s.groups.keepIf(func(e *entry[uint32, Group]) bool { return need(e.key) })
	s.nexthops.keepIf(func(e *entry[uint32, gateway]) bool { return need(e.key) })
	s.keepOverlays()
}

// neededNexthops are the ids that retained routes lead to, and the members of
// those that are groups.
func (s *state) neededNexthops() map[uint32]bool {
	ids := map[uint32]bool{}
	for i := range s.routes.entries {
		if e := &s.routes.entries[i]; e.kept {
			ids[e.actual.nexthop] = true
		}
	}
	for i := range s.groups.entries {
		if e := &s.groups.entries[i]; e.present && ids[e.key] {
			for _, id := range e.actual.Members() {
				ids[id] = true
			}
		}
	}
	return ids
}

// keepOverlays keeps devices of weft's own that retained nexthop objects lead
// into, and what is on them: a fabric may have been moved from the overlay to
// routing while the agent was away.
func (s *state) keepOverlays() {
	var on map[string]bool
	needed := func(link string) bool {
		if on == nil {
			on = map[string]bool{}
			for i := range s.nexthops.entries {
				if e := &s.nexthops.entries[i]; e.kept {
					on[e.actual.link] = true
				}
			}
		}
		return on[link]
	}
	s.links.keepIf(func(e *entry[string, device]) bool { return needed(e.key) })
	s.addrs.keepIf(func(e *entry[Addr, struct{}]) bool { return needed(e.key.Link) })
	s.fdb.keepIf(func(e *entry[FDBKey, netip.Addr]) bool { return needed(e.key.Link) })
	s.neighs.keepIf(func(e *entry[NeighKey, fabric.MAC]) bool { return needed(e.key.Link) })
}
