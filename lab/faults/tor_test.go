package faults

import (
	"testing"
	"time"

	"github.com/weft-net/weft/lab"
)

// TestToRsComeAndGo: each ToR in turn loses its links or its daemon and has
// them back, again and again; every pod reaches every other in between and at
// the end, and the agents need no help.
func TestToRsComeAndGo(t *testing.T) {
	n := times(20, 2)
	ctx, l := up(t, 2*time.Minute+time.Duration(n)*40*time.Second)
	tors := []string{"t1a", "t1b", "t2a", "t2b", "t3a", "t3b"}
	faults := []struct {
		name     string
		do, undo func(*lab.Switch) error
	}{
		{"cut", (*lab.Switch).Cut, (*lab.Switch).Restore},
		{"killed", (*lab.Switch).Kill, func(s *lab.Switch) error { return s.Start(ctx) }},
		{"stopped", func(s *lab.Switch) error { return s.Stop(ctx) }, func(s *lab.Switch) error { return s.Start(ctx) }},
	}
	for i := range n {
		tor, fault := l.Switch(tors[i%len(tors)]), faults[i%len(faults)]
		what := tor.Spec.Name + " " + fault.name
		for _, step := range []func() error{
			func() error { return fault.do(tor) },
			func() error { return l.WaitReachable(ctx) },
			func() error { return fault.undo(tor) },
			func() error { return l.WaitSessions(ctx) },
			func() error { return l.WaitReachable(ctx) },
		} {
			if err := step(); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
}
