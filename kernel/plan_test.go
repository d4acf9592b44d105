package kernel

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// From any state to any other, the plan gets there, takes the steps in an
// order that at no moment leaves a route or nexthop without what it needs, and
// has nothing to say about a state in place.
func TestPlanRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	for round := range 2000 {
		s := randomState(rnd)
		s.tidy()
		for _, o := range plan(&s, nil) {
			apply(t, &s, o)
			checkWhole(t, &s)
			if t.Failed() {
				t.Fatalf("seed %d, round %d: step %+v", seed, round, o)
			}
		}
		s.tidy()
		if left := plan(&s, nil); len(left) != 0 {
			t.Fatalf("seed %d, round %d: %d steps left, first %+v", seed, round, len(left), left[0])
		}
		for k := range kinds {
			if n := len(s.table(k).pending()); n != 0 {
				t.Fatalf("seed %d, round %d: %d %s objects not in place", seed, round, n, k)
			}
		}
	}
}

const simulated = 8 // peers

// randomState has random wishes and random things in their places.
func randomState(rnd *rand.Rand) state {
	s := newState()
	for i := 1; i <= simulated; i++ {
		for _, f := range fabric.Families {
			randomPeer(rnd, &s, i, f)
		}
	}
	randomGroups(rnd, &s)
	s.retain = fabric.PerFamily[bool]{IPv4: rnd.IntN(4) == 0, IPv6: rnd.IntN(4) == 0}
	return s
}

func randomPeer(rnd *rand.Rand, s *state, i int, f fabric.Family) {
	p, id := subnet(f, i), NexthopID(uint32(i), f, 0)
	key, via := RouteKey{p, Metric}, NeighKey{overlay, p.Addr()}
	// What is wanted is complete: the tables never hold half a peer.
	if rnd.IntN(3) > 0 {
		mac := vtep(i + rnd.IntN(2)*100)
		s.fdb.setWant(FDBKey{overlay, mac}, randomAddr(rnd))
		s.neighs.setWant(via, mac)
		s.nexthops.setWant(id, gateway{link: overlay, addr: p.Addr(), onLink: rnd.IntN(2) == 0})
		if rnd.IntN(4) == 0 {
			s.routes.setWant(key, path{typ: Unreachable})
		} else {
			s.routes.setWant(key, path{nexthop: id, mtu: rnd.IntN(2) * 1300})
		}
	}
	// What is there may be anything that the kernel allows: no route without
	// its nexthop.
	if rnd.IntN(3) > 0 {
		s.fdb.setActual(FDBKey{overlay, vtep(i + rnd.IntN(2)*100)}, randomAddr(rnd))
	}
	if rnd.IntN(3) > 0 {
		s.neighs.setActual(via, vtep(i+rnd.IntN(2)*100))
	}
	if rnd.IntN(3) > 0 {
		s.nexthops.setActual(id, gateway{link: overlay, addr: p.Addr(), onLink: rnd.IntN(2) == 0})
		if rnd.IntN(3) > 0 {
			s.routes.setActual(key, path{nexthop: id, mtu: rnd.IntN(2) * 1300})
		}
	} else if rnd.IntN(3) == 0 {
		s.routes.setActual(key, path{typ: Blackhole})
	}
}

func randomAddr(rnd *rand.Rand) netip.Addr {
	return netip.AddrFrom4([4]byte{198, 18, 0, byte(rnd.IntN(2))})
}

// apply does to s what the kernel would do and checks that the step is taken
// at its time.
func apply(t *testing.T, s *state, o op) {
	t.Helper()
	switch o.kind {
	case fdb:
		e := s.fdb.entries[o.slot]
		if o.verb != destroy {
			s.fdb.setActual(e.key, e.want)
			return
		}
		for _, n := range s.neighs.entries {
			if n.present && n.actual == e.key.MAC && routed(s, n.key) {
				t.Errorf("%s goes while %s needs it", e.key, n.key)
			}
		}
		s.fdb.dropActual(e.key)
	case neighs:
		e := s.neighs.entries[o.slot]
		if o.verb != destroy {
			if f := s.fdb.find(FDBKey{overlay, e.want}); !f.placed() {
				t.Errorf("%s comes before its forwarding entry", e.key)
			}
			s.neighs.setActual(e.key, e.want)
			return
		}
		if routed(s, e.key) {
			t.Errorf("%s goes while a nexthop needs it", e.key)
		}
		s.neighs.dropActual(e.key)
	case nexthops:
		e := s.nexthops.entries[o.slot]
		if o.verb != destroy {
			if n := s.neighs.find(NeighKey{overlay, e.want.addr}); e.want.link == overlay && !n.placed() {
				t.Errorf("nexthop %#x comes before its neighbour", e.key)
			}
			s.nexthops.setActual(e.key, e.want)
			return
		}
		s.nexthops.dropActual(e.key)
	case groups:
		e := s.groups.entries[o.slot]
		if o.verb != destroy {
			s.groups.setActual(e.key, e.want)
			return
		}
		s.groups.dropActual(e.key)
	case routes:
		e := s.routes.entries[o.slot]
		if o.verb == destroy {
			s.routes.dropActual(e.key)
			return
		}
		if id := e.want.nexthop; id != 0 {
			if n, g := s.nexthops.find(id), s.groups.find(id); (n == nil || !n.placed()) && (g == nil || !g.placed()) {
				t.Errorf("%s comes before its nexthop", e.key)
			}
		}
		s.routes.setActual(e.key, e.want)
	}
}

