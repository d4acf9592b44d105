package migrate

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/store"
)

// patience bounds every wait; a slow machine needs a part of it.
const patience = 120 * time.Second

// server is the real etcd, on loopback; the kernel kills it with this process.
type server struct {
	t   *testing.T
	url string
	cmd *exec.Cmd
}

func startServer(t *testing.T) *server {
	t.Helper()
	// In the user namespace of an ordinary user (testns.Main) nobody has yet.
	if lo, err := net.InterfaceByName("lo"); err == nil && lo.Flags&net.FlagUp == 0 {
		testns.Run(t, "ip", "link", "set", "lo", "up")
	}
	const any = "http://127.0.0.1:0" // the kernel chooses the ports
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "etcd", "--data-dir", t.TempDir(), "--logger", "zap", "--log-outputs", "stderr",
		"--listen-client-urls", any, "--advertise-client-urls", any,
		"--listen-peer-urls", any, "--initial-advertise-peer-urls", any, "--initial-cluster", "default="+any)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{}
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatalf("the etcd server of Debian's etcd-server is needed: %v", err)
	}
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	drained := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-drained
		_ = cmd.Wait() // killed: that is its error
	})
	s := &server{t: t, cmd: cmd}
	for s.url == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, "serving client traffic") {
			s.url = "http://" + line.Address
		}
	}
	go func() {
		defer close(drained)
		for lines.Scan() { // so that it never blocks
		}
	}()
	if s.url == "" {
		t.Fatal("etcd did not start")
	}
	return s
}

func (s *server) signal(sig syscall.Signal) {
	s.t.Helper()
	if err := s.cmd.Process.Signal(sig); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) open() *store.Store {
	s.t.Helper()
	log, _ := logtest.NewNullLogger()
	db, err := store.Open(store.Config{Endpoints: []string{s.url}, Log: logrus.NewEntry(log)})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = db.Close() })
	return db
}

// member is a host of a world that meets in the real etcd.
type member struct {
	*node
	i     int
	db    *store.Store
	end   context.CancelFunc
	group *sync.WaitGroup
}

func (m *member) self() fabric.Node {
	n := fabric.Node{
		Name: m.name, ID: fabric.NodeID(m.name), VTEPMAC: fabric.DeriveMAC("vtep", m.name), MTU: 1500,
		Receives: []fabric.PathKind{fabric.PathVXLAN}, Features: []string{fabric.FeatureMigrate},
	}
	n.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 18, 0, byte(m.i + 1)})
	return n
}

// begin starts its agent: a session, a loop and a task.
func (m *member) begin() {
	ctx, end := context.WithCancel(context.Background())
	log, _ := logtest.NewNullLogger()
	session := m.db.NewSession(store.SessionOptions{
		Self: m.self(), Instance: m.name, Log: logrus.NewEntry(log),
		Snapshots: func(s *fabric.Snapshot) {
			m.w.mu.Lock()
			defer m.w.mu.Unlock()
			m.seen = s
			m.poke()
		},
	})
	m.etcd, m.end, m.group = session, end, new(sync.WaitGroup)
	m.start()
	m.group.Go(func() { _ = session.Run(ctx) })
}

// die kills the agent.
func (m *member) die() {
	m.kill()
	m.end()
	m.group.Wait()
}

// meeting is the whole fabric.
type meeting struct {
	*world
	server  *server
	db      *store.Store
	members []*member
}

func meet(t *testing.T, n int) *meeting {
	t.Helper()
	w := &meeting{world: newWorld(t), server: startServer(t)}
	w.world.snap = nil
	w.db = w.server.open()
	w.must(w.db.Apply(context.Background(), []store.Change{{Key: "fabric", Value: w.fabric(4789, 0)}}))
	for i := range n {
		m := &member{node: w.host(fmt.Sprintf("n%d", i)), i: i, db: w.server.open()}
		w.mu.Lock()
		w.nodes[m.name] = m.node
		w.mu.Unlock()
		w.members = append(w.members, m)
		m.begin()
		t.Cleanup(m.die)
	}
	return w
}

