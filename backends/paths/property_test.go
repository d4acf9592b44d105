package paths

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// state is what a way of an offer counts as, Gone where it is not offered.
func (l *life) state(p fabric.Path) State {
	for _, o := range l.offers {
		if o.Path == p {
			return o.counts()
		}
	}
	return Gone
}

// rank is a way's place in the preference, behind all where it has none.
func (l *life) rank(p fabric.Path) int {
	if i := slices.Index(l.prefer, p); i >= 0 {
		return i
	}
	return len(l.prefer)
}

// best is the preferred way that is Up; zero: there is none.
func (l *life) best() fabric.Path {
	for _, p := range l.prefer {
		if l.state(p) == Up {
			return p
		}
	}
	return fabric.Path{}
}

// check fails where a choice is one that must never be made. Before is the one
// that it replaces, in the facts of now.
func (l *life) check(before Choice, known bool) error {
	now, here := l.choice.Path, l.state(l.choice.Path)
	switch moved := known && before.Path != now; {
	case l.best().Kind != "" && here != Up:
		return fmt.Errorf("%s is used, which is in doubt or gone, and %s is up", name(now), name(l.best()))
	case now.Kind != "" && here == Gone:
		return fmt.Errorf("%s is used, and it is gone", name(now))
	case now.Kind == "" && slices.ContainsFunc(l.prefer, func(p fabric.Path) bool { return l.state(p) != Gone }):
		return fmt.Errorf("nothing is used of what there is")
	case moved && l.state(before.Path) == Up && l.rank(now) >= l.rank(before.Path):
		return fmt.Errorf("%s is up and left for %s", name(before.Path), name(now))
	case moved && now.Kind != "" && l.rank(now) == len(l.prefer):
		return fmt.Errorf("%s is gone to, which is not preferred", name(now))
	case moved != (l.choice.Switches == before.Switches+1) && known:
		return fmt.Errorf("%d switches after %d", l.choice.Switches, before.Switches)
	case moved && l.choice.Since != l.now:
		return fmt.Errorf("a switch now is said to be of %s", l.choice.Since)
	case l.choice.Next.Kind != "" && (l.state(l.choice.Next) != Up || l.rank(l.choice.Next) >= l.rank(now)):
		return fmt.Errorf("%s is waited for at %s", name(l.choice.Next), name(now))
	case l.choice.Reason == "":
		return fmt.Errorf("no reason is given")
	}
	return nil
}

var preferences = [][]fabric.Path{usual, {bgp, direct, vxlan}, {vxlan}, {newer}, {direct, vxlan}, {direct, bgp}, {direct, bgp, newer}}

// happen lets something random happen to the facts.
func (l *life) happen(r *rand.Rand) {
	if r.IntN(20) == 0 {
		l.prefer = preferences[r.IntN(len(preferences))]
	}
	l.offers = slices.Clone(l.offers)
	p := []fabric.Path{direct, bgp, vxlan, newer}[r.IntN(4)]
	l.offers = slices.DeleteFunc(l.offers, func(o Offer) bool { return o.Path == p })
	if r.IntN(4) > 0 {
		l.offers = append(l.offers, Offer{Path: p, State: []State{Gone, Doubtful, Up, Up, Up}[r.IntN(5)], Verdict: Verdict(r.IntN(3))})
	}
}