// randomGroups adds gateways to ToRs, groups of them, and routes over those;
// what is wanted is complete and what is there is what the kernel allows.
func randomGroups(rnd *rand.Rand, s *state) {
	const tors, sets = 4, 3
	gatewayID, groupID := func(i int) uint32 { return SharedNexthop(uint32(i)) }, func(i int) uint32 { return SharedNexthop(uint32(100 + i)) }
	for i := range tors {
		g := gateway{link: uplink, addr: randomAddr(rnd), onLink: true}
		if rnd.IntN(2) == 0 {
			s.nexthops.setWant(gatewayID(i), g)
		}
		if rnd.IntN(2) == 0 {
			g.addr = randomAddr(rnd)
			s.nexthops.setActual(gatewayID(i), g)
		}
	}
	pick := func(have func(e *entry[uint32, gateway]) bool) (ids []uint32) {
		for i := range tors {
			if e := s.nexthops.find(gatewayID(i)); e != nil && have(e) && rnd.IntN(3) > 0 {
				ids = append(ids, gatewayID(i))
			}
		}
		return ids
	}
	for i := range sets {
		if ids := pick(func(e *entry[uint32, gateway]) bool { return e.wanted }); len(ids) > 0 {
			s.groups.setWant(groupID(i), GroupOf(ids...))
		}
		if ids := pick(func(e *entry[uint32, gateway]) bool { return e.present }); len(ids) > 0 {
			s.groups.setActual(groupID(i), GroupOf(ids...))
		}
	}
	for i := range 3 * sets {
		key := RouteKey{subnet(fabric.Families[i%2], 200+i), Metric}
		if e := s.groups.find(groupID(rnd.IntN(sets))); e != nil && e.wanted {
			s.routes.setWant(key, path{nexthop: e.key})
		}
		if e := s.groups.find(groupID(rnd.IntN(sets))); e != nil && e.present {
			s.routes.setActual(key, path{nexthop: e.key})
		}
	}
}

// checkWhole checks what must hold after every step: no route leads to a
// nexthop that is not there, and no group has such a member.
func checkWhole(t *testing.T, s *state) {
	t.Helper()
	there := map[uint32]bool{0: true}
	for _, n := range s.nexthops.entries {
		if n.present {
			there[n.key] = true
		}
	}
	for _, g := range s.groups.entries {
		if !g.present {
			continue
		}
		there[g.key] = true
		for _, id := range g.actual.Members() {
			if !there[id] {
				t.Errorf("group %#x has member %#x, which is not there", g.key, id)
			}
		}
	}
	for _, r := range s.routes.entries {
		if r.present && !there[r.actual.nexthop] {
			t.Errorf("%s leads to %#x, which is not there", r.key, r.actual.nexthop)
		}
	}
}

// routed reports whether there is a nexthop through the neighbour.
func routed(s *state, k NeighKey) bool {
	for _, n := range s.nexthops.entries {
		if n.present && n.actual.addr == k.Addr {
			return true
		}
	}
	return false
}

// The table's own bookkeeping: freed entries are used again, wishes for
// another value survive a removal, a dump forgets what it does not show.
func TestTable(t *testing.T) {
	tab := newTable[string, int]()
	check := func(dirty int, what string) {
		t.Helper()
		tab.tidy()
		if len(tab.dirty) != dirty {
			t.Errorf("%s: %d dirty entries, want %d", what, len(tab.dirty), dirty)
		}
	}
	tab.setWant("a", 1)
	check(1, "wanted")
	tab.setActual("a", 1)
	check(0, "there")
	tab.dropWant("a", 2)
	check(0, "the wish for another value dropped")
	tab.setWant("a", 2)
	check(1, "wanted otherwise")
	tab.dropWant("a", 2)
	check(1, "not wanted, there")
	tab.beginDump()
	tab.setActual("b", 9)
	tab.endDump()
	check(1, "a gone, b found")
	if tab.find("a") != nil || len(tab.free) != 1 {
		t.Errorf("a was not freed")
	}
	tab.setWant("c", 3)
	if len(tab.entries) != 2 {
		t.Errorf("%d entries, want the free one used again", len(tab.entries))
	}
	tab.setWant("b", 9)
	check(1, "b wanted as it is")
}
