package migrate

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Paused, nobody moves and nobody stands in line.
func TestPauseStops(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d")
		operator := w.host("operator") // who holds the lock
		_, unlock, err := operator.LockContext(context.Background(), fabric.MigrationLock)
		if err != nil {
			t.Fatal(err)
		}
		m := another()
		m.Rate = 2
		w.begin(m)
		w.until("all are in line", func(*fabric.Snapshot) bool { return len(w.line) == 5 })
		w.until("they say so", func(s *fabric.Snapshot) bool { return contains(s.Report("a").Reason, "turn") })
		pause := func(m *fabric.Migration) { m.Pause = &fabric.Pause{By: "somebody"} }
		w.migration(pause)
		w.until("nobody is in line", func(*fabric.Snapshot) bool { return len(w.line) == 1 })
		unlock()
		w.migration(func(m *fabric.Migration) { m.Pause = nil })
		w.until("one is moving", func(s *fabric.Snapshot) bool { _, peers := moved(s); return peers > 0 })
		w.migration(pause)
		<-time.After(5 * time.Second) // a step that was begun ends
		wrote := len(w.wrote)
		<-time.After(time.Minute)
		if _, peers := moved(w.snap); len(w.wrote) != wrote || peers > 2 {
			t.Errorf("paused, and it went on: %d reports, then %d\n%s", wrote, len(w.wrote), w.text())
		}
	})
}

// slow begins a migration with kernels that take ten seconds, and waits until
// node a has written its first step.
func slow(t *testing.T) *world {
	w := newWorld(t, "a", "b", "c")
	m := another()
	m.Rate, m.Nodes = 10, fabric.Selector{"moves": "yes"}
	w.set(func(s *fabric.Snapshot) {
		p := *s.Peers[0]
		p.Labels = map[string]string{"moves": "yes"}
		s.Peers[0] = &p
		w.follow = func() time.Duration { return 10 * time.Second }
	})
	w.begin(m)
	w.until("a's first step", func(s *fabric.Snapshot) bool { return s.Report("a").Moving })
	return w
}

// A step that an earlier life of the agent left behind is looked at before any
// other, and taken back where it loses packets.
func TestStepOfAnEarlierLife(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := slow(t)
		w.nodes["a"].kill()
		w.mu.Lock()
		w.lost = func(from, to string, p fabric.Path) bool { return to == "b" && p == newPath }
		w.mu.Unlock()
		w.nodes["a"].start()
		w.until("it pauses", func(s *fabric.Snapshot) bool { return s.Migration.Pause != nil })
		if p := w.snap.Migration.Pause; p.Node != "a" || p.Peer != "b" {
			t.Errorf("pause %+v, want at b", p)
		}
		w.until("a is back", func(s *fabric.Snapshot) bool { r := s.Report("a"); return r.Cursor == "" && !r.Moving })
	})
}

// Without the lock nothing goes on: another may have it.
func TestLockLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := slow(t)
		w.mu.Lock()
		w.loseLock()
		w.line = append([]*ticket{{by: "another", has: true}}, w.line...)
		wrote := len(w.wrote)
		w.mu.Unlock()
		<-time.After(time.Minute)
		for _, r := range w.wrote[wrote:] {
			if r.Cursor != "b" {
				t.Errorf("it moved on: %+v", r)
			}
		}
		w.mu.Lock()
		w.line = w.line[1:]
		w.grant()
		w.mu.Unlock()
		w.untilPhase(fabric.PhaseMoved)
	})
}

// A report that etcd has, although the answer was lost, is believed.
func TestFateOfAReportIsUnknown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		m := another()
		m.Rate = 10 // two steps
		steps := map[string]int{}
		w.fate = func(r written) error {
			if !r.Moving {
				return nil
			}
			if steps[r.by]++; steps[r.by] == 2 {
				return errors.New("etcd broke off")
			}
			return nil
		}
		w.begin(m)
		w.until("moved, or paused", func(s *fabric.Snapshot) bool {
			return s.Migration.Pause != nil || s.Progress().Phase == fabric.PhaseMoved
		})
		if p := w.snap.Migration.Pause; p != nil || len(steps) != 3 {
			t.Errorf("pause %+v after steps %v", p, steps)
		}
	})
}
