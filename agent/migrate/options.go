package migrate

import (
	"context"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Options are what a Task is made of; all must be set. The functions and methods
// are called from the task's goroutine. Only those that take a context may block.
type Options struct {
	Log    *logrus.Entry
	Self   fabric.Node // name, id and labels
	Inputs func() Inputs
	Fabric Fabric
	Ways   Ways
	Router Router
	// Filters are the packet filters of others that may drop pods' packets:
	// kernel.ForwardFilters.
	Filters func() ([]kernel.Filter, error)
}

// Inputs are what the rest of the agent knows. They are immutable.
type Inputs struct {
	Snapshot *fabric.Snapshot // nil: none yet
	Underlay kernel.Underlay
	// Uplinks are the devices on which weft sees to rp_filter itself.
	Uplinks []string
}

// Fabric is etcd, as store.Session serves it.
type Fabric interface {
	// ReportMigration returns when etcd has the report.
	ReportMigration(context.Context, fabric.MigrationReport) error
	// PauseMigration stops the migration with that id, if nobody has yet.
	PauseMigration(ctx context.Context, id string, p fabric.Pause) error
	// LockContext waits for a lock; held ends when it is lost.
	LockContext(ctx context.Context, name string) (held context.Context, unlock func(), err error)
}

// Ways is what the agent's loop and prober know and do.
type Ways interface {
	// Targets are the ways to these peers that plan prefers of those that are
	// up now, whatever plan is in force: one for each family of a peer, none
	// where there is no such way.
	Targets(ctx context.Context, plan fabric.Plan, peers []*fabric.Peer) ([]probe.Target, error)
	// Volley probes each target n times, see probe.Prober.
	Volley(ctx context.Context, targets []probe.Target, n, size int) []probe.Result
	// Choices are the ways in use now to these peers, for each family that they
	// have subnets of.
	Choices(ctx context.Context, peers []fabric.NodeID) (map[paths.Key]paths.Choice, error)
	// Programmed is the newest snapshot that the loop has carried out without a
	// failure, nil if none in this life, and, if it is not the newest there is,
	// why, in words.
	Programmed() (s *fabric.Snapshot, reason string)
}

// Router is what routes: routing.Task.
type Router interface {
	// Foresee is what would be done by the specification given.
	Foresee(ctx context.Context, spec *fabric.Spec) (routing.Foresight, error)
	Sessions() []bgp.SessionStatus
	Synced(fabric.Family) bool
}
