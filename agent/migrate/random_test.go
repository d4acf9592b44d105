package migrate

import (
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/fabric"
)

func contains(s, part string) bool { return strings.Contains(s, part) }

// Whatever happens, in whatever order, a pair of nodes uses a plan that both are
// armed for (world.check), and when nothing happens any more all get where they
// were last asked to go.
func TestFaultsAtRandom(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for i := range uint64(25) {
		synctest.Test(t, func(t *testing.T) { trouble(t, seed+i) })
		if t.Failed() {
			t.Fatalf("seed %d", seed+i)
		}
	}
}

func trouble(t *testing.T, seed uint64) {
	r := rand.New(rand.NewPCG(seed, 0))
	w := newWorld(t, "a", "b", "c", "d", "e")
	w.follow = func() time.Duration { return rand.N(300 * time.Millisecond) }
	m := another()
	m.Rate = 5 + r.IntN(40)
	w.begin(m)
	names := []string{"a", "b", "c", "d", "e"}
	joins := []string{"0", "ab", "f"}
	for range 40 {
		<-time.After(time.Duration(r.IntN(2000)) * time.Millisecond)
		n := w.nodes[names[r.IntN(len(names))]]
		switch r.IntN(9) {
		case 0:
			n.kill()
		case 1:
			n.kill()
			n.start()
		case 2:
			if n.task == nil {
				n.start()
			}
		case 3:
			w.setAway(!w.away)
		case 4:
			w.mu.Lock()
			w.loseLock()
			w.mu.Unlock()
		case 5:
			by := newPath
			if r.IntN(2) == 0 {
				by = oldPath
			}
			to, most := names[r.IntN(len(names))], r.IntN(3)
			w.mu.Lock()
			w.lost = func(a, b string, p fabric.Path) bool { return most > 0 && p == by && (b == to || a == to) }
			w.mu.Unlock()
		case 6:
			undo := r.IntN(2) == 0
			w.migration(func(m *fabric.Migration) { m.Pause, m.Undo = nil, undo })
		case 7:
			w.migration(func(m *fabric.Migration) { m.Pause = &fabric.Pause{By: "somebody"} })
		case 8:
			if len(joins) > 0 {
				w.join(joins[0], fabric.FeatureMigrate)
				joins = joins[1:]
			}
		}
	}
	calm(w)
	if undo := r.IntN(2) == 0; undo {
		w.migration(func(m *fabric.Migration) { m.Undo, m.Pause = true, nil })
		w.untilPhase(fabric.PhaseUndone)
		w.untilSent(oldPath)
		w.set(func(s *fabric.Snapshot) { s.Migration, s.Reports = nil, nil })
		w.untilSent(oldPath)
		return
	}
	w.migration(func(m *fabric.Migration) { m.Undo, m.Pause = false, nil })
	w.untilPhase(fabric.PhaseMoved)
	w.finish()
	w.untilSent(newPath)
}

// calm ends all faults.
func calm(w *world) {
	w.setAway(false)
	w.mu.Lock()
	w.lost = func(string, string, fabric.Path) bool { return false }
	w.mu.Unlock()
	for _, n := range w.nodes {
		if n.task == nil {
			n.start()
		}
	}
	<-time.After(2 * time.Minute) // what has seen a fault may say so yet
}
