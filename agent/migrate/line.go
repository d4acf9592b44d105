package migrate

import (
	"context"
	"time"

	"github.com/weft-net/weft/fabric"
)

// place is one in line for the lock. Its methods are good for a nil one.
type place struct {
	cancel context.CancelFunc
	result chan lock // one element
	since  time.Time
}

// lock is what came of waiting for it.
type lock struct {
	held   context.Context // ends with the lock
	unlock func()
	err    error
}

// granted gives the lock, or why there is none.
func (p *place) granted() <-chan lock {
	if p == nil {
		return nil
	}
	return p.result
}

// reason says that it waits, where it does for long.
func (p *place) reason() string {
	if p == nil || time.Since(p.since) < reasonEvery {
		return ""
	}
	return "waits for its turn: one node moves at a time"
}

// enter gets in line, unless it is already.
func (t *Task) enter(ctx context.Context) {
	if t.line != nil || time.Now().Before(t.again) {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	p := &place{cancel: cancel, result: make(chan lock, 1), since: time.Now()}
	t.line = p
	t.group.Go(func() {
		held, unlock, err := t.opt.Fabric.LockContext(ctx, fabric.MigrationLock)
		if err != nil {
			cancel()
			unlock = func() {}
		}
		p.result <- lock{held, func() { unlock(); cancel() }, err}
	})
}

// leave gives the place up, or the lock that has just been got.
func (t *Task) leave() {
	p := t.line
	if p == nil {
		return
	}
	t.line = nil
	p.cancel()
	t.group.Go(func() {
		got := <-p.result
		got.unlock()
	})
}
