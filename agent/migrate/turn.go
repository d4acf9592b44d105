package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/fabric"
)

// errChanged ends a step that nobody wants any more.
var errChanged = errors.New("another thing is asked for")

// turn moves what it can while this node has the lock. It ends at once when the
// lock is lost: another may have it. A step in which that happens is looked at
// first in the next turn, for its report says Moving.
func (t *Task) turn(got lock) {
	if got.err != nil {
		t.again = time.Now().Add(turnPause)
		return
	}
	defer got.unlock()
	sure := false
	for got.held.Err() == nil {
		st, ok := t.state()
		if !ok || !t.wants(st) {
			return
		}
		began := time.Now()
		moved, err := t.advance(got.held, st, sure)
		if err != nil {
			if cause := context.Cause(got.held); cause != nil {
				err = cause
			}
			if !errors.Is(err, errChanged) && !errors.Is(err, context.Canceled) {
				t.trouble(err)
			}
			t.again = time.Now().Add(turnPause)
			return
		}
		sure = true
		t.trouble(nil)
		t.pace(got.held, began, time.Duration(moved)*time.Second/time.Duration(max(st.m.Rate, 1)))
	}
}

// pace keeps to the rate: what began then may go on after that time.
func (t *Task) pace(ctx context.Context, began time.Time, most time.Duration) {
	rest := time.NewTimer(most - time.Since(began))
	defer rest.Stop()
	select {
	case <-ctx.Done():
	case <-rest.C:
	}
}

// advance does one step and says how many peers it moved. Until it is sure of
// the last step of an earlier turn, it looks at that.
func (t *Task) advance(ctx context.Context, st state, sure bool) (int, error) {
	if st.report.Moving && !sure {
		return 0, t.recheck(ctx, st)
	}
	s := t.next(st, st.m.Undo)
	if len(s.peers) == 0 {
		t.opt.Log.WithField("undo", st.m.Undo).Info("migration: this node has moved its peers")
		return 0, t.tell(ctx, s.report)
	}
	switch f, err := t.compare(ctx, s); {
	case err != nil:
		return 0, err
	case f != nil:
		still := st.report
		still.Moving = false // the steps before were looked at
		return 0, t.pause(ctx, st, still, *f)
	}
	if err := t.tell(ctx, s.report); err != nil {
		return 0, err
	}
	f, err := t.verify(ctx, st, s, s.peers)
	if err != nil {
		return 0, err
	}
	if f != nil {
		return 0, t.back(ctx, st, step{peers: s.peers, report: st.report, plan: s.other, other: s.plan}, *f)
	}
	return len(s.peers), nil
}

// recheck looks at what an earlier turn left behind: that the kernel has
// followed, and that the peers of its last step answer. Where they do not, that
// step is taken back as if it had been of this turn.
func (t *Task) recheck(ctx context.Context, st state) error {
	last := t.next(st, !st.m.Undo)
	back := last
	last.plan, last.other, last.report = last.other, last.plan, st.report
	f, err := t.verify(ctx, st, last, movable(st))
	if err != nil || f == nil {
		return err
	}
	if len(back.peers) == 0 {
		return t.pause(ctx, st, st.report, *f)
	}
	return t.back(ctx, st, back, *f)
}

// verify waits until the kernel holds what the step's report says for these
// peers, and probes those that the step has moved.
func (t *Task) verify(ctx context.Context, st state, s step, held []*fabric.Peer) (*fault, error) {
	f, err := t.settle(ctx, st, s.report, held)
	if f != nil || err != nil {
		return f, err
	}
	return t.compare(ctx, s)
}

// back takes a step back and stops the migration. The peers move first: their
// packets are being lost.
func (t *Task) back(ctx context.Context, st state, s step, f fault) error {
	r := s.report
	r.Moving = true
	r.Reason = f.String()
	if err := t.tell(ctx, r); err != nil {
		return err
	}
	stuck, err := t.settle(ctx, st, r, s.peers)
	if err != nil {
		return err
	}
	r.Moving = stuck != nil // then the next turn looks at it again
	return t.pause(ctx, st, r, f)
}

// pause stops the migration everywhere and says why.
func (t *Task) pause(ctx context.Context, st state, r fabric.MigrationReport, f fault) error {
	t.opt.Log.WithField("reason", f.String()).Warn("migration pauses itself")
	p := fabric.Pause{Reason: f.reason, Node: t.opt.Self.Name, Peer: f.peer, At: time.Now().UTC()}
	if err := t.opt.Fabric.PauseMigration(ctx, st.m.ID, p); err != nil {
		return err
	}
	r.Reason = f.String()
	if err := t.tell(ctx, r); err != nil {
		return err
	}
	// The snapshot that says so must be here before the next step.
	t.until(ctx, settleMost, func() bool {
		now, ok := t.state()
		return !ok || now.m.ID != st.m.ID || now.m.Pause != nil
	})
	return errChanged
}
