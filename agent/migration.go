package agent

import (
	"context"
	"strings"

	"github.com/weft-net/weft/agent/migrate"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// openMigrations makes the task that moves this node's peers.
func (a *agent) openMigrations() {
	a.migrate = migrate.New(migrate.Options{
		Log: a.log, Self: a.self, Inputs: a.migrateInputs, Fabric: a.session, Ways: movable{a}, Router: a.routing,
		Filters: kernel.ForwardFilters,
	})
}

// migrates runs the task, if this agent knows migrations.
func (a *agent) migrates(ctx context.Context) error {
	if len(features()) == 0 {
		return nil
	}
	return a.migrate.Run(ctx)
}

func (a *agent) migrateInputs() migrate.Inputs {
	in := a.inbox.take()
	out := migrate.Inputs{Snapshot: in.snapshot, Underlay: in.underlay}
	if s := a.loop.summary.Load(); s != nil {
		out.Uplinks = s.uplinks
	}
	return out
}

// movable is what a migration needs of the loop and the prober.
type movable struct{ a *agent }

// Targets implements migrate.Ways.
func (m movable) Targets(ctx context.Context, plan fabric.Plan, peers []*fabric.Peer) (out []probe.Target, err error) {
	err = m.a.loop.ask(ctx, func() {
		for _, p := range peers {
			out = append(out, m.a.loop.want.targetsBy(plan, p)...)
		}
	})
	return out, err
}

// targetsBy are the ways to a peer that a plan prefers of those that are up.
func (w *wanted) targetsBy(plan fabric.Plan, p *fabric.Peer) (out []probe.Target) {
	if !w.known {
		return nil
	}
	prefer := plan.Prefer(w.input.Spec.PathRules, w.ways.sender(), p.Labels)
	r := backends.Remote{Peer: p, Down: w.down[p.ID]}
	armed := w.ways.arm(&kernel.Objects{}, r)
	for _, f := range fabric.Families {
		if _, any := p.FirstSubnet(f); !any {
			continue
		}
		if path, ok := firstUp(prefer, w.ways.offers(nil, r, f, &armed)); ok {
			if t, ok := w.ways.target(p, f, path, plan); ok {
				out = append(out, t)
			}
		}
	}
	return out
}

func firstUp(prefer []fabric.Path, offers []paths.Offer) (fabric.Path, bool) {
	for _, p := range prefer {
		for _, o := range offers {
			if o.Path == p && o.State == paths.Up {
				return p, true
			}
		}
	}
	return fabric.Path{}, false
}

// Volley implements migrate.Ways.
func (m movable) Volley(ctx context.Context, targets []probe.Target, n, size int) []probe.Result {
	return m.a.prober.Volley(ctx, targets, n, size)
}

// Choices implements migrate.Ways.
func (m movable) Choices(ctx context.Context, peers []fabric.NodeID) (map[paths.Key]paths.Choice, error) {
	out := map[paths.Key]paths.Choice{}
	err := m.a.loop.ask(ctx, func() {
		for _, id := range peers {
			for _, f := range fabric.Families {
				k := paths.Key{Peer: id, Family: f}
				if c, known := m.a.loop.want.ways.chooser.Last(k); known {
					out[k] = c
				}
			}
		}
	})
	return out, err
}

// Programmed implements migrate.Ways.
func (m movable) Programmed() (s *fabric.Snapshot, reason string) {
	sum := m.a.loop.summary.Load()
	if sum == nil {
		return nil, "the agent starts"
	}
	if sum.programmed != m.a.inbox.take().snapshot {
		reason = strings.Join(sum.reasons, "; ")
	}
	return sum.programmed, reason
}
