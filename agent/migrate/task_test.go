package migrate

import (
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/fabric"
)

func (w *world) begin(m *fabric.Migration) {
	w.set(func(s *fabric.Snapshot) { s.Migration = m })
}

// finish makes the new plan the specification's and takes the records away.
func (w *world) finish() {
	w.t.Helper()
	w.set(func(s *fabric.Snapshot) {
		if unready := s.Unready(); len(unready) > 0 {
			w.t.Errorf("finished too early: %+v", unready)
		}
		s.Spec = s.Migration.To.Apply(s.Spec)
		s.Migration, s.Reports = nil, nil
	})
}

// untilSent waits until every kernel sends to all by a path.
func (w *world) untilSent(p fabric.Path) {
	w.t.Helper()
	w.until("all send by the path", func(*fabric.Snapshot) bool {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if a != b && (a.kernel == nil || a.sends(b.name) != p) {
					return false
				}
			}
		}
		return true
	})
}

func TestMigration(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d")
		w.begin(another())
		w.untilPhase(fabric.PhaseMoved)
		w.untilSent(newPath)
		w.migration(func(m *fabric.Migration) { m.Undo = true })
		w.untilPhase(fabric.PhaseUndone)
		w.untilSent(oldPath)
		w.migration(func(m *fabric.Migration) { m.Undo = false }) // and yet
		w.untilPhase(fabric.PhaseMoved)
		w.finish()
		w.untilSent(newPath)
		w.until("nobody tells of it any more", func(*fabric.Snapshot) bool {
			return !slices.ContainsFunc(slices.Collect(maps.Values(w.nodes)), func(n *node) bool { return n.log.LastEntry().Message != "migration is over" })
		})
	})
}

// One node moves at a time, some peers at a time, and no faster than asked for.
func TestTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d", "e")
		m := another()
		m.Rate = 10 // one peer at a time
		began := time.Now()
		w.begin(m)
		w.until("moved, by one at a time", func(s *fabric.Snapshot) bool {
			moving := 0
			for _, r := range s.Reports {
				if r.Moving {
					moving++
				}
			}
			if moving > 1 {
				t.Errorf("%d move at once", moving)
			}
			return s.Progress().Phase == fabric.PhaseMoved
		})
		if took := time.Since(began); took < 20*100*time.Millisecond {
			t.Errorf("20 moves at 10 a second took %s", took)
		}
		steps := map[fabric.NodeID]int{}
		for _, r := range w.wrote {
			if r.Moving {
				steps[r.Cursor]++
			}
		}
		if len(steps) != 5 || steps["c"] != 4 { // each of the others has moved what it sends to c
			t.Errorf("steps to %v, want all five, 4 to c", steps)
		}
	})
}

// A dry run checks and leaves all as it is; one that is refused moves nothing,
// and goes on when what was wrong is put right.
func TestDryRunAndRefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		m := another()
		m.DryRun = true
		w.begin(m)
		w.untilPhase(fabric.PhaseChecked)
		for _, r := range w.wrote {
			if r.Armed || r.Cursor != "" || len(r.Checks) == 0 {
				t.Errorf("a dry run said %+v", r)
			}
		}
		same := another()
		same.ID, same.To = "two", w.snap.Spec.Plan()
		w.begin(same)
		w.untilPhase(fabric.PhaseRefused)
		w.until("a reason", func(s *fabric.Snapshot) bool { return s.Report("a").Reason != "" && s.Report("b").Reason != "" })
		if r := w.snap.Report("a"); r.Failed()[0].Name != "plan" {
			t.Errorf("a plan that is in force already: %+v", r)
		}
	})
}

// Nobody says armed before all have looked: what one that cannot go along would
// have refused must not be there yet.
func TestAllLookBeforeAnyIsArmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		w.begin(another())
		w.untilPhase(fabric.PhaseMoved)
		looked := map[string]bool{}
		for _, r := range w.wrote {
			if r.Armed && len(looked) < 3 {
				t.Errorf("%s was armed when %v had looked", r.by, looked)
			}
			looked[r.by] = looked[r.by] || len(r.Checks) > 0
		}
	})
}

