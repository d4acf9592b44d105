package bgp

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// claimer makes the routes to claimed prefixes as the agent does: some by what
// the FIB says, some by a way of its own.
type claimer struct {
	claims  map[netip.Prefix]bool // true: by a way of its own
	sizes   map[netip.Prefix]int
	held    map[netip.Prefix]kernel.Route
	leaving map[netip.Prefix]kernel.Route // of claims that ended since the last Take
	changed []netip.Prefix
	errs    []string
}

func newClaimer() claimer {
	return claimer{claims: map[netip.Prefix]bool{}, sizes: map[netip.Prefix]int{}, held: map[netip.Prefix]kernel.Route{}, leaving: map[netip.Prefix]kernel.Route{}}
}

// ownWay is the claimer's other way, in both families.
func ownWay(f fabric.Family) kernel.Nexthop {
	if f == fabric.IPv4 {
		return kernel.Hop{Link: "eth0", Gateway: addr("198.18.0.77")}.Nexthop(kernel.NexthopID(1, f, 1))
	}
	return kernel.Hop{Link: "eth0", Gateway: addr("fe80::77")}.Nexthop(kernel.NexthopID(1, f, 1))
}

// objects are what the claimer has the kernel hold.
func (c *claimer) objects() kernel.Objects {
	out := kernel.Objects{Nexthops: []kernel.Nexthop{ownWay(fabric.IPv4), ownWay(fabric.IPv6)}}
	for _, r := range c.held {
		out.Routes = append(out.Routes, r)
	}
	return out
}

func (c *claimer) with(all kernel.Objects) kernel.Objects {
	own := c.objects()
	all.Nexthops, all.Routes = append(all.Nexthops, own.Nexthops...), append(all.Routes, own.Routes...)
	return all
}

// overlaid are the ways with those of the claimer's own.
func (c *claimer) overlaid(ways map[string]string) map[string]string {
	for p, own := range c.claims {
		if n := ownWay(fabric.FamilyOf(p.Addr())); own {
			ways[kernel.RouteKey{Dst: p, Metric: kernel.Metric}.String()] = n.Link + " " + n.Gateway.String()
		}
	}
	return ways
}

// change does one of three things to a prefix: it ends the claim, or claims it
// and chooses one way or the other, and what its route says of packets' size.
func (c *claimer) change(f *FIB, p netip.Prefix, what, size int) {
	_, claimed := c.claims[p]
	switch {
	case what == 0 && claimed:
		f.Claim(p, false)
		if r, ok := c.held[p]; ok {
			c.leaving[p] = r
		}
		delete(c.claims, p)
		delete(c.sizes, p)
		delete(c.held, p)
	case what > 0:
		if given, had := f.Claim(p, true); had {
			if claimed || c.leaving[p] != (kernel.Route{}) {
				c.errs = append(c.errs, given.String()+" is given to one who has it")
			}
			c.held[p] = given
		} else if r, ok := c.leaving[p]; ok {
			c.held[p] = r
			delete(c.leaving, p)
		}
		c.claims[p], c.sizes[p] = what == 2, size
		f.Size(p, size)
		c.changed = append(c.changed, p)
	}
}

// follow adds to what a Take gave what it and the claimer's changes mean for the
// claimer's routes.
func (c *claimer) follow(f *FIB, remove, add *kernel.Objects, moved []netip.Prefix) {
	for _, r := range c.leaving {
		remove.Routes = append(remove.Routes, r)
	}
	clear(c.leaving)
	for _, p := range append(moved, c.changed...) {
		own, claimed := c.claims[p]
		if !claimed {
			if slices.Contains(moved, p) {
				c.errs = append(c.errs, p.String()+" is moved and not claimed")
			}
			continue
		}
		id := f.Via(p)
		if own {
			id = ownWay(fabric.FamilyOf(p.Addr())).ID
		}
		want := kernel.Route{RouteKey: kernel.RouteKey{Dst: p, Metric: kernel.Metric}, Nexthop: id}
		have, ok := c.held[p]
		if ok && have == want {
			continue
		}
		if ok {
			remove.Routes = append(remove.Routes, have)
			delete(c.held, p)
		}
		if id != 0 {
			add.Routes = append(add.Routes, want)
			c.held[p] = want
		}
	}
	c.changed = nil
}

func (c *claimer) check(t *testing.T) {
	t.Helper()
	for _, e := range c.errs {
		t.Error(e)
	}
	c.errs = nil
}

// wantOwnObjects fails the test if routes of different sizes lead to one object,
// or to groups that share a member.
func (c *claimer) wantOwnObjects(t *testing.T, f *FIB) {
	t.Helper()
	groups := map[uint32][]uint32{}
	for _, n := range f.All().Nexthops {
		groups[n.ID] = append(n.Group.Members(), n.ID)
	}
	sizes := map[uint32]int{}
	for p, slot := range f.index {
		size := c.sizes[p] // 0 for the FIB's own routes
		if got := f.Size(p, size); got != f.routes[slot].given {
			t.Errorf("Size leads %s to %#x, Via to %#x", p, got, f.Via(p))
		}
		for _, id := range groups[f.Via(p)] {
			if had, ok := sizes[id]; ok && had != size {
				t.Errorf("routes of %d and of %d bytes lead to %#x", had, size, id)
			}
			sizes[id] = size
		}
	}
}

