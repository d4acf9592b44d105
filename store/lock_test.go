package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// lockers starts n agents that are in the fabric.
func lockers(t *testing.T, url string, n int, opts ...agentOption) []*agent {
	t.Helper()
	var agents []*agent
	for i := range n {
		agents = append(agents, startAgent(t, []string{url}, testNode(i), opts...))
	}
	for _, a := range agents {
		a.waitState(Leased)
	}
	return agents
}

// lock takes a lock that must be free before long.
func (a *agent) lock(name string) (held context.Context, unlock func()) {
	a.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	a.t.Cleanup(cancel)
	held, unlock, err := a.ss.LockContext(ctx, name)
	if err != nil {
		a.t.Fatalf("%s: %v", a.ss.opt.Self.Name, err)
	}
	return held, unlock
}

// queue waits until a lock's queue in etcd is n long.
func queue(t *testing.T, c *clientv3.Client, lock string, n int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d keys for the lock %s", n, lock), func() error {
		resp, err := c.Get(context.Background(), testPrefix+dirLocks+lock+"/", clientv3.WithPrefix(), clientv3.WithKeysOnly())
		if err == nil && len(resp.Kvs) != n {
			err = fmt.Errorf("%v", resp.Kvs)
		}
		return err
	})
}

// Many callers on several nodes: one at a time, in the order of their keys,
// and two writes to etcd for each.
func TestLock(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := lockers(t, e.url, 5)
	before := put(t, c, "something/else", "")
	const rounds, callers = 4, 2
	var inside, most, total atomic.Int32
	var tasks group
	for _, a := range agents {
		for range callers {
			tasks.start(func() {
				for range rounds {
					_, unlock := a.lock("198.18.0.1")
					most.Store(max(most.Load(), inside.Add(1)))
					total.Add(1)
					inside.Add(-1)
					unlock()
					unlock() // again: nothing
				}
			})
		}
	}
	tasks.wait()
	if most.Load() != 1 || total.Load() != rounds*callers*5 {
		t.Errorf("%d had the lock at once, %d in all", most.Load(), total.Load())
	}
	queue(t, c, "198.18.0.1", 0)
	if writes := put(t, c, "something/else", "") - before - 1; writes > int64(2*rounds*callers*5) {
		t.Errorf("%d writes for %d times the lock", writes, rounds*callers*5)
	}
}

// First come, first served; other names are other locks; any text is a name.
func TestLockQueue(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := lockers(t, e.url, 4)
	_, unlock := agents[0].lock("a")
	_, other := agents[1].lock("a/b %\xff\n")
	defer other()
	order := make(chan int, 4)
	var tasks group
	for i, a := range agents[1:] {
		tasks.start(func() {
			_, unlock := a.lock("a")
			order <- i
			unlock()
		})
		queue(t, c, "a", i+2)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := agents[0].ss.Lock(ctx, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the same node again: %v", err)
	}
	ctx, cancel = context.WithCancel(context.Background())
	waiting := make(chan error)
	tasks.start(func() {
		_, err := agents[0].ss.Lock(ctx, "a/b %\xff\n")
		waiting <- err
	})
	eventually(t, "it to stand behind node-1", func() error {
		desk := &agents[0].ss.locks
		desk.mu.Lock()
		defer desk.mu.Unlock()
		for _, list := range desk.wanted {
			if list[0].ahead == "node-1" {
				return nil
			}
		}
		return errors.New("not yet")
	})
	cancel()
	if err := <-waiting; !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "node-1 has it") {
		t.Errorf("given up: %v", err)
	}
	unlock()
	tasks.wait()
	for i := range 3 {
		if got := <-order; got != i {
			t.Errorf("place %d went to %d", i, got)
		}
	}
	for _, name := range []string{"", strings.Repeat("x", 300)} {
		if _, err := agents[0].ss.Lock(context.Background(), name); err == nil {
			t.Errorf("the name %.10q was accepted", name)
		}
	}
	queue(t, c, "a", 0)
}

// The lock of an agent that dies is free when its short lease expires; where
// it starts again before that, with the same lease, when it is back.
func TestLockOfADeadAgent(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	relay := newRelay(t, e.url)
	long, _ := fabricWith(t, "10.244.0.0/16", 24, "24h", "3600s")
	t.Run("stays dead", func(t *testing.T) {
		agents := lockers(t, e.url, 1)
		dead := startAgent(t, []string{relay.url}, testNode(8))
		dead.waitState(Leased)
		held, _ := dead.lock("tor")
		relay.cut() // all at once, as by kill -9
		agents[0].lock("tor")
		select {
		case <-held.Done():
		case <-time.After(patience):
		}
		if err := context.Cause(held); !errors.Is(err, ErrLockLost) {
			t.Errorf("the dead one's lock: %v", err)
		}
	})
	t.Run("starts again", func(t *testing.T) {
		agents := lockers(t, long.url, 2)
		agents[1].lock("tor")
		agents[1].stop()
		again := startAgent(t, []string{long.url}, testNode(1))
		agents[0].lock("tor")
		again.waitState(Leased)
	})
}

