package bgp

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/kernel"
)

// model is the FIB without its economies: what was learnt and what is known,
// and where each route leads, computed from nothing.
type model struct {
	claimer
	guard  Guard
	routes map[netip.Prefix][]netip.Addr
	hops   map[netip.Addr][]kernel.Hop
}

func newModel() *model {
	return &model{claimer: newClaimer(), routes: make(map[netip.Prefix][]netip.Addr), hops: make(map[netip.Addr][]kernel.Hop)}
}

// ways is where each route leads that was learnt, whoever makes it.
func (m *model) ways() map[string]string {
	out := make(map[string]string)
	for p, addrs := range m.routes {
		if m.guard.prefix(p) != allowed {
			continue
		}
		var hops []string
		for _, a := range addrs {
			if m.guard.hop(a) != "" || p.Addr().Is6() && a.Is4() {
				continue
			}
			for _, h := range m.hops[a] {
				hops = append(hops, fmt.Sprintf("%s %s", h.Link, h.Gateway))
			}
		}
		slices.Sort(hops)
		if hops = slices.Compact(hops); len(hops) > 0 {
			r := fibRoute{prefix: p}
			out[r.route(0).RouteKey.String()] = sortedText(hops)
		}
	}
	return out
}

// world is what a random life is made of: few things, so that they meet.
type world struct {
	*rand.Rand
	prefixes []netip.Prefix
	addrs    []netip.Addr
	links    []string
}

func newWorld(seed uint64) *world {
	w := &world{Rand: rand.New(rand.NewPCG(seed, 1)), links: []string{"eth0", "eth1", "eth2"}}
	for i := range 12 {
		w.prefixes = append(w.prefixes, prefix(fmt.Sprintf("10.244.%d.0/24", i)), prefix(fmt.Sprintf("fd00:244:0:%x::/64", i)))
		w.addrs = append(w.addrs, addr(fmt.Sprintf("198.18.0.%d", i+1)), addr(fmt.Sprintf("fe80::%x%%eth%d", i+1, i%3)))
	}
	w.prefixes = append(w.prefixes, prefix("0.0.0.0/0"), prefix("::/0"), prefix("127.0.0.0/8"))
	return w
}

func (w *world) change() Change {
	c := Change{Prefix: w.prefixes[w.IntN(len(w.prefixes))]}
	for range w.IntN(4) {
		c.NextHops = append(c.NextHops, w.addrs[w.IntN(len(w.addrs))])
	}
	slices.SortFunc(c.NextHops, netip.Addr.Compare)
	c.NextHops = slices.Compact(c.NextHops)
	return c
}

func (w *world) hops(a netip.Addr) (out []kernel.Hop) {
	for range w.IntN(3) {
		gateway := a.WithZone("")
		if w.IntN(3) == 0 {
			gateway = addr(fmt.Sprintf("198.19.0.%d", w.IntN(3)+1)) // of a route that leads to it
			if a.Is6() {
				gateway = addr(fmt.Sprintf("fe80::ff:%d", w.IntN(3)+1))
			}
		}
		out = append(out, kernel.Hop{Link: w.links[w.IntN(len(w.links))], Gateway: gateway})
	}
	return out
}

func (w *world) guard() (g Guard) {
	for range w.IntN(3) {
		g.Own = append(g.Own, w.prefixes[w.IntN(8)])
		g.Addrs = append(g.Addrs, w.addrs[w.IntN(8)].WithZone(""))
	}
	return g
}

// step does one random thing to both.
func (w *world) step(f *FIB, m *model) {
	switch n := w.IntN(100); {
	case n < 70:
		c := w.change()
		f.Learn([]Change{c})
		m.routes[c.Prefix] = c.NextHops
		if len(c.NextHops) == 0 {
			delete(m.routes, c.Prefix)
		}
	case n < 92:
		a := w.addrs[w.IntN(len(w.addrs))]
		m.hops[a] = w.hops(a)
		f.Resolve(map[netip.Addr][]kernel.Hop{a: m.hops[a]})
	case n < 97:
		m.change(f, w.prefixes[w.IntN(len(w.prefixes)-3)], w.IntN(3), 100*w.IntN(3)) // but for the last three, which are no peer's
	default:
		m.guard = w.guard()
		f.Guard(m.guard)
	}
}

// resolve does what the agent does before it takes: it asks the kernel for the
// next hops that are new.
func (m *model) resolve(f *FIB) {
	news := make(map[netip.Addr][]kernel.Hop)
	for _, a := range f.Unresolved() {
		news[a] = m.hops[a]
	}
	f.Resolve(news)
}

func text(o kernel.Objects) string { return o.String() }