// TestSize: a route of another size has objects of its own, which go with it.
func TestSize(t *testing.T) {
	f, k := NewFIB(), newTable()
	changes := changes2("10.244.2.0/24 198.18.0.1 198.18.1.1", "10.244.3.0/24 198.18.0.1 198.18.1.1")
	a, b := changes[0].Prefix, changes[1].Prefix
	f.Claim(a, true)
	f.Claim(b, true)
	f.Learn(changes)
	f.Resolve(twoSwitches())
	take := func() {
		t.Helper()
		remove, add, _ := f.Take()
		k.apply(t, remove, add)
	}
	take()
	whole := f.Via(a)
	if whole == 0 || f.Via(b) != whole {
		t.Fatalf("want one group for both, have %#x and %#x", whole, f.Via(b))
	}
	small := f.Size(a, 1400)
	if small == 0 || small == whole || f.Via(a) != whole {
		t.Errorf("1400 bytes by %#x, else by %#x, before it is taken %#x", small, whole, f.Via(a))
	}
	take()
	if n := len(k.objects().Nexthops); f.Via(a) != small || f.Via(b) != whole || n != 6 {
		t.Errorf("via %#x and %#x by %d objects, want two groups of two members each", f.Via(a), f.Via(b), n)
	}
	if again := f.Size(b, 1400); again != small {
		t.Errorf("two routes of one size lead to %#x and %#x", small, again)
	}
	take()
	f.Size(a, 0)
	f.Claim(b, false)
	take()
	if n := len(k.objects().Nexthops); f.Via(a) != whole || n != 3 {
		t.Errorf("via %#x by %d objects, want what was there at first", f.Via(a), n)
	}
}

// TestClaim follows one prefix through a claim, as the agent uses it.
func TestClaim(t *testing.T) {
	f, k := NewFIB(), newTable()
	p, id := prefix("10.244.2.0/24"), uint32(0)
	take := func() (remove, add kernel.Objects, moved bool) {
		t.Helper()
		remove, add, list := f.Take()
		return remove, add, slices.Contains(list, p)
	}
	f.Learn(changes2("10.244.2.0/24 198.18.0.1 198.18.1.1"))
	f.Resolve(twoSwitches())
	remove, add, moved := take()
	k.apply(t, remove, add)
	if id = f.Via(p); id == 0 || moved || len(add.Routes) != 1 {
		t.Fatalf("learnt: via %#x, moved %t, %v", id, moved, add)
	}
	given, had := f.Claim(p, true)
	if !had || given != add.Routes[0] {
		t.Fatalf("claimed: given %v, want %v", given, add.Routes[0])
	}
	if again, had := f.Claim(p, true); had {
		t.Errorf("claimed again: given %v", again)
	}
	if remove, add, moved = take(); text(remove)+text(add) != "" || moved {
		t.Errorf("the claim alone: moved %t,\n%v%v", moved, remove, add)
	}
	f.Resolve(onLink("198.18.0.1", "198.18.1.1"))
	if f.Via(p) != id {
		t.Error("Via changes before what it leads to is taken")
	}
	if remove, add, moved = take(); !moved || f.Via(p) != 0 || len(remove.Routes)+len(add.Routes) != 0 {
		t.Errorf("lost: moved %t, via %#x,\n%v%v", moved, f.Via(p), remove, add)
	}
	remove.Routes = append(remove.Routes, given)
	k.apply(t, remove, add)
	f.Resolve(twoSwitches())
	if remove, add, moved = take(); !moved || f.Via(p) != id {
		t.Errorf("back: moved %t, via %#x, want %#x", moved, f.Via(p), id)
	}
	k.apply(t, remove, add)
	f.Claim(p, false)
	f.Claim(p, true) // its node's record changed
	if remove, add, moved = take(); text(remove)+text(add) != "" || moved || f.Via(p) != id {
		t.Errorf("claimed anew at once: moved %t, via %#x,\n%v%v", moved, f.Via(p), remove, add)
	}
	f.Claim(p, false)
	remove, add, moved = take()
	k.apply(t, remove, add)
	if diff := cmp.Diff(f.All().String(), k.objects().String()); diff != "" || moved || len(add.Routes) != 1 {
		t.Errorf("the claim ends: moved %t\n%s", moved, diff)
	}
}

// The loss of all switches is one message for the agent's routes to every peer,
// and none for the FIB's objects that they led to but their end.
func TestClaimedRoutesMoveTogether(t *testing.T) {
	const n = 1000
	f, changes := NewFIB(), many(n, addr("198.18.0.1"), addr("198.18.1.1"))
	for _, c := range changes {
		f.Claim(c.Prefix, true)
	}
	f.Learn(changes)
	f.Resolve(twoSwitches())
	if remove, add, moved := f.Take(); len(moved) != n || len(add.Routes)+len(remove.Routes)+len(remove.Nexthops) != 0 || len(add.Nexthops) != 3 {
		t.Errorf("learnt: %d moved,\n%v%v", len(moved), remove, add)
	}
	f.Resolve(onLink("198.18.0.1"))
	if remove, add, moved := f.Take(); len(moved) != 0 || len(add.Nexthops) != 1 || len(add.Routes)+len(remove.Routes) != 0 {
		t.Errorf("one switch lost: %d moved,\n%v%v", len(moved), remove, add)
	}
	f.Resolve(onLink("198.18.1.1"))
	if remove, add, moved := f.Take(); len(moved) != n || len(add.Routes)+len(add.Nexthops)+len(remove.Routes) != 0 {
		t.Errorf("both lost: %d moved,\n%v%v", len(moved), remove, add)
	}
	if allocs := testing.AllocsPerRun(10, func() { f.Via(changes[n/2].Prefix) }); allocs != 0 {
		t.Errorf("Via costs %v allocations", allocs)
	}
}