// TestRandomLives: whatever happens, no choice is one that must never be made;
// and when nothing happens any more the best way is in use, by what Due says
// alone, before long.
func TestRandomLives(t *testing.T) {
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		l, known := newLife(), false
		if r.IntN(2) == 0 {
			l.Adopt(key, usual[r.IntN(3)])
			l.choice, known = l.Last(key)
		}
		step := func(before Choice) {
			t.Helper()
			if err := l.check(before, known); err != nil {
				t.Fatalf("seed %d at %s, %v of %v: %v", seed, l.now.Sub(start), l.offers, l.prefer, err)
			}
			known = true
		}
		for range 200 {
			l.happen(r)
			before := l.choice
			last := l.choose()
			step(before)
			again := l.choose()
			if again.Reason = last.Reason; again != last { // the way that was left need not be spoken of again
				t.Fatalf("seed %d: the same facts give %+v and then %+v", seed, last, again)
			}
			l.pass(time.Duration(r.ExpFloat64()*float64(10*time.Second)), func(c Choice) { step(last); last = c })
		}
		last := l.choice
		l.pass(MostStable+Patience, func(c Choice) { step(last); last = c })
		if want := l.best(); want.Kind != "" && l.choice.Path != want {
			t.Errorf("seed %d: %s at last, want %s; %v of %v", seed, name(l.choice.Path), name(want), l.offers, l.prefer)
		}
		if due, next := l.Due(l.now.Add(time.Hour)); len(due) > 0 || !next.IsZero() {
			t.Errorf("seed %d: there is something to wait for when nothing happens: %v, %s", seed, due, next)
		}
	}
}

// A way that comes and goes with a period is gone back to until it has to be
// stable for longer than it ever is: as often as the logarithm of its time up.
func TestFlapsAreDamped(t *testing.T) {
	for _, up := range []time.Duration{time.Second, 4 * time.Second, 6 * time.Second, 15 * time.Second, 30 * time.Second, time.Minute, 110 * time.Second} {
		for _, down := range []time.Duration{time.Second, 20 * time.Second} {
			l := newLife()
			for range int(2 * time.Hour / (up + down)) {
				l.offers = offers("bgp=up/answers vxlan=up/answers")
				l.choose()
				l.pass(up, func(Choice) {})
				l.offers = offers("bgp=gone vxlan=up/answers")
				l.choose()
				l.pass(down, func(Choice) {})
			}
			returns := max(0, math.Ceil(math.Log2(up.Seconds()/Stable.Seconds())))
			if want := 1 + 2*int(returns); l.choice.Switches != want {
				t.Errorf("up for %s, down for %s: %d switches, want %d", up, down, l.choice.Switches, want)
			}
		}
	}
}

// What happens to one key is nothing to another, and what is forgotten is as if
// it had never been.
func TestKeysAreApart(t *testing.T) {
	c := New()
	other := Key{Peer: key.Peer, Family: fabric.IPv6}
	third := Key{Peer: "node-c", Family: fabric.IPv4}
	for _, k := range []Key{key, other, third} {
		c.Choose(k, usual, offers("bgp=up/answers vxlan=up/answers"), start)
	}
	for _, text := range []string{"vxlan=up/answers", "bgp=up/answers vxlan=up/answers"} {
		c.Choose(key, usual, offers(text), start)
		c.Choose(third, usual, offers(text), start)
	}
	if got, _ := c.Last(other); got.Path != bgp || got.Switches != 0 {
		t.Errorf("the other family: %+v", got)
	}
	c.Forget(third.Peer)
	if got, ok := c.Last(third); ok {
		t.Errorf("a forgotten peer: %+v", got)
	}
	due, next := c.Due(start)
	if len(due) > 0 || next != start.Add(Stable) {
		t.Errorf("due now: %v, next %s", due, next)
	}
	if due, _ = c.Due(next); !slices.Equal(due, []Key{key}) {
		t.Errorf("due then: %v, want %v alone", due, key)
	}
	if due, next = c.Due(next); len(due) > 0 || !next.IsZero() {
		t.Errorf("due again: %v, %s", due, next)
	}
}

// A clock that is set back makes nothing stable earlier, and keeps nothing for
// ever.
func TestClockSetBack(t *testing.T) {
	l := newLife()
	l.offers = offers("bgp=up/answers vxlan=up/answers")
	l.choose()
	l.offers = offers("vxlan=up/answers")
	l.choose()
	l.now = start.Add(-time.Hour)
	l.offers = offers("bgp=up/answers vxlan=up/answers")
	if got := l.choose(); got.Path != vxlan {
		t.Errorf("got %+v", got)
	}
	if due, next := l.Due(l.now); len(due) > 0 || next != start.Add(Stable) {
		t.Errorf("due %v, next %s", due, next)
	}
}

