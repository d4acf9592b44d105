package cli

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

// moving is a fabric of four nodes in which a migration is under way.
func moving() *fabric.Snapshot {
	spec := &fabric.Spec{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true}}
	to := spec.Plan()
	to.Backend = "bgp"
	snap := &fabric.Snapshot{Revision: 900, Spec: spec, Reports: map[string]fabric.MigrationReport{}, Migration: &fabric.Migration{
		ID: "20260301-115700-abcdef", From: spec.Plan(), To: to, Rate: 2, By: "root@rack1-host1", Created: noon.Add(-3 * time.Minute),
	}}
	for i, name := range []string{"rack1-host1", "rack1-host2", "rack2-host1", "rack2-host2"} {
		n := nodeOf(name, uint32(i+1), fmt.Sprintf("198.18.1.%d", i+1), "")
		n.Features = []string{fabric.FeatureMigrate}
		snap.Peers = append(snap.Peers, &fabric.Peer{Node: n, Alive: true})
	}
	return snap
}

// next is a snapshot a moment later; edit changes what others may hold.
func next(s *fabric.Snapshot, edit func(*fabric.Snapshot)) *fabric.Snapshot {
	out, m := *s, *s.Migration
	out.Migration, out.Reports, out.Peers = &m, map[string]fabric.MigrationReport{}, slices.Clone(s.Peers)
	for k, v := range s.Reports {
		out.Reports[k] = v
	}
	edit(&out)
	return &out
}

// reports sets what all nodes say, or those that are named.
func reports(s *fabric.Snapshot, r fabric.MigrationReport, names ...string) {
	r.ID, r.At = s.Migration.ID, noon
	for _, p := range s.Peers {
		if len(names) == 0 || slices.Contains(names, p.Name) {
			s.Reports[p.Name] = r
		}
	}
}

func allOK() (out []fabric.Check) {
	for _, name := range theChecks {
		out = append(out, fabric.Check{Name: name, Result: fabric.CheckOK})
	}
	return out
}

// telling is a story told into a text, with a clock of its own.
type telling struct {
	strings.Builder
	story story
	now   time.Time
}

func (t *telling) tell(after time.Duration, s *fabric.Snapshot) ending {
	t.now = t.now.Add(after)
	c := t.story.tell(s, t.now)
	t.WriteString(c.text)
	if c.line != "" {
		sayer(t, false)(c.what, c.line)
	}
	return c.end
}

// TestStory: what an operator reads from the first second to the end.
func TestStory(t *testing.T) {
	out := &telling{now: noon}
	out.WriteString(beginningText(moving().Migration))
	s := moving()
	out.tell(0, s)
	s = next(s, func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK()}, "rack1-host1", "rack1-host2")
	})
	out.tell(time.Second, s)
	warned := allOK()
	warned[3] = fabric.Check{Name: "firewall", Result: fabric.CheckWarning, Text: "the chain inet filter forward drops what no rule accepts"}
	s = next(s, func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: warned, Reason: "its VXLAN device is made"}, "rack1-host1", "rack2-host1", "rack2-host2")
	})
	out.tell(time.Second, s)
	s = next(s, func(s *fabric.Snapshot) { reports(s, fabric.MigrationReport{Checks: warned, Armed: true}) })
	out.tell(time.Second, s)
	part := func(moved int) fabric.MigrationReport {
		return fabric.MigrationReport{Checks: allOK(), Armed: true, Moving: true, Cursor: "id-of-rack1-host2", Moved: moved, Total: 3}
	}
	s = next(s, func(s *fabric.Snapshot) { reports(s, part(1), "rack1-host1") })
	out.tell(2*time.Second, s)
	out.tell(31*time.Second, s) // nothing moved: who is waited for, and why
	s = next(s, func(s *fabric.Snapshot) {
		for i, p := range s.Peers { // an agent is killed
			if p.Name == "rack2-host1" {
				dead := *p
				dead.Alive = false
				s.Peers[i] = &dead
			}
		}
	})
	out.tell(time.Second, s)
	s = next(s, func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Done: true, Moved: 3, Total: 3}, "rack1-host1", "rack1-host2")
	})
	out.tell(time.Second, s)
	s = next(s, func(s *fabric.Snapshot) {
		s.Peers = moving().Peers
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Done: true, Moved: 3, Total: 3})
	})
	if end := out.tell(time.Second, s); end != endReached {
		t.Errorf("it ends with %d", end)
	}
	out.WriteString(movedText(s))
	checkWidth(t, out.String())
	golden.Compare(t, "migrate-story.txt", out.String())
}

