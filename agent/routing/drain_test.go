package routing

import (
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

func TestDrainStages(t *testing.T) {
	d := drain{}
	rec := &fabric.Drain{Since: at(0)}
	want := func(second int, rec *fabric.Drain, want stage) {
		t.Helper()
		if got := d.follow(rec, at(second)); got != want {
			t.Errorf("second %d: %q, want %q", second, got, want)
		}
	}
	want(0, nil, staying)
	want(1, rec, leaving)
	want(5, rec, leaving)
	want(6, rec, withdrawn)
	d.restart(at(6))
	d.heard(3, at(8)) // traffic is still coming
	want(12, rec, withdrawn)
	d.heard(3, at(12))
	want(12, rec, withdrawn)
	d.heard(3, at(13)) // five seconds without a packet
	want(13, rec, quiet)
	d.heard(9, at(20))
	want(20, rec, withdrawn)
	want(21, nil, staying)
	want(22, rec, leaving)
	again := &fabric.Drain{Since: at(30)} // undone and asked for again, unseen
	want(40, rec, withdrawn)
	want(41, again, leaving)
}

// An agent that restarts in the middle of a drain must not announce again what
// was withdrawn.
func TestDrainOutlivesARestart(t *testing.T) {
	for state, want := range map[string]stage{"": leaving, "leaving": leaving, "withdrawn": withdrawn, "quiet": withdrawn} {
		d := drain{}
		if got := d.follow(&fabric.Drain{Since: at(0), State: state}, at(100)); got != want {
			t.Errorf("state %q: %q, want %q", state, got, want)
		}
	}
}

// What is told of a drain: every state once, a reason alone not every second.
func TestDrainReports(t *testing.T) {
	var told []fabric.Drain
	d := drainer{log: silent(), report: func(r fabric.Drain) { told = append(told, r) }}
	rec := &fabric.Drain{Since: at(0)}
	d.follow(rec, nil, nil, at(1))
	d.follow(rec, nil, nil, at(2))
	if len(told) != 1 || told[0].State != "quiet" || told[0].Reason == "" || !told[0].Since.Equal(at(0)) {
		t.Errorf("a node without extra prefixes told %+v", told)
	}
	told = nil
	d = drainer{log: silent(), report: d.report} // another life
	some := prefixes("198.19.0.1/32")
	for second := 1; second <= 5; second++ {
		d.follow(rec, some, nil, at(second))
	}
	if len(told) != 1 || told[0].State != "leaving" {
		t.Errorf("told %+v, want leaving once", told)
	}
	for second := range 4 {
		d.tell(rec, "packet "+at(second).String(), at(second))
	}
	if len(told) != 1 {
		t.Errorf("told %d times in four seconds", len(told))
	}
	d.tell(rec, "packets", at(100))
	if len(told) != 2 {
		t.Errorf("told %d times, want the new reason as well", len(told))
	}
}

func TestStoppingStages(t *testing.T) {
	s := stopping{}
	done := make(chan error, 2)
	if s.advance(at(0)) != staying || s.due(at(0), true) {
		t.Error("it stops unasked")
	}
	s.begin(done, at(0))
	if s.advance(at(1)) != leaving || s.due(at(1), true) {
		t.Error("no time for traffic to leave")
	}
	if !s.due(at(1), false) {
		t.Error("it waits although nobody listens")
	}
	withdrawnAt := at(0).Add(grace)
	if s.advance(withdrawnAt) != withdrawn || s.due(withdrawnAt, true) {
		t.Error("no time between the withdrawal and the end of the sessions")
	}
	if !s.due(withdrawnAt.Add(settle), true) {
		t.Error("it never ends")
	}
	s.finish(nil)
	s.begin(done, withdrawnAt.Add(time.Minute)) // a second call is answered at once
	for range 2 {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
		default:
			t.Fatal("a caller waits forever")
		}
	}
}