// A key is due only for what it waits for now, not for what it waited for.
func TestNothingIsDueInVain(t *testing.T) {
	c := New()
	for i, text := range []string{"bgp=up/answers", "bgp=gone", "bgp=up/answers", "bgp=gone"} {
		c.Choose(key, usual, offers(text+" vxlan=up/answers"), start.Add(time.Duration(i)*time.Second))
	}
	if due, next := c.Due(start.Add(time.Hour)); len(due) > 0 || !next.IsZero() {
		t.Errorf("due %v, next %s", due, next)
	}
}

func TestAlarmsComeInOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	var h alarms
	var want, got []moment
	for range 1000 {
		at := moment(r.IntN(300))
		h.push(alarm{at: at})
		want = append(want, at)
	}
	for len(h) > 0 {
		got = append(got, h[0].at)
		h.pop()
	}
	if slices.Sort(want); !slices.Equal(got, want) {
		t.Error("not sorted")
	}
}

// What was waited for and is in use now is remembered no more.
func TestWaitingIsForgotten(t *testing.T) {
	l := newLife()
	for _, text := range []string{"vxlan=up", "bgp=up vxlan=up", "bgp=up/answers vxlan=up", "bgp=up/answers vxlan=up"} {
		l.offers = offers(text)
		l.choose()
	}
	if e := l.entry(key); l.choice.Path != bgp || e.tracks != nil {
		t.Errorf("%+v remembers %v", l.choice, e.tracks)
	}
}

const manyPeers = 10000

// fill makes both families of many peers choose.
func fill(c *Chooser, keys []Key, facts []Offer, now time.Time) {
	for _, k := range keys {
		c.Choose(k, usual, facts, now)
	}
}

func manyKeys() []Key {
	keys := make([]Key, 0, 2*manyPeers)
	for i := range manyPeers {
		id := fabric.NodeID(fmt.Sprintf("8e8b3d24-5a1c-4f7e-9d2b-%012d", i))
		keys = append(keys, Key{id, fabric.IPv4}, Key{id, fabric.IPv6})
	}
	return keys
}

// Ten thousand peers cost less than two megabytes, and a choice in which nothing
// changes no allocation.
func TestChooserIsSmall(t *testing.T) {
	keys, facts := manyKeys(), offers("bgp=up/answers vxlan=up/answers direct=gone")
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	c := New()
	fill(c, keys, facts, start)
	used := heap() - before
	t.Logf("%d bytes per key", used/uint64(len(keys)))
	if used > 2e6 {
		t.Errorf("%d bytes for %d keys", used, len(keys))
	}
	facts = offers("direct=up/answers bgp=up/answers vxlan=up/answers")
	fill(c, keys, facts, start)
	if allocs := testing.AllocsPerRun(5, func() { fill(c, keys[:100], facts, start) }); allocs != 0 {
		t.Errorf("a hundred choices without news cost %v allocations", allocs)
	}
	runtime.KeepAlive(c)
}

// BenchmarkChoose is one choice among twenty thousand keys: without news, and
// when the way in use is lost and comes back.
func BenchmarkChoose(b *testing.B) {
	keys := manyKeys()
	good, bad := offers("direct=gone bgp=up/answers vxlan=up/answers"), offers("direct=gone bgp=gone vxlan=up/answers")
	run := func(name string, facts ...[]Offer) {
		b.Run(name, func(b *testing.B) {
			c, now := New(), start
			fill(c, keys, good, now)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if i%len(keys) == 0 {
					now = now.Add(time.Second)
					c.Due(now)
				}
				c.Choose(keys[i%len(keys)], usual, facts[i/len(keys)%len(facts)], now)
			}
		})
	}
	run("quiet", good)
	run("flapping", bad, good)
}
