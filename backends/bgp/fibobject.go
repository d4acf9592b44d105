package bgp

import (
	"fmt"
	"hash/fnv"

	"github.com/weft-net/weft/kernel"
)

// object is a nexthop object of the kernel that routes share: a hop, or the
// group of a set.
type object struct {
	name   string // what it is; two objects are never named alike
	hop    kernel.Hop
	set    *hopSet // of a group; nil: it is a hop
	users  int
	id     uint32
	tries  int // ids that others had before it got this one
	given  kernel.Nexthop
	listed bool
}

// objects are those in use, with an id each. An id follows from the name by a
// hash, so that an agent that starts anew comes to the ids that the kernel
// holds. Where two names meet at one id, the lesser has it and the other goes
// on to its next (ordered hashing: Amble and Knuth, 1974): who has which
// depends on the names that there are and not on the order in which they came.
//
// When a name that comes displaces another, the kernel changes the object at
// that id before it moves the routes of the displaced one, which take the way
// of the other for so long, milliseconds. Of a thousand objects one in thirty
// thousand that come does so.
type objects struct {
	byName    map[string]*object
	byID      map[uint32]*object
	displaced map[*object]struct{} // those with tries
	listed    []*object            // that take must look at
	moved     bool                 // one that was there changed its id
	groups    int                  // that take has given
	mask      uint32               // of ids
}

// idMask is the size of the range of kernel.SharedNexthop less one.
const idMask = 1<<24 - 1

func newObjects() objects {
	return objects{
		byName: make(map[string]*object), byID: make(map[uint32]*object),
		displaced: make(map[*object]struct{}), mask: idMask,
	}
}

func (t *objects) hop(h kernel.Hop, size uint16) *object {
	name := fmt.Sprintf("hop %s %s", h.Gateway, h.Link)
	if size != 0 {
		name += fmt.Sprintf(" %d bytes", size)
	}
	return t.use(object{name: name, hop: h})
}

func (t *objects) group(s *hopSet) *object {
	return t.use(object{name: "group " + s.key, set: s})
}

// use finds or makes an object and counts one more user of it.
func (t *objects) use(o object) *object {
	have := t.byName[o.name]
	if have == nil {
		have = &o
		t.byName[o.name] = have
		t.place(have)
	}
	have.users++
	t.touch(have)
	return have
}

func (t *objects) release(o *object) {
	o.users--
	t.touch(o)
}

// touch makes take look at an object.
func (t *objects) touch(o *object) {
	if !o.listed {
		o.listed = true
		t.listed = append(t.listed, o)
	}
}

// candidate is the id that o would have after so many tries. Hops have even
// ids and groups odd ones: the kernel does not let one become the other
// (net/ipv4/nexthop.c, replace_nexthop).
func (t *objects) candidate(o *object) uint32 {
	h := fnv.New64a()
	fmt.Fprintf(h, "%d %s", o.tries, o.name)
	sum := h.Sum64()
	n := uint32(sum^sum>>32) & t.mask &^ 1
	if o.set != nil {
		n |= 1
	}
	return kernel.SharedNexthop(n)
}

// place gives o an id, and whoever has it another one if o comes first.
func (t *objects) place(o *object) {
	for {
		id := t.candidate(o)
		other := t.byID[id]
		if other != nil && other.name < o.name {
			o.tries++
			continue
		}
		t.byID[id] = o
		o.id = id
		if o.tries > 0 {
			t.displaced[o] = struct{}{}
		}
		if other == nil {
			return
		}
		t.moved = true
		t.touch(other)
		o = other
		o.tries++
	}
}

// sweep ends objects without users, and lets those that were displaced have
// the ids that became free. It reports whether an object that was there has
// another id since the last sweep.
func (t *objects) sweep() bool {
	ended := false
	for _, o := range t.listed {
		if o.users == 0 && t.byName[o.name] == o {
			delete(t.byName, o.name)
			delete(t.byID, o.id)
			delete(t.displaced, o)
			ended = true
		}
	}
	if ended && len(t.displaced) > 0 {
		t.again()
	}
	moved := t.moved
	t.moved = false
	return moved
}

// again places the displaced objects as if they came now.
func (t *objects) again() {
	before := make(map[*object]uint32, len(t.displaced))
	for o := range t.displaced {
		before[o] = o.id
		delete(t.byID, o.id)
	}
	clear(t.displaced)
	for o := range before {
		o.tries = 0
		t.place(o)
	}
	for o, id := range before {
		if o.id != id {
			t.moved = true
			t.touch(o)
		}
	}
}

// want is what the kernel should hold for an object; the zero value: nothing.
func (o *object) want() kernel.Nexthop {
	switch {
	case o.users == 0:
		return kernel.Nexthop{}
	case o.set == nil:
		return o.hop.Nexthop(o.id)
	}
	ids := make([]uint32, len(o.set.members))
	for i, m := range o.set.members {
		ids[i] = m.id
	}
	return kernel.Nexthop{ID: o.id, Group: kernel.GroupOf(ids...)}
}

// take is the difference since the last one.
func (t *objects) take() (remove, add []kernel.Nexthop) {
	for _, o := range t.listed {
		o.listed = false
		want := o.want()
		if want == o.given {
			continue
		}
		if want.ID != 0 {
			add = append(add, want)
		}
		if had := o.given.ID; had != 0 && had != want.ID && t.byID[had] == nil {
			remove = append(remove, o.given) // else another has the id now
		}
		t.groups += groupCount(want) - groupCount(o.given)
		o.given = want
	}
	clear(t.listed)
	t.listed = t.listed[:0]
	return remove, add
}

// groupCount is 1 for a group.
func groupCount(n kernel.Nexthop) int {
	if n.Group == "" {
		return 0
	}
	return 1
}

func (t *objects) all() []kernel.Nexthop {
	out := make([]kernel.Nexthop, 0, len(t.byName))
	for _, o := range t.byName {
		out = append(out, o.want())
	}
	return out
}