// What is lost by the new way alone stops everything where it is seen: before
// the peer is moved, or, if it begins then, after it was moved back.
func TestPausesAtLoss(t *testing.T) {
	for _, late := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, "a", "b", "c")
			w.lost = func(from, to string, p fabric.Path) bool {
				return from == "b" && to == "c" && p == newPath && (!late || w.nodes["b"].sends("c") == newPath)
			}
			w.begin(another())
			w.until("it pauses", func(s *fabric.Snapshot) bool { return s.Migration.Pause != nil })
			if p := w.snap.Migration.Pause; p.Node != "b" || p.Peer != "c" || p.Reason == "" {
				t.Errorf("late %t: pause %+v, want b's, at c", late, p)
			}
			w.until("b says why, and c is reached the old way", func(s *fabric.Snapshot) bool {
				r := s.Report("b")
				return r.Reason != "" && !r.Moving && w.nodes["b"].sends("c") == oldPath
			})
			if w.snap.Report("b").Cursor >= "c" {
				t.Errorf("late %t: %+v", late, w.snap.Report("b"))
			}
			if !late && slices.ContainsFunc(w.wrote, func(r written) bool { return r.by == "b" && r.Cursor >= "c" }) {
				t.Error("the peer was moved, although no probe had come back")
			}
			w.set(func(*fabric.Snapshot) { w.lost = func(string, string, fabric.Path) bool { return false } })
			w.migration(func(m *fabric.Migration) { m.Pause = nil })
			w.untilPhase(fabric.PhaseMoved)
		})
	}
}

// A host that is down answers by no way: that stops nobody.
func TestDeadHostStopsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d")
		w.nodes["d"].kill() // it has been dead from the beginning
		w.nodes["d"].alive(false)
		m := another()
		m.Rate = 10
		w.begin(m)
		w.until("somebody has moved", func(s *fabric.Snapshot) bool { return s.Report("a").Done || s.Report("b").Done })
		w.mu.Lock()
		w.lost = func(from, to string, _ fabric.Path) bool { return to == "c" || from == "c" } // and this one dies
		w.mu.Unlock()
		w.nodes["c"].kill()
		w.nodes["c"].alive(false)
		w.until("the others have moved", func(s *fabric.Snapshot) bool { return s.Report("a").Done && s.Report("b").Done })
		if p := w.snap.Migration.Pause; p != nil {
			t.Errorf("paused: %+v", p)
		}
	})
}

// A node whose kernel does not follow pauses the migration and says so.
func TestKernelThatDoesNotFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c")
		m := another()
		m.Pause = &fabric.Pause{Reason: "not yet", By: "somebody"}
		w.begin(m)
		w.until("all are armed", func(s *fabric.Snapshot) bool { return s.Progress().Phase == fabric.PhaseMoving })
		w.mu.Lock()
		w.nodes["b"].broken = "nexthop 17: no space"
		w.mu.Unlock()
		w.migration(func(m *fabric.Migration) { m.Pause = nil })
		w.until("it pauses", func(s *fabric.Snapshot) bool { return s.Migration.Pause != nil })
		if p := w.snap.Migration.Pause; p.Node != "b" || !contains(p.Reason, "no space") {
			t.Errorf("pause %+v", p)
		}
		w.until("b says so", func(s *fabric.Snapshot) bool { return contains(s.Report("b").Reason, "no space") })
		w.mu.Lock()
		w.nodes["b"].broken = ""
		w.mu.Unlock()
		w.migration(func(m *fabric.Migration) { m.Pause, m.Undo = nil, true })
		w.untilPhase(fabric.PhaseUndone)
		w.untilSent(oldPath)
	})
}

