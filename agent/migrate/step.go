package migrate

import (
	"context"
	"fmt"
	"time"

	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
)

const (
	// stepsPerSecond and stepMost give the peers that are moved at once: few
	// enough to lose little by, where something is wrong.
	stepsPerSecond, stepMost = 10, 50
	// settleMost bounds the wait for the kernel to follow. settleBest is how
	// long a peer may take to get to the best of its ways; after that any of the
	// plan's will do: a way that has just failed is not taken again at once.
	settleMost, settleBest = 30 * time.Second, 10 * time.Second
)

// step is some peers and how they are moved.
type step struct {
	peers  []*fabric.Peer
	report fabric.MigrationReport // that moves them
	// plan is that by which they are sent to then, other that of before.
	plan, other fabric.Plan
}

// movable are the peers that the new plan can be used for, by id.
func movable(st state) []*fabric.Peer {
	var out []*fabric.Peer
	for _, p := range st.snap.Peers {
		if p.ID != st.self.ID && p.Migrates() && st.snap.Report(p.Name).Armed {
			out = append(out, p)
		}
	}
	return out
}

// next is the next step, to the new plan or back from it. One without peers says
// that all are there.
func (t *Task) next(st state, undo bool) step {
	all := movable(st)
	size := min(max(st.m.Rate/stepsPerSecond, 1), stepMost)
	from := 0 // the first that is not moved
	for from < len(all) && (st.report.Done || all[from].ID <= st.report.Cursor) {
		from++
	}
	s := step{report: st.report, plan: st.m.To, other: st.snap.Spec.Plan()}
	s.report.Total, s.report.Reason = len(all), ""
	if !undo {
		s.peers = all[from:min(from+size, len(all))]
		s.report.Moved, s.report.Done = from+len(s.peers), len(s.peers) == 0
	} else {
		s.plan, s.other = s.other, s.plan
		s.peers = all[max(from-size, 0):from]
		s.report.Moved, s.report.Done, s.report.Cursor = from-len(s.peers), false, ""
	}
	s.report.Moving = len(s.peers) > 0
	if s.report.Moved > 0 {
		s.report.Cursor = all[s.report.Moved-1].ID
	}
	return s
}

// settle waits until the kernel holds what r says for these peers. The fault
// says what it does not.
func (t *Task) settle(ctx context.Context, st state, r fabric.MigrationReport, peers []*fabric.Peer) (*fault, error) {
	ids := make([]fabric.NodeID, len(peers))
	for i, p := range peers {
		ids[i] = p.ID
	}
	began := time.Now()
	var f *fault
	var err error
	t.until(ctx, settleMost, func() bool {
		if err = t.changed(st); err != nil {
			return true
		}
		f = t.unsettled(ctx, r, ids, time.Since(began) < settleBest)
		return f == nil
	})
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	return f, err
}

// changed says that the migration is over or goes the other way. One that was
// paused ends its step.
func (t *Task) changed(st state) error {
	now, ok := t.state()
	if !ok || now.m.ID != st.m.ID || now.m.Undo != st.m.Undo {
		return errChanged
	}
	return nil
}

// unsettled says what the kernel does not hold yet of what r says; best: peers
// must have got to the best of their ways.
func (t *Task) unsettled(ctx context.Context, r fabric.MigrationReport, ids []fabric.NodeID, best bool) *fault {
	held, reason := t.opt.Ways.Programmed()
	if held == nil || !sameMoves(held.Report(t.opt.Self.Name), r) {
		if reason == "" {
			reason = "the loop has not got to it yet"
		}
		return &fault{reason: "the kernel has not followed: " + reason}
	}
	choices, err := t.opt.Ways.Choices(ctx, ids)
	if err != nil {
		return &fault{reason: "it is not known how peers are reached: " + err.Error()}
	}
	for _, id := range ids {
		peer := held.Peer(id)
		if peer == nil {
			continue
		}
		plan := held.PlanFor(&t.opt.Self, &peer.Node)
		for _, family := range fabric.Families {
			c, there := choices[paths.Key{Peer: id, Family: family}]
			if !there || c.Path.Kind == "" {
				continue // no way is left, whatever the plan: nothing is lost by it
			}
			by := fmt.Sprintf("%s is still reached by %s (%s)", family, pathWord(c.Path, held.Plans()...), c.Reason)
			if !includes(plan, held.Spec.PathRules, c.Path) {
				return &fault{peer: peer.Name, reason: by}
			}
			if best && c.Next.Kind != "" {
				return &fault{peer: peer.Name, reason: by + ", next by " + pathWord(c.Next, held.Plans()...)}
			}
		}
	}
	return nil
}

// sameMoves compares what two reports say of which peers are moved.
func sameMoves(a, b fabric.MigrationReport) bool {
	return a.ID == b.ID && a.Armed == b.Armed && a.Cursor == b.Cursor && a.Done == b.Done
}

// includes reports whether a path is one of a plan's.
func includes(plan fabric.Plan, rules []fabric.PathRule, p fabric.Path) bool {
	return plan.Uses(rules, p.Kind) && (p.Kind != fabric.PathVXLAN || p.Generation == plan.VXLAN.Generation)
}

// pathWord names a path; where the plans have different overlays, by its port.
func pathWord(p fabric.Path, plans ...fabric.Plan) string {
	if p.Kind == fabric.PathVXLAN && len(plans) > 1 && plans[0].VXLAN.Generation != plans[1].VXLAN.Generation {
		for _, plan := range plans {
			if plan.VXLAN.Generation == p.Generation {
				return fmt.Sprintf("vxlan (port %d, VNI %d)", plan.VXLAN.Port, plan.VXLAN.VNI)
			}
		}
	}
	return string(p.Kind)
}
