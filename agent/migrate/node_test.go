package migrate

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
)

// The node is its task's Fabric.

func (n *node) ReportMigration(ctx context.Context, r fabric.MigrationReport) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	if n.w.away {
		return errAway
	}
	if n.w.snap.Migration == nil || n.w.snap.Migration.ID != r.ID {
		return errors.New("there is no such migration")
	}
	was := n.w.snap.Report(n.name)
	moves := was.Cursor != r.Cursor || was.Done != r.Done || was.Moving != r.Moving
	if moves && ctx.Err() == nil && (len(n.w.line) == 0 || n.w.line[0].by != n.name || !n.w.line[0].has) {
		n.w.t.Errorf("%s moves without the lock: %+v, before %+v", n.name, r, was)
	}
	w := written{r, n.name}
	n.w.wrote = append(n.w.wrote, w)
	n.w.change(func(s *fabric.Snapshot) { s.Reports[n.name] = r })
	if n.w.fate != nil {
		return n.w.fate(w)
	}
	return ctx.Err() // of one killed in between, the record is written
}

func (n *node) PauseMigration(_ context.Context, id string, p fabric.Pause) error {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	switch m := n.w.snap.Migration; {
	case n.w.away:
		return errAway
	case m == nil || m.ID != id:
		return errors.New("there is no such migration")
	case m.Pause != nil:
		return nil
	}
	n.w.change(func(s *fabric.Snapshot) {
		m := *s.Migration
		m.Pause = &p
		s.Migration = &m
	})
	return nil
}

func (n *node) LockContext(ctx context.Context, _ string) (context.Context, func(), error) {
	w, t := n.w, &ticket{by: n.name, granted: make(chan struct{})}
	t.held, t.end = context.WithCancelCause(ctx)
	w.mu.Lock()
	w.line = append(w.line, t)
	w.grant()
	w.mu.Unlock()
	unlock := func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		t.end(context.Canceled)
		w.line = slices.DeleteFunc(w.line, func(o *ticket) bool { return o == t })
		w.grant()
	}
	select {
	case <-t.granted:
		return t.held, unlock, nil
	case <-t.held.Done():
		unlock()
		return nil, nil, context.Cause(t.held)
	}
}

// The node is its task's Ways.

func (n *node) Targets(_ context.Context, plan fabric.Plan, peers []*fabric.Peer) ([]probe.Target, error) {
	var out []probe.Target
	for _, p := range peers {
		path := fabric.Path{Kind: fabric.PathVXLAN, Generation: plan.VXLAN.Generation}
		out = append(out, probe.Target{Key: probe.Key{Peer: p.ID, Family: fabric.IPv4, Path: path}, Full: 1450})
	}
	return out, nil
}

func (n *node) Volley(ctx context.Context, targets []probe.Target, count, _ int) []probe.Result {
	wait, out := 5*time.Millisecond, make([]probe.Result, len(targets))
	n.w.mu.Lock()
	for i, t := range targets {
		out[i] = probe.Result{Key: t.Key, Sent: count}
		far := n.w.nodes[string(t.Peer)]
		if far != nil && far.kernel != nil && far.receives(t.Path) && !n.w.lost(n.name, far.name, t.Path) {
			out[i].Answered = count
		} else {
			wait = time.Second
		}
	}
	n.w.mu.Unlock()
	select {
	case <-ctx.Done():
	case <-time.After(wait):
	}
	return out
}

func (n *node) Choices(_ context.Context, peers []fabric.NodeID) (map[paths.Key]paths.Choice, error) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	out := map[paths.Key]paths.Choice{}
	for _, id := range peers {
		if n.kernel != nil && n.kernel.Peer(id) != nil {
			out[paths.Key{Peer: id, Family: fabric.IPv4}] = paths.Choice{Path: n.sends(string(id))}
		}
	}
	return out, nil
}

func (n *node) Programmed() (*fabric.Snapshot, string) {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return n.clean, n.broken
}

// The node is its task's Router.

func (n *node) Foresee(context.Context, *fabric.Spec) (routing.Foresight, error) {
	return routing.Foresight{Sessions: 1}, nil
}
func (n *node) Sessions() []bgp.SessionStatus { return nil }
func (n *node) Synced(fabric.Family) bool     { return true }
