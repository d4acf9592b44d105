package migrate

import (
	"context"
	"sync/atomic"

	"github.com/weft-net/weft/fabric"
)

// Task is a node's part in migrations.
type Task struct {
	opt    Options
	kick   chan struct{} // one element
	report atomic.Pointer[fabric.MigrationReport]
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

// Report is how far this node is, as last written; nil: there is no migration.
func (t *Task) Report() *fabric.MigrationReport { return t.report.Load() }

// Run works until ctx ends.
func (t *Task) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}
