package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// way is one next hop that somebody announced.
type way struct {
	addr    netip.Addr
	refused string       // by the guard, in words
	known   bool         // Resolve has spoken of it
	hops    []kernel.Hop // how it is reached now, sorted
	sets    map[*hopSet]struct{}
}

// hopSet is the next hops that were announced together for prefixes of one
// family. Its routes lead to one object: that of its one hop, or a group.
type hopSet struct {
	key    string       // family, addresses and size: its identity
	addrs  []netip.Addr // as announced, sorted
	size   uint16       // see FIB.Size
	ways   []*way       // those of addrs that the family can use
	first  int32        // of its routes
	routes int
	hops   []kernel.Hop // what members stand for
	// members are the objects of hops; group is theirs where there is one.
	members []*object
	group   *object
	via     uint32 // the object that its routes lead to; 0: no way
	touched bool
}

// set finds or makes the set of some next hops for routes of a size.
func (f *FIB) set(family fabric.Family, hops []netip.Addr, size uint16) *hopSet {
	f.sorted = f.sorted[:0]
	for _, a := range hops {
		f.sorted = append(f.sorted, a.Unmap())
	}
	if !slices.IsSortedFunc(f.sorted, netip.Addr.Compare) {
		slices.SortFunc(f.sorted, netip.Addr.Compare)
	}
	f.sorted = slices.Compact(f.sorted)
	f.scratch = append(f.scratch[:0], byte(family))
	for _, a := range f.sorted {
		at := len(f.scratch)
		f.scratch = append(f.scratch, 0)
		f.scratch, _ = a.AppendBinary(f.scratch) // never fails (net/netip)
		f.scratch[at] = byte(len(f.scratch) - at - 1)
	}
	if size != 0 { // no address is two bytes long
		f.scratch = append(f.scratch, 2, byte(size>>8), byte(size))
	}
	if s, ok := f.sets[string(f.scratch)]; ok {
		return s
	}
	s := &hopSet{key: string(f.scratch), addrs: slices.Clone(f.sorted), size: size, first: none}
	f.sets[s.key] = s
	for _, a := range s.addrs {
		if family == fabric.IPv6 && a.Is4() {
			continue // net/ipv6/route.c, fib6_check_nexthop
		}
		w := f.ways[a]
		if w == nil {
			w = &way{addr: a, refused: f.guard.hop(a), sets: make(map[*hopSet]struct{})}
			f.ways[a] = w
		}
		w.sets[s] = struct{}{}
		s.ways = append(s.ways, w)
	}
	return s
}

// touch makes settle look at a set.
func (f *FIB) touch(s *hopSet) {
	if !s.touched {
		s.touched = true
		f.touched = append(f.touched, s)
	}
}

// NextHops are all that routes use, resolved or not, in no particular order.
func (f *FIB) NextHops() []netip.Addr {
	return f.nextHops(func(w *way) bool { return true })
}

// Unresolved are those of NextHops of which Resolve has said nothing since
// they came into use.
func (f *FIB) Unresolved() []netip.Addr {
	return f.nextHops(func(w *way) bool { return !w.known })
}

func (f *FIB) nextHops(pick func(*way) bool) []netip.Addr {
	var out []netip.Addr
	for a, w := range f.ways {
		if w.refused == "" && pick(w) {
			out = append(out, a)
		}
	}
	return out
}

// Resolve says how these next hops are reached from now on; an empty list:
// not at all. The others stay as they are.
func (f *FIB) Resolve(hops map[netip.Addr][]kernel.Hop) {
	for a, to := range hops {
		w := f.ways[a.Unmap()]
		if w == nil {
			continue
		}
		w.known = true
		to = slices.Clone(to)
		slices.SortFunc(to, compareHops)
		if to = slices.Compact(to); slices.Equal(w.hops, to) {
			continue
		}
		w.hops = to
		for s := range w.sets {
			f.touch(s)
		}
	}
}

func compareHops(a, b kernel.Hop) int {
	if c := strings.Compare(a.Link, b.Link); c != 0 {
		return c
	}
	return a.Gateway.Compare(b.Gateway)
}

// collect is where the set's packets can go now.
func (s *hopSet) collect() []kernel.Hop {
	var out []kernel.Hop
	for _, w := range s.ways {
		if w.refused == "" {
			out = append(out, w.hops...)
		}
	}
	slices.SortFunc(out, compareHops)
	return slices.Compact(out)
}

// words says why there is no way.
func (s *hopSet) words() string {
	var out []string
	for _, a := range s.addrs {
		why := "is IPv4, which cannot carry IPv6"
		if i := slices.IndexFunc(s.ways, func(w *way) bool { return w.addr == a }); i >= 0 {
			why = s.ways[i].refused
			if why == "" {
				why = "cannot be reached"
			}
		}
		out = append(out, fmt.Sprintf("next hop %s %s", a, why))
	}
	return strings.Join(out, "; ")
}

// settle brings the objects up to date with the sets that were touched, and
// lists the routes that are to lead elsewhere.
func (f *FIB) settle() {
	if len(f.touched) == 0 {
		return
	}
	for _, s := range f.touched {
		f.compose(s)
	}
	sets := f.touched
	if f.objects.sweep() { // rare: an object lost its id to another
		for _, s := range f.sets {
			if !s.touched {
				sets = append(sets, s)
			}
		}
	}
	for _, s := range sets {
		s.touched = false
		if s.group != nil {
			f.objects.touch(s.group)
		}
		via := s.target()
		if via == s.via {
			continue
		}
		s.via = via
		for slot := s.first; slot != none; slot = f.routes[slot].next {
			f.list(slot)
		}
	}
	f.touched = f.touched[:0]
}

// target is the object that the set's routes should lead to.
func (s *hopSet) target() uint32 {
	switch {
	case s.group != nil:
		return s.group.id
	case len(s.members) == 1:
		return s.members[0].id
	}
	return 0
}

// compose gives a set the objects of the hops that it has now. What is needed
// is taken before what is not needed is given back: the same object may be
// both. Routes decide the form: those of one next hop with one hop lead to its
// object, all others to a group, even of one member, whose other members may
// come back without a word to the routes.
func (f *FIB) compose(s *hopSet) {
	var hops []kernel.Hop
	if s.routes > 0 {
		hops = s.collect()
	}
	if s.routes > 0 && slices.Equal(hops, s.hops) {
		return
	}
	members, group := s.members, s.group
	s.hops, s.members, s.group = hops, nil, nil
	for _, h := range hops {
		s.members = append(s.members, f.objects.hop(h, s.size))
	}
	if len(hops) > 1 || len(hops) == 1 && len(s.addrs) > 1 {
		s.group = f.objects.group(s)
	}
	for _, m := range members {
		f.objects.release(m)
	}
	if group != nil {
		f.objects.release(group)
	}
	if s.routes == 0 {
		f.forget(s)
	}
}

// forget ends a set without routes, and next hops that no other set has.
func (f *FIB) forget(s *hopSet) {
	delete(f.sets, s.key)
	for _, w := range s.ways {
		delete(w.sets, s)
		if len(w.sets) == 0 {
			delete(f.ways, w.addr)
		}
	}
}