// TestFIBAgainstTheModel lives random lives, with ids so few that names meet
// all the time, and a claimer that makes some of the routes. At each Take the
// differences so far make up All; each route leads where the model says; no
// two objects have one id; and a FIB that
// learns the same anew, in another order, comes to the same ids.
func TestFIBAgainstTheModel(t *testing.T) {
	for _, mask := range []uint32{idMask, 255, 127} {
		for seed := range uint64(30) {
			w := newWorld(seed)
			f, m, k := NewFIB(), newModel(), newTable()
			f.objects.mask = mask
			k.apply(t, kernel.Objects{}, m.objects())
			for range 60 {
				for range 1 + w.IntN(10) {
					w.step(f, m)
				}
				m.resolve(f)
				if w.IntN(4) == 0 {
					_ = f.All() // must not disturb
				}
				remove, add, moved := f.Take()
				m.follow(f, &remove, &add, moved)
				k.apply(t, remove, add)
				all := m.with(f.All())
				if diff := cmp.Diff(text(all), text(k.objects())); diff != "" {
					t.Fatalf("mask %#x seed %d: All against the sum of the differences (-want +got):\n%s", mask, seed, diff)
				}
				if diff := cmp.Diff(m.overlaid(m.ways()), ways(all)); diff != "" {
					t.Fatalf("mask %#x seed %d: against the model (-want +got):\n%s", mask, seed, diff)
				}
				if len(f.objects.byID) != len(f.objects.byName) {
					t.Fatalf("mask %#x seed %d: %d ids for %d objects", mask, seed, len(f.objects.byID), len(f.objects.byName))
				}
				m.check(t)
				m.wantOwnObjects(t, f)
				checkCounts(t, f, len(m.ways()), len(m.routes))
			}
			if diff := cmp.Diff(text(f.All()), text(m.anew(w, mask).All())); diff != "" {
				t.Fatalf("mask %#x seed %d: a new life in another order (-old +new):\n%s", mask, seed, diff)
			}
			if t.Failed() {
				t.Fatalf("mask %#x seed %d", mask, seed)
			}
		}
	}
}

func checkCounts(t *testing.T, f *FIB, reached, learnt int) {
	t.Helper()
	groups := 0
	for _, n := range f.All().Nexthops {
		groups += groupCount(n)
	}
	got := [3]int{}
	got[0], got[1], got[2] = f.Len()
	if want := [3]int{reached, groups, learnt - reached}; got != want {
		t.Errorf("Len: got %v, want %v", got, want)
	}
	if r, a, moved := f.Take(); len(r.Nexthops)+len(r.Routes)+len(a.Nexthops)+len(a.Routes)+len(moved) != 0 {
		t.Errorf("a second Take gives %v and %v, and moves %v", r, a, moved)
	}
}

// anew is a FIB that learns what the model knows in a random order.
func (m *model) anew(w *world, mask uint32) *FIB {
	f := NewFIB()
	f.objects.mask = mask
	prefixes := slices.SortedFunc(maps.Keys(m.routes), comparePrefixes)
	w.Shuffle(len(prefixes), func(i, j int) { prefixes[i], prefixes[j] = prefixes[j], prefixes[i] })
	for p := range m.claims {
		f.Claim(p, true)
		f.Size(p, m.sizes[p])
	}
	for _, p := range prefixes {
		f.Learn([]Change{{Prefix: p, NextHops: m.routes[p]}})
		if w.IntN(3) == 0 {
			m.resolve(f)
			f.Take()
		}
	}
	m.resolve(f)
	f.Guard(m.guard)
	m.resolve(f)
	return f
}

// A prefix that is withdrawn and announced again between two Takes costs
// nothing, and its next hops need not be asked for again.
func TestFIBFlapBetweenTakes(t *testing.T) {
	f := NewFIB()
	up := changes2("10.244.2.0/24 198.18.0.1 198.18.1.1")
	f.Learn(up)
	f.Resolve(onLink("198.18.0.1 eth0", "198.18.1.1 eth1"))
	f.Take()
	f.Learn(changes2("10.244.2.0/24"))
	if _, ok := f.Route(up[0].Prefix); ok {
		t.Error("a withdrawn prefix is still there")
	}
	f.Learn(up)
	if remove, add, _ := f.Take(); text(remove)+text(add) != "" {
		t.Errorf("got\n%s%s", indent("- ", text(remove)), indent("+ ", text(add)))
	}
	if u := f.Unresolved(); len(u) != 0 {
		t.Errorf("%v is asked for again", u)
	}
}

// Prefixes that come and go, each another one, leave nothing behind.
func TestFIBForgets(t *testing.T) {
	f := NewFIB()
	for i, c := range many(1000, addr("198.18.0.1")) {
		c.NextHops = []netip.Addr{addr(fmt.Sprintf("198.18.%d.%d", i/250, i%250+1))}
		f.Learn([]Change{c})
		f.Resolve(map[netip.Addr][]kernel.Hop{c.NextHops[0]: {{Link: "eth0", Gateway: c.NextHops[0]}}})
		f.Take()
		f.Learn([]Change{{Prefix: c.Prefix}})
		f.Take()
	}
	if n := len(f.routes) + len(f.index) + len(f.sets) + len(f.ways) + len(f.objects.byName) + len(f.objects.displaced); n > 2 {
		t.Errorf("%d things are left", n)
	}
}
