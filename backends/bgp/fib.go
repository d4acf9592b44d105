package bgp

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// FIB turns what the speaker learnt into kernel objects: a route for each
// prefix, and for each set of next hops that was announced an object that all
// its routes share. It has state and no I/O, and belongs to one goroutine.
//
// A set is named by its next hops as they were announced, not by those that
// can be reached: when one is lost, the set's object changes and its routes,
// however many, stay as they are. What a change costs is in proportion to what
// changes; routes that are not touched are not looked at.
type FIB struct {
	guard  Guard
	index  map[netip.Prefix]int32 // of routes
	routes []fibRoute
	free   []int32 // of routes
	listed []int32 // of routes that Take must look at

	sets    map[string]*hopSet
	touched []*hopSet // that settle must look at
	ways    map[netip.Addr]*way
	objects objects
	claims  map[netip.Prefix]uint16 // prefixes whose routes others make, and what these say of packets' size

	inForce int // routes that lead somewhere, as of the last Take
	scratch []byte
	sorted  []netip.Addr
}

// fibRoute is one prefix that was learnt. There are a hundred thousand of
// them: it is kept small.
type fibRoute struct {
	prefix     netip.Prefix
	set        *hopSet // nil: withdrawn, and gone with the next Take
	next, prev int32   // the set's other routes
	given      uint32  // the nexthop object as of the last Take; 0: no route
	refused    refusal
	size       uint16 // see Size
	listed     bool
	claimed    bool
	owed       bool // a claim has ended: given is where the claimer's route led
}

// none ends a list of routes.
const none = -1

// DefaultMetric is the priority of a default route that was learnt: below any
// that the administrator or a daemon of his would set.
const DefaultMetric = 1 << 30

// RouteState is what becomes of a prefix.
type RouteState struct {
	NextHops []netip.Addr // as announced
	Hops     []kernel.Hop // where packets go
	Refused  string       // why there is no route, in words; empty: there is
}

// NewFIB makes an empty one.
func NewFIB() *FIB {
	return &FIB{
		index: make(map[netip.Prefix]int32), sets: make(map[string]*hopSet),
		ways: make(map[netip.Addr]*way), objects: newObjects(), claims: make(map[netip.Prefix]uint16),
	}
}

// Learn takes in changes.
func (f *FIB) Learn(changes []Change) {
	for i := range changes {
		f.learn(&changes[i])
	}
}

func (f *FIB) learn(c *Change) {
	prefix := c.Prefix.Masked()
	if !prefix.IsValid() {
		return
	}
	slot, known := f.index[prefix]
	if len(c.NextHops) == 0 && !known {
		return
	}
	if !known {
		slot = f.admit(prefix)
	}
	var to *hopSet
	if len(c.NextHops) > 0 {
		to = f.set(fabric.FamilyOf(prefix.Addr()), c.NextHops, f.routes[slot].size)
	}
	f.move(slot, to)
}

// move puts a route into another set; nil: into none.
func (f *FIB) move(slot int32, to *hopSet) {
	if f.routes[slot].set == to {
		return
	}
	f.leave(slot)
	if to != nil {
		f.join(slot, to)
	}
	f.list(slot)
}

// admit gives a prefix a slot.
func (f *FIB) admit(p netip.Prefix) int32 {
	r := fibRoute{prefix: p, next: none, prev: none, refused: f.guard.prefix(p)}
	r.size, r.claimed = f.claims[p]
	slot := int32(len(f.routes))
	if n := len(f.free); n > 0 {
		slot, f.free = f.free[n-1], f.free[:n-1]
		f.routes[slot] = r
	} else {
		f.routes = append(f.routes, r)
	}
	f.index[p] = slot
	return slot
}

func (f *FIB) join(slot int32, s *hopSet) {
	r := &f.routes[slot]
	r.set, r.prev, r.next = s, none, s.first
	if s.first != none {
		f.routes[s.first].prev = slot
	}
	s.first = slot
	if s.routes++; s.routes == 1 {
		f.touch(s)
	}
}

