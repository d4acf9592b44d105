package migrate

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// world is a fabric of tasks that stands on nothing but the interfaces: records
// that all see at once, a lock, and kernels that follow the records a little
// later. The old plan is one overlay, the new one another. Every time a kernel
// follows, all pairs of nodes are checked: what one sends by, the other receives.
type world struct {
	t  testing.TB
	mu sync.Mutex // guards the rest

	snap  *fabric.Snapshot
	nodes map[string]*node
	away  bool // etcd is
	line  []*ticket
	lost  func(from, to string, p fabric.Path) bool
	wrote []written
	// fate says what becomes of a report that was written; nil: all is well.
	fate func(written) error
	// follow is how long a kernel takes to follow the records.
	follow func() time.Duration
}

// written is a report and whose it is.
type written struct {
	fabric.MigrationReport
	by string
}

var errAway = errors.New("etcd does not answer")

func newWorld(t testing.TB, names ...string) *world {
	w := &world{t: t, nodes: map[string]*node{}, lost: func(string, string, fabric.Path) bool { return false }, follow: func() time.Duration { return 20 * time.Millisecond }}
	w.snap = &fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789}}}
	for _, name := range names {
		w.join(name, fabric.FeatureMigrate)
	}
	t.Cleanup(func() {
		for _, n := range w.nodes {
			n.kill()
		}
	})
	return w
}

// another is a migration to the other overlay.
func another() *fabric.Migration {
	return &fabric.Migration{ID: "one", Rate: 20, To: fabric.Plan{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 8472, Generation: 1}}}
}

var (
	oldPath = fabric.Path{Kind: fabric.PathVXLAN}
	newPath = fabric.Path{Kind: fabric.PathVXLAN, Generation: 1}
)

// set makes the next snapshot.
func (w *world) set(change func(*fabric.Snapshot)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.change(change)
}

func (w *world) change(change func(*fabric.Snapshot)) {
	next := *w.snap
	next.Revision++
	next.Reports = maps.Clone(w.snap.Reports)
	if next.Reports == nil {
		next.Reports = map[string]fabric.MigrationReport{}
	}
	next.Peers = slices.Clone(w.snap.Peers)
	change(&next)
	w.snap = &next
	w.tell()
}

// tell hands the snapshot to all whom etcd reaches.
func (w *world) tell() {
	if w.away || w.snap == nil { // or each has its own
		return
	}
	for _, n := range w.nodes {
		n.seen = w.snap
		n.poke()
	}
}

// poke says that there is a snapshot. The world is locked.
func (n *node) poke() {
	if n.task == nil {
		return
	}
	n.task.Kick()
	select {
	case n.news <- struct{}{}:
	default:
	}
}

// migration changes the record, as operators do.
func (w *world) migration(change func(*fabric.Migration)) {
	w.set(func(s *fabric.Snapshot) {
		m := *s.Migration
		change(&m)
		s.Migration = &m
	})
}

// setAway takes etcd away or gives it back. Who had the lock loses it.
func (w *world) setAway(away bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.away = away
	if away {
		w.loseLock()
	}
	w.tell()
	w.grant()
}

func (w *world) loseLock() {
	if len(w.line) > 0 && w.line[0].has {
		w.line[0].end(errors.New("the lock was lost"))
		w.line = w.line[1:]
	}
	w.grant()
}

// until waits for a condition.
func (w *world) until(what string, holds func(*fabric.Snapshot) bool) {
	w.t.Helper()
	poll := time.NewTicker(100 * time.Millisecond)
	defer poll.Stop()
	for range 6000 {
		w.mu.Lock()
		ok := holds(w.snap)
		w.mu.Unlock()
		if ok {
			return
		}
		<-poll.C
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.t.Fatalf("ten minutes and not yet: %s\n%s", what, w.text())
}

func (w *world) untilPhase(phase string) {
	w.t.Helper()
	w.until("phase "+phase, func(s *fabric.Snapshot) bool { return s.Progress().Phase == phase })
}

// text is all there is to see.
func (w *world) text() string {
	var b strings.Builder
	if w.snap == nil {
		return ""
	}
	if m := w.snap.Migration; m != nil {
		fmt.Fprintf(&b, "undo %t, progress %+v\n", m.Undo, w.snap.Progress())
		if m.Pause != nil {
			fmt.Fprintf(&b, "pause %+v\n", *m.Pause)
		}
	}
	for _, p := range w.snap.Peers {
		r := w.snap.Report(p.Name)
		for _, c := range r.Failed() {
			fmt.Fprintf(&b, "%s: %+v\n", p.Name, c)
		}
		r.Checks = nil
		held := int64(-1)
		if n := w.nodes[p.Name]; n != nil && n.clean != nil {
			held = n.clean.Revision
		}
		fmt.Fprintf(&b, "%s: %+v, its kernel is at %d of %d\n", p.Name, r, held, w.snap.Revision)
	}
	return b.String()
}

// check fails where a pair of nodes does not understand each other. The world is
// locked.
func (w *world) check() {
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a == b || a.kernel == nil || b.kernel == nil || a.kernel.Peer(fabric.NodeID(b.name)) == nil {
				continue
			}
			if p := a.sends(b.name); !b.receives(p) {
				w.t.Errorf("%s sends to %s by %+v, which it does not receive\n%s", a.name, b.name, p, w.text())
			}
		}
	}
}