// etcd is stopped and started again: who has the lock keeps it, who waits
// gets it in its turn, and what is unlocked meanwhile is free.
func TestLockWhileEtcdRestarts(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "60s")
	agents := lockers(t, e.url, 3)
	held, unlock := agents[0].lock("tor")
	_, unlockOther := agents[0].lock("other")
	got := make(chan func())
	var tasks group
	for _, name := range []string{"tor", "other"} {
		tasks.start(func() {
			_, unlock := agents[1].lock(name)
			got <- unlock
		})
		queue(t, c, name, 2)
	}
	e.stop()
	eventually(t, "the outage to be noticed", func() error {
		if agents[0].ss.Etcd().Connected {
			return errors.New("it is connected")
		}
		return nil
	})
	unlockOther()
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	if _, err := agents[2].ss.Lock(ctx, "new"); err == nil || !strings.Contains(err.Error(), "deadline exceeded (") {
		t.Errorf("a lock without etcd: %v", err)
	}
	e.start()
	(<-got)()
	if held.Err() != nil {
		t.Errorf("the lock was lost: %v", context.Cause(held))
	}
	unlock()
	if held.Err() == nil || errors.Is(context.Cause(held), ErrLockLost) {
		t.Errorf("unlocked: %v", context.Cause(held))
	}
	(<-got)()
	tasks.wait()
	_, unlock = agents[2].lock("new")
	unlock()
	queue(t, e.client(), "new", 0)
}

// A wipe takes the locks along: who had one learns of it, and all go on.
func TestLockWiped(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "60s")
	agents := lockers(t, e.url, 2)
	held, unlock := agents[0].lock("tor")
	second := make(chan func())
	var tasks group
	tasks.start(func() {
		_, unlock := agents[1].lock("tor")
		second <- unlock
	})
	queue(t, c, "tor", 2)
	del(t, c, "", clientv3.WithPrefix())
	put(t, c, lockKey("tor", "node-7"), "garbage") // stands in nobody's way
	put(t, c, lockKey("tor", "node-8"), `{"ticket":"for ever"}`)
	(<-second)()
	tasks.wait()
	select {
	case <-held.Done():
	case <-time.After(patience):
	}
	if err := context.Cause(held); !errors.Is(err, ErrLockLost) {
		t.Errorf("the wiped lock: %v", err)
	}
	unlock()
	_, unlock = agents[0].lock("tor")
	unlock()
}

// The session's end ends the waiting.
func TestLockEndsWithTheSession(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "60s")
	agents := lockers(t, e.url, 2)
	held, _ := agents[0].lock("tor")
	done := make(chan error, 1)
	var tasks group
	tasks.start(func() {
		_, err := agents[0].ss.Lock(context.Background(), "tor")
		done <- err
	})
	eventually(t, "it to wait", func() error {
		agents[0].ss.locks.mu.Lock()
		defer agents[0].ss.locks.mu.Unlock()
		if len(agents[0].ss.locks.wanted["tor"]) != 2 {
			return errors.New("not yet")
		}
		return nil
	})
	agents[0].stop()
	tasks.wait()
	if err := <-done; !errors.Is(err, errSessionEnded) || !errors.Is(context.Cause(held), errSessionEnded) {
		t.Errorf("waiting: %v, holding: %v", err, context.Cause(held))
	}
	if _, err := agents[0].ss.Lock(context.Background(), "tor"); !errors.Is(err, errSessionEnded) {
		t.Errorf("after the end: %v", err)
	}
}

// The keys of a lock follow when the operator changes the life of the leases.
func TestLockFollowsTheLease(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "3s")
	agents := lockers(t, e.url, 1)
	held, unlock := agents[0].lock("tor")
	lease := func() int64 {
		resp, err := c.Get(context.Background(), testPrefix+lockKey("tor", "node-0"))
		must(t, err)
		if len(resp.Kvs) == 0 {
			t.Fatal("the lock's key is gone")
		}
		return resp.Kvs[0].Lease
	}
	old := lease()
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "60s"))
	eventually(t, "the old lease to be gone", func() error {
		resp, err := c.TimeToLive(context.Background(), clientv3.LeaseID(old))
		if err == nil && resp.TTL > 0 {
			err = fmt.Errorf("it has %d s", resp.TTL)
		}
		return err
	})
	if lease() == old || held.Err() != nil {
		t.Errorf("lost: %v", context.Cause(held))
	}
	unlock()
	queue(t, c, "tor", 0)
}

// Locks are nobody's news: no snapshot is made for them, and who has none to
// ask for sends nothing.
func TestLocksCostOthersNothing(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "60s")
	var mu sync.Mutex
	requests := 0
	idle := startAgent(t, []string{e.url}, testNode(9), func(c *Config, _ *SessionOptions) {
		c.Requests = func(op string, _ error) {
			mu.Lock()
			defer mu.Unlock()
			if op != "keepalive" {
				requests++
			}
		}
	})
	idle.waitState(Leased)
	agents := lockers(t, e.url, 2)
	idle.waitSnap("all peers", func(s *fabric.Snapshot) bool {
		return len(s.Peers) == 3 && s.Peers[1].Alive && s.Peers[0].Alive && len(s.Peers[0].Subnets)+len(s.Peers[1].Subnets) == 2
	})
	mu.Lock()
	before := requests
	mu.Unlock()
	idle.mu.Lock()
	snaps := len(idle.snaps)
	idle.mu.Unlock()
	for range 5 {
		for _, a := range agents {
			_, unlock := a.lock("tor")
			unlock()
		}
	}
	n := testNode(0)
	n.MTU = 9000
	agents[0].ss.SetSelf(n)
	idle.waitSnap("what comes after", func(s *fabric.Snapshot) bool { p := s.Peer(n.ID); return p != nil && p.MTU == 9000 })
	idle.mu.Lock()
	defer idle.mu.Unlock()
	mu.Lock()
	defer mu.Unlock()
	if requests != before || len(idle.snaps) != snaps+1 {
		t.Errorf("%d requests and %d snapshots for others' locks", requests-before, len(idle.snaps)-snaps-1)
	}
}