func (f *FIB) leave(slot int32) {
	r := &f.routes[slot]
	s := r.set
	if s == nil {
		return
	}
	if r.prev == none {
		s.first = r.next
	} else {
		f.routes[r.prev].next = r.next
	}
	if r.next != none {
		f.routes[r.next].prev = r.prev
	}
	r.set, r.next, r.prev = nil, none, none
	if s.routes--; s.routes == 0 {
		f.touch(s)
	}
}

// list makes Take look at a route.
func (f *FIB) list(slot int32) {
	if r := &f.routes[slot]; !r.listed {
		r.listed = true
		f.listed = append(f.listed, slot)
	}
}

// wanted is the object that a route should lead to; 0: there is to be none.
func (r *fibRoute) wanted() uint32 {
	if r.set == nil || r.refused != allowed {
		return 0
	}
	return r.set.via
}

func (r *fibRoute) route(id uint32) kernel.Route {
	metric := uint32(kernel.Metric)
	if r.prefix.Bits() == 0 {
		metric = DefaultMetric
	}
	return kernel.Route{RouteKey: kernel.RouteKey{Dst: r.prefix, Metric: metric}, Nexthop: id}
}

// Take is the difference of All since the last Take. Objects that only change
// are in add alone. A group is in remove only when no route leads to it any
// more: those that did are in add or remove with it, or in moved.
//
// Moved are the claimed prefixes whose Via is another now. Whoever claimed them
// must lead their routes there, or elsewhere, in the same Host.Update: what they
// led to may be in remove.
func (f *FIB) Take() (remove, add kernel.Objects, moved []netip.Prefix) {
	f.settle()
	remove.Nexthops, add.Nexthops = f.objects.take()
	for _, slot := range f.listed {
		r := &f.routes[slot]
		r.listed = false
		want := r.wanted()
		switch {
		case r.claimed && want != r.given:
			moved = append(moved, r.prefix)
		case want == r.given && !r.owed:
		case want != 0:
			if add.Routes == nil {
				add.Routes = make([]kernel.Route, 0, len(f.listed))
			}
			add.Routes = append(add.Routes, r.route(want))
		case !r.owed:
			remove.Routes = append(remove.Routes, r.route(r.given))
		}
		r.owed = false
		f.inForce += count(want) - count(r.given)
		r.given = want
		if r.set == nil {
			delete(f.index, r.prefix)
			*r = fibRoute{}
			f.free = append(f.free, slot)
		}
	}
	f.listed = f.listed[:0]
	return remove, add, moved
}

// count is 1 for a route that leads to an object.
func count(id uint32) int {
	if id == 0 {
		return 0
	}
	return 1
}

// All is everything that is wanted now, but for the routes to claimed prefixes.
// It does not change what Take gives.
func (f *FIB) All() kernel.Objects {
	f.settle()
	out := kernel.Objects{Nexthops: f.objects.all()}
	for _, slot := range f.index {
		if r := &f.routes[slot]; r.wanted() != 0 && !r.claimed {
			out.Routes = append(out.Routes, r.route(r.wanted()))
		}
	}
	return out
}

// Len counts, as of the last Take: prefixes learnt that have a way, claimed ones
// with them, sets of several ways in use, and prefixes learnt that have no way.
func (f *FIB) Len() (routes, groups, refused int) {
	return f.inForce, f.objects.groups, len(f.index) - f.inForce
}

// Route says what becomes of a prefix; false: nothing was learnt of it.
func (f *FIB) Route(p netip.Prefix) (RouteState, bool) {
	slot, known := f.index[p.Masked()]
	if !known || f.routes[slot].set == nil {
		return RouteState{}, false
	}
	r := &f.routes[slot]
	out := RouteState{NextHops: slices.Clone(r.set.addrs), Refused: r.refused.words(f.guard, r.prefix)}
	if out.Refused != "" {
		return out, true
	}
	if out.Hops = r.set.collect(); len(out.Hops) == 0 {
		out.Refused = r.set.words()
	}
	return out, true
}