func (w *meeting) fabric(port, generation int) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"default"},"spec":{"network":{"ipv4":"10.244.0.0/16"},`+
		`"subnetLength":{"ipv4":24},"backend":"vxlan","vxlan":{"vni":1,"port":%d,"directRouting":false,"generation":%d},"lease":{"ttl":"1h","liveness":"3s"}}}`, port, generation)
}

func (w *meeting) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// see waits until the records show something.
func (w *meeting) see(what string, holds func(*fabric.Snapshot) bool) *fabric.Snapshot {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	poll := time.NewTicker(20 * time.Millisecond)
	defer poll.Stop()
	for {
		s, err := w.db.View(ctx)
		if err == nil && holds(s) {
			return s
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("not yet: %s (%v): %+v", what, err, s)
		case <-poll.C:
		}
	}
}

func (w *meeting) seePhase(phase string) {
	w.t.Helper()
	w.see("phase "+phase, func(s *fabric.Snapshot) bool { return s.Migration != nil && s.Progress().Phase == phase })
}

func (w *meeting) change(id string, change func(*fabric.Migration)) {
	w.t.Helper()
	w.must(w.db.ChangeMigration(context.Background(), id, func(m *fabric.Migration) error { change(m); return nil }))
}

// migration is one to another overlay, from the plan in force.
func (w *meeting) migrationTo(id string, port uint16, generation int) fabric.Migration {
	from := w.see("a specification", func(s *fabric.Snapshot) bool { return s.Spec != nil }).Spec.Plan()
	m := fabric.Migration{ID: id, From: from, To: from, Rate: 10, By: "test", Created: time.Now()}
	m.To.VXLAN.Port, m.To.VXLAN.Generation = port, generation
	return m
}

// untilKernels waits until all send to all by a path.
func (w *meeting) untilKernels(p fabric.Path) {
	w.t.Helper()
	w.see("all kernels to follow", func(*fabric.Snapshot) bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if a != b && (a.kernel == nil || a.kernel.Peer(fabric.NodeID(b.name)) == nil || a.sends(b.name) != p) {
					return false
				}
			}
		}
		return true
	})
}

// moving waits until a node is in the middle of its turn.
func (w *meeting) moving() {
	w.t.Helper()
	w.see("somebody to be moving", func(s *fabric.Snapshot) bool {
		for _, r := range s.Reports {
			if r.Moving && r.Cursor != "" {
				return true
			}
		}
		return false
	})
}

// Agents take turns over the real etcd: while one is killed, etcd stands still
// for longer than a lock lives, operators start two migrations at once, pause,
// undo and begin again, every pair of nodes understands each other.
func TestTurnsOverEtcd(t *testing.T) {
	w := meet(t, 4)
	w.see("all to be in the fabric", func(s *fabric.Snapshot) bool { return len(s.Peers) == 4 })
	one, two := w.migrationTo("one", 8472, 1), w.migrationTo("two", 8473, 1)
	errs := make(chan error, 2)
	for _, m := range []fabric.Migration{one, two} {
		go func() { errs <- w.db.Migrate(context.Background(), m) }()
	}
	if a, b := <-errs, <-errs; (a == nil) == (b == nil) || a != nil && !errors.Is(a, store.ErrMigrating) || b != nil && !errors.Is(b, store.ErrMigrating) {
		t.Fatalf("two at once: %v, %v", a, b)
	}
	m := w.see("one of them", func(s *fabric.Snapshot) bool { return s.Migration != nil }).Migration

	w.moving()
	w.server.signal(syscall.SIGSTOP) // the lock is lost: it lives three seconds
	<-time.After(5 * time.Second)
	w.server.signal(syscall.SIGCONT)
	w.moving()
	w.members[1].die()
	w.members[2].die()
	w.members[1].begin()
	w.members[2].begin()
	w.change(m.ID, func(m *fabric.Migration) { m.Pause = &fabric.Pause{Reason: "lunch", By: "test", At: time.Now()} })
	w.change(m.ID, func(m *fabric.Migration) { m.Pause = nil })
	w.seePhase(fabric.PhaseMoved)
	w.untilKernels(newPath)

	w.change(m.ID, func(m *fabric.Migration) { m.Undo = true })
	w.moving()
	w.members[3].die()
	w.members[3].begin()
	w.seePhase(fabric.PhaseUndone)
	w.untilKernels(oldPath)

	w.change(m.ID, func(m *fabric.Migration) { m.Undo = false })
	w.seePhase(fabric.PhaseMoved)
	w.finish(m)
	w.untilKernels(newPath)
	w.see("no record to be left", func(s *fabric.Snapshot) bool { return s.Migration == nil && len(s.Reports) == 0 })
}

// finish ends the migration as an operator does.
func (w *meeting) finish(m *fabric.Migration) {
	w.t.Helper()
	ctx := context.Background()
	s := w.see("nothing to be in the way", func(s *fabric.Snapshot) bool { return len(s.Unready()) == 0 })
	w.must(w.db.FinishMigration(ctx, m.ID, s.Revision, &store.Change{Key: "fabric", Value: w.fabric(int(m.To.VXLAN.Port), m.To.VXLAN.Generation), ModRev: s.SpecRev}))
}