// A node that joins while others move, one of an older version, one that is gone.
func TestJoinOldAndGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "b", "d", "f")
		w.join("c") // knows no migrations
		m := another()
		m.Rate = 1
		w.begin(m)
		w.until("one has begun", func(s *fabric.Snapshot) bool {
			return s.Report("b").Cursor != "" || s.Report("d").Cursor != "" || s.Report("f").Cursor != ""
		})
		w.join("a", fabric.FeatureMigrate)
		w.untilPhase(fabric.PhaseMoved)
		w.until("all send to the new one by the new plan", func(s *fabric.Snapshot) bool {
			return w.nodes["b"].sends("a") == newPath && w.nodes["f"].sends("a") == newPath && w.nodes["a"].sends("b") == newPath
		})
		if w.nodes["a"].sends("c") != oldPath || w.nodes["c"].sends("a") != oldPath {
			t.Error("the old one is not reached, or reaches others, by the old plan")
		}
		if u := w.snap.Unready(); len(u) != 1 || u[0].Node != "c" {
			t.Errorf("in the way of a finish: %+v, want c", u)
		}
	})
}

// While etcd is away nothing moves and nothing is lost; then it goes on.
func TestEtcdAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d")
		m := another()
		m.Rate = 4
		w.begin(m)
		w.until("it has begun", func(s *fabric.Snapshot) bool { return len(w.wrote) > 12 })
		w.setAway(true)
		wrote := len(w.wrote)
		<-time.After(30 * time.Second)
		if len(w.wrote) != wrote {
			t.Error("something was written into an etcd that is away")
		}
		w.setAway(false)
		w.untilPhase(fabric.PhaseMoved)
		w.untilSent(newPath)
		w.migration(func(m *fabric.Migration) { m.Undo = true })
		w.until("some are back", func(s *fabric.Snapshot) bool {
			return s.Report("a").Cursor == "" && s.Report("b").Cursor != "" || s.Report("a").Cursor != "" && s.Report("b").Cursor == ""
		})
		w.setAway(true)
		<-time.After(30 * time.Second)
		w.setAway(false)
		w.untilPhase(fabric.PhaseUndone)
		w.untilSent(oldPath)
	})
}

// moved counts the nodes that have moved all of their peers, and the peers.
func moved(s *fabric.Snapshot) (nodes, peers int) {
	for _, r := range s.Reports {
		peers += r.Moved
		if r.Done && !r.Moving {
			nodes++
		}
	}
	return nodes, peers
}

// Undone while another node has the lock: who has it turns round, who has not
// moved leaves the line.
func TestUndoInTheMiddle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b", "c", "d", "e")
		m := another()
		m.Rate = 2
		w.begin(m)
		w.until("one is done and one is moving", func(s *fabric.Snapshot) bool { nodes, peers := moved(s); return nodes == 1 && peers > 4 })
		w.migration(func(m *fabric.Migration) { m.Undo = true })
		w.untilPhase(fabric.PhaseUndone)
		w.untilSent(oldPath)
		<-time.After(10 * time.Second)
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.line) != 0 {
			t.Errorf("%d still wait for the lock", len(w.line))
		}
	})
}

// Only those that are asked to move do; the others are armed for it.
func TestSelected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, "a", "b")
		w.set(func(s *fabric.Snapshot) {
			p := *s.Peers[0]
			p.Labels = map[string]string{"rack": "r1"}
			s.Peers[0] = &p
		})
		m := another()
		m.Nodes = fabric.Selector{"rack": "r1"}
		w.begin(m)
		w.untilPhase(fabric.PhaseMoved)
		w.until("a sends by the new plan", func(*fabric.Snapshot) bool { return w.nodes["a"].sends("b") == newPath })
		if w.nodes["b"].sends("a") != oldPath || !w.snap.Report("b").Armed {
			t.Errorf("b: %+v", w.snap.Report("b"))
		}
	})
}
