package store

import (
	"context"
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
)

// testNode is the record of the i-th host.
func testNode(i int) fabric.Node {
	name := fmt.Sprintf("node-%d", i)
	n := fabric.Node{
		Name: name, ID: fabric.NodeID("id-" + name), VTEPMAC: fabric.DeriveMAC("vtep", name), MTU: 1500,
		Receives: []fabric.PathKind{fabric.PathVXLAN},
	}
	n.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
	return n
}

// agent is a session that runs, and what it said.
type agent struct {
	t    *testing.T
	ss   *Session
	st   *Store
	stop func()
	logs *lockedBuffer

	mu     sync.Mutex // guards the rest
	snap   *fabric.Snapshot
	lease  Lease
	leases []Lease
	at     time.Time // of the last change of the lease
	snaps  []*fabric.Snapshot
}

type agentOption func(*Config, *SessionOptions)

func inInstance(s string) agentOption { return func(_ *Config, o *SessionOptions) { o.Instance = s } }
func withCache(p string) agentOption  { return func(_ *Config, o *SessionOptions) { o.CacheFile = p } }

func startAgent(t *testing.T, urls []string, self fabric.Node, opts ...agentOption) *agent {
	t.Helper()
	a := &agent{t: t, logs: new(lockedBuffer)}
	logger := logrus.New()
	logger.SetOutput(a.logs)
	conf := Config{Endpoints: urls, Log: logrus.NewEntry(logger).WithField("node", self.Name)}
	so := SessionOptions{Self: self, Instance: "boot-1", Snapshots: a.onSnapshot, Lease: a.onLease}
	for _, o := range opts {
		o(&conf, &so)
	}
	st, err := Open(conf)
	must(t, err)
	a.st, a.ss = st, st.NewSession(so)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.ss.Run(ctx) }()
	a.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
		st.Close()
	})
	t.Cleanup(a.stop)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", self.Name, a.logs)
		}
	})
	return a
}

func (a *agent) onSnapshot(s *fabric.Snapshot) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.snap = s
	a.snaps = append(a.snaps, s)
}

func (a *agent) onLease(l Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lease = l
	a.leases = append(a.leases, l)
	a.at = time.Now()
}

func (a *agent) now() (*fabric.Snapshot, Lease) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.snap == nil {
		return &fabric.Snapshot{}, a.lease
	}
	return a.snap, a.lease
}

// sawState reports whether the lease was ever in a state.
func (a *agent) sawState(s LeaseState) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.leases {
		if l.State == s {
			return true
		}
	}
	return false
}

// waitState waits until the lease is in a state.
func (a *agent) waitState(s LeaseState) Lease {
	a.t.Helper()
	var got Lease
	eventually(a.t, "the lease of "+a.ss.opt.Self.Name+" to be "+string(s), func() error {
		if _, got = a.now(); got.State != s {
			return fmt.Errorf("it is %+v; etcd: %+v", got, a.ss.Etcd())
		}
		return nil
	})
	return got
}

// waitSnap waits until the snapshot satisfies ok.
func (a *agent) waitSnap(what string, ok func(*fabric.Snapshot) bool) *fabric.Snapshot {
	a.t.Helper()
	var got *fabric.Snapshot
	eventually(a.t, what, func() error {
		if got, _ = a.now(); !ok(got) {
			return fmt.Errorf("snapshot %s", describe(got))
		}
		return nil
	})
	return got
}

// describe writes a snapshot for people.
func describe(s *fabric.Snapshot) string {
	out := fmt.Sprintf("rev %d cached %v hold %+v spec %v", s.Revision, s.Cached, s.Hold, s.Spec != nil)
	for i, p := range s.Peers {
		if i == 8 {
			out += fmt.Sprintf("\n  ... %d peers", len(s.Peers))
			break
		}
		out += fmt.Sprintf("\n  peer %s id %s index %d alive %v held %v %v", p.Name, p.ID, p.Index, p.Alive, p.Held, prefixes(p.Subnets))
	}
	for _, p := range s.Problems {
		out += fmt.Sprintf("\n  problem %s: %s", p.Key, p.Reason)
	}
	return out
}