// ticket is a place in line for the lock.
type ticket struct {
	by      string
	has     bool
	granted chan struct{}
	held    context.Context
	end     context.CancelCauseFunc
}

func (w *world) grant() {
	if len(w.line) > 0 && !w.line[0].has && !w.away {
		w.line[0].has = true
		close(w.line[0].granted)
	}
}

// node is a host: a kernel, and at times an agent.
type node struct {
	w      *world
	name   string
	old    bool             // its agent knows no migrations
	kernel *fabric.Snapshot // that it was programmed for last
	seen   *fabric.Snapshot
	clean  *fabric.Snapshot // programmed in this life
	task   *Task            // nil: its agent is gone
	log    *logtest.Hook
	news   chan struct{}
	stop   context.CancelFunc
	group  sync.WaitGroup
	broken string // why its loop gets nowhere
	etcd   Fabric // the node itself, or a session with the real server
}

// host is one without an agent.
func (w *world) host(name string) *node {
	n := &node{w: w, name: name, news: make(chan struct{}, 1)}
	n.etcd = n
	return n
}

// join makes a host with a running agent.
func (w *world) join(name string, features ...string) *node {
	n := w.host(name)
	n.old = len(features) == 0
	w.set(func(s *fabric.Snapshot) {
		w.nodes[name] = n
		s.Peers = append(s.Peers, &fabric.Peer{Alive: true, Node: fabric.Node{Name: name, ID: fabric.NodeID(name), Features: features}})
		slices.SortFunc(s.Peers, func(a, b *fabric.Peer) int { return strings.Compare(a.Name, b.Name) })
	})
	n.start()
	return n
}

// start starts the agent anew; what was programmed is there.
func (n *node) start() {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	ctx, stop := context.WithCancel(context.Background())
	log, hook := logtest.NewNullLogger()
	n.task = New(Options{
		Log: logrus.NewEntry(log), Self: fabric.Node{Name: n.name, ID: fabric.NodeID(n.name)},
		Inputs: n.inputs, Fabric: n.etcd, Ways: n, Router: n, Filters: func() ([]kernel.Filter, error) { return nil, nil },
	})
	n.log, n.stop, n.clean = hook, stop, nil
	n.group.Go(func() { n.loop(ctx) })
	if !n.old {
		n.group.Go(func() { _ = n.task.Run(ctx) })
	}
	n.w.tell()
}

// kill ends the agent wherever it is.
func (n *node) kill() {
	n.w.mu.Lock()
	running := n.task != nil
	n.w.mu.Unlock()
	if !running {
		return
	}
	n.stop()
	n.group.Wait()
	n.w.mu.Lock()
	n.task = nil
	n.w.mu.Unlock()
}

// alive writes whether the agent is.
func (n *node) alive(is bool) {
	n.w.set(func(s *fabric.Snapshot) {
		for i, p := range s.Peers {
			if p.Name == n.name {
				q := *p
				q.Alive = is
				s.Peers[i] = &q
			}
		}
	})
}

// loop is the reconcile loop.
func (n *node) loop(ctx context.Context) {
	for {
		wait := time.NewTimer(n.w.follow())
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-n.news:
			<-wait.C
		}
		n.w.mu.Lock()
		if n.broken == "" && n.seen != nil {
			n.clean = n.seen
			n.kernel = n.seen
			if n.old {
				k := *n.seen
				k.Migration = nil
				n.kernel = &k
			}
			n.w.check()
		}
		n.w.mu.Unlock()
		n.task.Kick()
	}
}

func (n *node) sends(to string) fabric.Path {
	s := n.kernel
	plan := s.PlanFor(&fabric.Node{Name: n.name, ID: fabric.NodeID(n.name)}, &s.Peer(fabric.NodeID(to)).Node)
	return fabric.Path{Kind: fabric.PathVXLAN, Generation: plan.VXLAN.Generation}
}

func (n *node) receives(p fabric.Path) bool {
	return slices.ContainsFunc(n.kernel.Plans(), func(plan fabric.Plan) bool { return plan.VXLAN.Generation == p.Generation })
}

func (n *node) inputs() Inputs {
	n.w.mu.Lock()
	defer n.w.mu.Unlock()
	return Inputs{Snapshot: n.seen, Underlay: kernel.Underlay{MTU: 1500, Interface: "eth0"}}
}