// TestStoryOfTrouble: a check that fails, a loss, and the way back.
func TestStoryOfTrouble(t *testing.T) {
	out := &telling{now: noon}
	failed := allOK()
	failed[6] = fabric.Check{Name: "sessions", Result: fabric.CheckFailed, Text: "none of 2 sessions is established: tors/198.18.1.1: connection refused: nothing listens on TCP port 179 of the far end"}
	failed[5] = fabric.Check{Name: "rp_filter", Result: fabric.CheckFailed}
	s := next(moving(), func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK()})
		reports(s, fabric.MigrationReport{Checks: failed}, "rack2-host1", "rack2-host2")
	})
	if end := out.tell(0, s); end != endRefused {
		t.Errorf("it ends with %d", end)
	}
	out.WriteString("--- loss\n")
	out.story = story{checked: true}
	s = next(moving(), func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true})
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Done: true, Moved: 3, Total: 3}, "rack1-host1")
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Cursor: "id-of-rack1-host1", Moved: 1, Total: 3}, "rack1-host2")
		old := *s.Peers[3]
		old.Features = nil
		s.Peers[3] = &old
		s.Migration.Pause = &fabric.Pause{Node: "rack1-host2", Peer: "rack2-host1", At: noon.Add(-time.Second), Reason: "3 of 10 probes of 1500 bytes were lost by bgp (ipv4), 0 of 10 before it was moved; it was moved back"}
	})
	if end := out.tell(time.Second, s); end != endPaused {
		t.Errorf("it ends with %d", end)
	}
	out.WriteString("--- undo\n")
	out.story = story{checked: true, undo: true}
	s = next(s, func(s *fabric.Snapshot) { s.Migration.Pause, s.Migration.Undo = nil, true })
	out.tell(time.Second, s)
	s = next(s, func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true}, "rack1-host2")
	})
	out.tell(2*time.Second, s)
	s = next(s, func(s *fabric.Snapshot) { reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true}) })
	if end := out.tell(time.Second, s); end != endReached {
		t.Errorf("it ends with %d", end)
	}
	out.WriteString("--- taken back by somebody else\n")
	out.story = story{checked: true, phase: fabric.PhaseMoving}
	if end := out.tell(time.Second, s); end != endTurned {
		t.Errorf("it ends with %d", end)
	}
	checkWidth(t, out.String())
	golden.Compare(t, "migrate-trouble.txt", out.String())
}

// TestChecksOfManyNodes: only those that have something to say.
func TestChecksOfManyNodes(t *testing.T) {
	s := moving()
	for i := range 300 {
		s.Peers = append(s.Peers, &fabric.Peer{Node: nodeOf(fmt.Sprintf("node%03d", i), uint32(i+10), "", ""), Alive: true})
	}
	reports(s, fabric.MigrationReport{Checks: allOK()})
	failed := allOK()
	failed[2] = fabric.Check{Name: "mtu", Result: fabric.CheckFailed, Text: "the underlay carries 1500 bytes, the pods' packets have 8950"}
	reports(s, fabric.MigrationReport{Checks: append(failed, fabric.Check{Name: "moon", Result: fabric.CheckWarning})}, "node007", "node008", "node009", "node200")
	text := checksText(s)
	checkWidth(t, text)
	golden.Compare(t, "migrate-checks.txt", text)
}

// TestMigrationText: `weft migrate status` at different times.
func TestMigrationText(t *testing.T) {
	s := next(moving(), func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Reason: "waits for its turn, behind rack1-host2"})
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Done: true, Moved: 3, Total: 3}, "rack1-host1")
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Moving: true, Cursor: "id-of-rack1-host1", Moved: 1, Total: 3}, "rack1-host2")
		dead, old := *s.Peers[2], *s.Peers[3]
		dead.Alive, old.Features = false, nil
		s.Peers[2], s.Peers[3] = &dead, &old
	})
	paused := next(s, func(s *fabric.Snapshot) {
		s.Migration.Pause = &fabric.Pause{By: "root@rack1-host1", At: noon.Add(-time.Hour), Reason: "the switch is changed"}
	})
	moved := next(s, func(s *fabric.Snapshot) {
		reports(s, fabric.MigrationReport{Checks: allOK(), Armed: true, Done: true, Moved: 3, Total: 3}, "rack1-host1", "rack1-host2", "rack2-host1")
	})
	asked := moving()
	asked.Migration.DryRun, asked.Migration.Nodes = true, fabric.Selector{"rack": "r1", "row": "7"}
	var all string
	for _, s := range []*fabric.Snapshot{asked, s, paused, moved} {
		all += "--- " + s.Progress().Phase + "\n" + migrationText(s, noon, false)
	}
	checkWidth(t, all)
	golden.Compare(t, "migrate-status.txt", all)
}

// TestEveryCheckFailing still fits a screen.
func TestEveryCheckFailing(t *testing.T) {
	s := moving()
	long := *s.Peers[0]
	long.Name = "a-host-with-quite-a-long-name.rack2.row7.dc2.example.net"
	s.Peers[0] = &long
	bad := allOK()
	for i := range bad {
		bad[i].Result = fabric.CheckFailed
	}
	bad = append(bad, fabric.Check{Name: "mtu", Result: fabric.CheckOK}) // the worst of one name counts
	reports(s, fabric.MigrationReport{Checks: bad})
	text := checksText(s)
	checkWidth(t, text)
	if n := strings.Count(text, "FAILED "); n != (len(s.Peers)+1)*len(theChecks)-len(s.Peers) || strings.Contains(text, "ok everywhere") {
		t.Errorf("%d of FAILED:\n%s", n, text)
	}
}
