package migrate

import (
	"context"
	"reflect"
	"sync"
	"time"

	"github.com/weft-net/weft/fabric"
)

const (
	// tick is the time between two looks that no news caused.
	tick = time.Second
	// lookAgain is the time between two checks of a host that is not fit yet.
	lookAgain = 10 * time.Second
	// reasonEvery bounds how often a changed reason alone is written to etcd.
	reasonEvery = 5 * time.Second
	// turnPause is the time before a place in line is asked for again after a
	// turn that ended early.
	turnPause = time.Second
)

// Task is a node's part in migrations.
type Task struct {
	opt  Options
	kick chan struct{} // one element

	// What follows belongs to Run's goroutine.
	group   sync.WaitGroup // of those who wait for the lock
	line    *place         // in line for the lock; nil: none is asked for
	again   time.Time      // nothing is done before
	own     fabric.MigrationReport
	told    string    // the migration that was last reported on; empty: none
	written time.Time // own was
	checked time.Time // the host was
	said    string    // the trouble last logged
}

// New makes a task that does nothing before Run.
func New(o Options) *Task { return &Task{opt: o, kick: make(chan struct{}, 1)} }

// Kick says that Inputs or Ways.Programmed have news.
func (t *Task) Kick() {
	select {
	case t.kick <- struct{}{}:
	default: // one is waiting already
	}
}

// Run works until ctx ends. What was moved stays as it is then.
func (t *Task) Run(ctx context.Context) error {
	defer t.group.Wait()
	defer t.leave()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		t.follow(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-t.kick:
		case <-ticker.C:
		case got := <-t.line.granted():
			t.line = nil
			t.turn(got)
		}
	}
}

// state is what is known of a migration at one moment.
type state struct {
	in     Inputs
	snap   *fabric.Snapshot
	m      *fabric.Migration
	self   *fabric.Peer
	report fabric.MigrationReport // this node's
}

// state is false where there is no migration, or nothing can be said of it: this
// node is not in the fabric, or only a copy of the fabric is known.
func (t *Task) state() (state, bool) {
	st := state{in: t.opt.Inputs()}
	st.snap = st.in.Snapshot
	if st.snap == nil || st.snap.Spec == nil || st.snap.Cached || st.snap.Migration == nil {
		return st, false
	}
	st.m, st.self = st.snap.Migration, st.snap.Peer(t.opt.Self.ID)
	if st.self == nil || st.self.Name != t.opt.Self.Name {
		return st, false
	}
	// What was written in this life counts before it is in the snapshot.
	if st.report = t.own; st.report.ID != st.m.ID {
		st.report = st.snap.Report(t.opt.Self.Name)
		st.report.ID = st.m.ID
	}
	return st, true
}

// follow does all that needs no lock, and gets in line for it.
func (t *Task) follow(ctx context.Context) {
	st, ok := t.state()
	if !ok {
		t.leave()
		if st.snap != nil && st.snap.Migration == nil {
			t.forget()
		}
		return
	}
	if time.Now().Before(t.again) {
		return // the next tick comes after that
	}
	next := t.prepare(ctx, st)
	if t.wants(st) {
		t.enter(ctx)
		next.Reason = t.line.reason()
	} else {
		t.leave()
	}
	t.publish(ctx, st.report, next)
}

// forget ends what was said of a migration that is over.
func (t *Task) forget() {
	if t.told == "" {
		return
	}
	t.opt.Log.WithField("migration", t.told).Info("migration is over")
	t.own, t.told, t.checked, t.said = fabric.MigrationReport{}, "", time.Time{}, ""
}

// prepare looks whether the host is fit, and whether it receives by both plans.
// A node that joins while others move does so as well.
func (t *Task) prepare(ctx context.Context, st state) fabric.MigrationReport {
	r := st.report
	r.Reason = ""
	if st.m.Undo || ctx.Err() != nil {
		return r
	}
	if len(r.Checks) == 0 || len(r.Failed()) > 0 && !r.Begun() {
		if !t.checked.IsZero() && time.Since(t.checked) < lookAgain {
			r.Reason = st.report.Reason
			return r
		}
		checks, missing := t.look(ctx, st)
		if missing != "" { // not a failure: it is known in a moment
			r.Reason = "the host cannot be checked yet: " + missing
			return r
		}
		t.checked = time.Now()
		r.Checks = checks
	}
	if failed := r.Failed(); len(failed) > 0 {
		r.Reason = "a check failed: " + failed[0].Name + ": " + failed[0].Text
		return r
	}
	switch {
	case r.Armed || st.m.DryRun:
	case !st.snap.Arms():
		r.Reason = "not every node has looked yet, or one cannot go along"
	default:
		r.Reason = t.unarmed(st)
		r.Armed = r.Reason == ""
	}
	return r
}

// publish writes what changed of the report.
func (t *Task) publish(ctx context.Context, was, next fabric.MigrationReport) {
	next.At = was.At
	if reflect.DeepEqual(was, next) {
		return
	}
	alone := next
	alone.Reason = was.Reason
	if reflect.DeepEqual(was, alone) && time.Since(t.written) < reasonEvery {
		return // the next tick sees to it
	}
	t.trouble(t.tell(ctx, next))
}

// tell writes the report and returns when etcd has it.
func (t *Task) tell(ctx context.Context, r fabric.MigrationReport) error {
	r.At = time.Now().UTC()
	t.written = time.Now()
	if err := t.opt.Fabric.ReportMigration(ctx, r); err != nil {
		// Etcd may have it all the same: the next snapshot says. Until that is
		// here nothing is written, lest an older cursor be put in its place.
		t.own, t.again = fabric.MigrationReport{}, time.Now().Add(turnPause)
		return err
	}
	t.own, t.told = r, r.ID
	return nil
}

// trouble logs what went wrong, once; nil says that nothing did.
func (t *Task) trouble(err error) {
	if err == nil {
		t.said = ""
		return
	}
	if t.said != err.Error() {
		t.said = err.Error()
		t.opt.Log.WithError(err).Warn("migration does not go on; it will be tried again")
	}
}

// wants reports whether this node has something to move now.
func (t *Task) wants(st state) bool {
	r := st.report
	switch {
	case st.m.Pause != nil || st.m.DryRun:
		return false
	case st.m.Undo:
		return r.Begun()
	case !st.m.Moves(&st.self.Node) || !r.Armed || r.Done && !r.Moving:
		return false
	}
	return r.Begun() || len(r.Failed()) == 0 && st.snap.Progress().Phase == fabric.PhaseMoving
}

// until waits until a condition holds, looking at all news.
func (t *Task) until(ctx context.Context, most time.Duration, holds func() bool) {
	const every = 50 * time.Millisecond
	end := time.NewTimer(most)
	defer end.Stop()
	poll := time.NewTicker(every)
	defer poll.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			return
		case <-end.C:
			return
		case <-t.kick:
		case <-poll.C:
		}
	}
}
