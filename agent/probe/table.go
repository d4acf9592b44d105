package probe

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// path is one that is watched, small, as there are tens of thousands. Times
// are since the prober's start.
type path struct {
	peer         fabric.NodeID
	to, underlay [16]byte
	due          time.Duration // when queued
	since        time.Duration // of state and mtu
	raise        time.Duration // when to try for more
	route        uint32        // in table.routes
	serial       uint32        // of this use of the place
	place        int32         // in its heap, or notQueued
	rtt          uint32        // microseconds, smoothed; 0: not known
	mac          fabric.MAC
	told         uint16 // the MTU that the last verdict said
	state        State  // likewise
	family       fabric.Family
	kind         uint8 // in table.kinds
	pressing     bool  // which heap it is in
	urgent       bool
	v4Underlay   bool
	resting      bool  // all is known for the moment: the next time begins a new sweep
	quiet        uint8 // how often in a row nothing came, for the pauses
	failed       uint8 // attempts to raise in vain, likewise
	search
}

// route is what many paths share.
type route struct {
	name  string // by which it is found again
	from  netip.Addr
	hops  []kernel.Hop // a gateway that is invalid stands for the underlay address
	users int
}

// table holds the paths. Their places are stable; order lists them by peer,
// family and path, so that those of one peer are neighbours.
type table struct {
	queue
	order  []int32
	free   []int32
	serial uint32
	routes []route
	byName map[string]uint32
	kinds  []fabric.Path
	spare  []uint32 // free in routes
	name   []byte   // scratch
}

func newTable() *table { return &table{byName: map[string]uint32{}} }

// key names path i.
func (t *table) key(p *path) Key { return Key{p.peer, p.family, t.kinds[p.kind]} }

func compare(a, b Key) int {
	return cmp.Or(strings.Compare(string(a.Peer), string(b.Peer)), cmp.Compare(a.Family, b.Family),
		strings.Compare(string(a.Path.Kind), string(b.Path.Kind)), cmp.Compare(a.Path.Generation, b.Path.Generation))
}

// find is where a key is, or would be, in order.
func (t *table) find(k Key) (int, bool) {
	return slices.BinarySearchFunc(t.order, k, func(i int32, k Key) int { return compare(t.key(&t.paths[i]), k) })
}

// group are the paths of one family of a peer, from..to in order.
func (t *table) group(peer fabric.NodeID, f fabric.Family) (from, to int) {
	at := func(f fabric.Family) int { i, _ := t.find(Key{Peer: peer, Family: f}); return i }
	return at(f), at(f + 1)
}

// kind is the number of a path's name; there are few.
func (t *table) kind(p fabric.Path) uint8 {
	i := slices.Index(t.kinds, p)
	if i < 0 {
		if len(t.kinds) > 255 { // more migrations than anybody makes in a life of an agent
			return 255
		}
		i = len(t.kinds)
		t.kinds = append(t.kinds, p)
	}
	return uint8(i)
}

// intern gives the number of a target's route, used by one more.
func (t *table) intern(g *Target) uint32 {
	b := g.From.AppendTo(t.name[:0])
	for _, h := range g.Hops {
		b = append(append(b, ' '), h.Link...)
		if !g.implied(h) {
			b = h.Gateway.AppendTo(append(b, ' '))
		}
	}
	t.name = b
	if n, ok := t.byName[string(b)]; ok {
		t.routes[n].users++
		return n
	}
	r := route{name: string(b), from: g.From, hops: slices.Clone(g.Hops), users: 1}
	for i, h := range g.Hops {
		if g.implied(h) {
			r.hops[i].Gateway = netip.Addr{}
		}
	}
	n := uint32(len(t.routes))
	if len(t.spare) > 0 {
		n = t.spare[len(t.spare)-1]
		t.spare = t.spare[:len(t.spare)-1]
		t.routes[n] = r
	} else {
		t.routes = append(t.routes, r)
	}
	t.byName[r.name] = n
	return n
}

// implied: the gateway of a hop need not be kept.
func (g *Target) implied(h kernel.Hop) bool { return g.MAC != fabric.MAC{} || h.Gateway == g.Underlay }

// release gives a route back.
func (t *table) release(n uint32) {
	if t.routes[n].users--; t.routes[n].users == 0 {
		delete(t.byName, t.routes[n].name)
		t.routes[n] = route{}
		t.spare = append(t.spare, n)
	}
}

// hop is the one that a path's packets leave by now.
func (t *table) hop(p *path) kernel.Hop {
	hops := t.routes[p.route].hops
	if len(hops) == 0 {
		return kernel.Hop{}
	}
	h := hops[int(p.lane)%len(hops)]
	if !h.Gateway.IsValid() && p.mac == (fabric.MAC{}) {
		h.Gateway = p.underlayAddr()
	}
	return h
}

func (p *path) toAddr() netip.Addr { return short(p.to, p.family == fabric.IPv4) }

func (p *path) underlayAddr() netip.Addr { return short(p.underlay, p.v4Underlay) }

func short(a [16]byte, v4 bool) netip.Addr {
	if v4 {
		return netip.AddrFrom4([4]byte(a[:4]))
	}
	return netip.AddrFrom16(a)
}

func long(a netip.Addr) (b [16]byte) {
	copy(b[:], a.AsSlice())
	return b
}

// add takes a target in. Its place in the queue is for the caller to give.
func (t *table) add(g *Target) int32 {
	t.serial++
	p := path{
		peer: g.Peer, family: g.Family, kind: t.kind(g.Path), serial: t.serial, place: notQueued,
		search: newSearch(g.Family == fabric.IPv6, g.Full, g.Earlier, len(g.Hops)),
	}
	t.set(&p, g)
	p.told, p.resting = p.said(), true
	if n := len(t.free); n > 0 {
		i := t.free[n-1]
		t.free = t.free[:n-1]
		t.paths[i] = p
		return i
	}
	t.paths = append(t.paths, p)
	return int32(len(t.paths) - 1)
}

// set writes how a target is reached.
func (t *table) set(p *path, g *Target) {
	p.route, p.mac, p.urgent = t.intern(g), g.MAC, g.Urgent
	p.to, p.underlay, p.v4Underlay = long(g.To), long(g.Underlay), g.Underlay.Is4()
}

// update takes in what a target that is watched is now. It reports whether
// anything is to be looked at anew; what was found stays until then.
func (t *table) update(p *path, g *Target, now time.Duration) bool {
	before, old := *p, p.route
	t.set(p, g)
	t.release(old)
	fresh := newSearch(g.Family == fabric.IPv6, g.Full, g.Earlier, len(g.Hops))
	if fresh.full == p.full && fresh.lanes == p.lanes && p.route == old && p.mac == before.mac &&
		p.to == before.to && p.underlay == before.underlay {
		return g.Urgent && !before.urgent && p.place != notQueued
	}
	t.serial++
	p.serial = t.serial // an answer under way says nothing of what is now
	if p.full != fresh.full {
		resize(&p.search, fresh)
		p.state, p.told, p.since = p.verdict(p.state == Silent), p.said(), now
	}
	p.lanes, p.lane, p.raise, p.quiet, p.failed = fresh.lanes, 0, 0, 0, 0
	if !p.lost {
		p.sweep()
	}
	return true
}

// resize keeps what a path was found to carry where another size is wanted of
// it: a size that was reduced stays in force, one that was not says nothing of
// a larger one.
func resize(s *search, fresh search) {
	if s.mtu == s.full && fresh.full > s.full {
		s.proven = false
		s.mtu = fresh.full
	}
	s.full, s.floor = fresh.full, fresh.floor
	s.mtu = max(min(s.mtu, s.full), s.floor)
	s.goal = s.mtu
	if s.phase == searching {
		s.phase = sweeping
	}
}

// replace puts targets in the place of the paths from..to in order, to which
// all of them belong. It queues what is new or different.
func (t *table) replace(from, to int, targets []Target, now time.Duration) {
	t.paths = slices.Grow(t.paths, max(0, len(targets)-len(t.paths)))
	sorted := make([]int32, len(targets))
	for i := range sorted {
		sorted[i] = int32(i)
	}
	slices.SortStableFunc(sorted, func(a, b int32) int { return compare(targets[a].Key, targets[b].Key) })
	old := slices.Clone(t.order[from:to])
	next := make([]int32, 0, len(targets))
	for n, at := range sorted {
		g := &targets[at]
		if n > 0 && g.Key == targets[sorted[n-1]].Key {
			continue // told twice: the first counts
		}
		for len(old) > 0 && compare(t.key(&t.paths[old[0]]), g.Key) < 0 {
			t.remove(old[0])
			old = old[1:]
		}
		if len(old) > 0 && t.key(&t.paths[old[0]]) == g.Key {
			if t.update(&t.paths[old[0]], g, now) {
				t.put(old[0], now+time.Duration(at), g.Urgent)
			}
			next, old = append(next, old[0]), old[1:]
			continue
		}
		i := t.add(g)
		t.put(i, now+time.Duration(at), g.Urgent)
		next = append(next, i)
	}
	for _, i := range old {
		t.remove(i)
	}
	t.order = slices.Replace(t.order, from, to, next...)
}

// remove forgets path i, which is no longer in order.
func (t *table) remove(i int32) {
	t.drop(i)
	t.release(t.paths[i].route)
	t.paths[i] = path{place: notQueued}
	t.free = append(t.free, i)
}

// said is the MTU that a verdict says: 0 where full was hoped for and not seen.
func (p *path) said() uint16 {
	if p.proven || p.mtu < p.full {
		return p.mtu
	}
	return 0
}
