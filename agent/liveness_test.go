package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weft-net/weft/fabric"
)

// hosts is a pinger whose hosts answer or do not. It counts what is sent.
type hosts struct {
	mu     sync.Mutex
	silent map[netip.Addr]bool // guarded by mu
	broken bool                // nothing can be sent; guarded by mu
	sent   int                 // guarded by mu
	heard  chan netip.Addr
}

func (h *hosts) answers() <-chan netip.Addr { return h.heard }

func (h *hosts) send(to netip.Addr) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.broken {
		return errors.New("network is unreachable")
	}
	h.sent++
	if !h.silent[to] {
		h.heard <- to
	}
	return nil
}

func (h *hosts) set(change func()) {
	h.mu.Lock()
	defer h.mu.Unlock()
	change()
}

// liveRun is a liveness task over n peers whose agents are gone.
type liveRun struct {
	*hosts
	mu       sync.Mutex
	snapshot *fabric.Snapshot       // guarded by mu
	down     map[fabric.NodeID]bool // guarded by mu
}

func (r *liveRun) isDown(id fabric.NodeID) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.down[id]
}

func addrOf(i int) netip.Addr { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

func peersGone(n int, change func(i int, p *fabric.Peer)) *fabric.Snapshot {
	s := &fabric.Snapshot{}
	for i := range n {
		p := &fabric.Peer{Node: fabric.Node{ID: fabric.NodeID(rune('a' + i))}}
		p.Underlay.IPv4 = addrOf(i)
		if change != nil {
			change(i, p)
		}
		s.Peers = append(s.Peers, p)
	}
	return s
}

// inBubble runs body with a started liveness task and a fake clock.
func inBubble(t *testing.T, s *fabric.Snapshot, body func(r *liveRun)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := &liveRun{
			hosts: &hosts{silent: map[netip.Addr]bool{}, heard: make(chan netip.Addr, 1000)}, snapshot: s, down: map[fabric.NodeID]bool{},
		}
		l := &liveness{
			log: quiet(), self: "self", ping: r,
			snapshot: func() *fabric.Snapshot { r.mu.Lock(); defer r.mu.Unlock(); return r.snapshot },
			set:      func(id fabric.NodeID, down bool) { r.mu.Lock(); defer r.mu.Unlock(); r.down[id] = down },
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- l.run(ctx) }()
		body(r)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestAgentGoneIsNotHostDown(t *testing.T) {
	inBubble(t, peersGone(1, nil), func(r *liveRun) {
		time.Sleep(time.Minute)
		synctest.Wait()
		if r.isDown("a") {
			t.Error("a host that answers is called down")
		}
	})
}

func TestHostDownAndBack(t *testing.T) {
	inBubble(t, peersGone(1, nil), func(r *liveRun) {
		r.set(func() { r.silent[addrOf(0)] = true })
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !r.isDown("a") {
			t.Fatal("a silent host is not down")
		}
		r.set(func() { delete(r.silent, addrOf(0)) })
		time.Sleep(6 * time.Second)
		synctest.Wait()
		if r.isDown("a") {
			t.Error("a host that answers again is still down")
		}
		r.set(func() { r.silent[addrOf(0)] = true })
		time.Sleep(12 * time.Second)
		synctest.Wait()
		if !r.isDown("a") {
			t.Error("a host that answered once and went silent is not down")
		}
	})
}

func TestAgentBackClearsDown(t *testing.T) {
	inBubble(t, peersGone(1, nil), func(r *liveRun) {
		r.set(func() { r.silent[addrOf(0)] = true })
		time.Sleep(2 * time.Second)
		r.mu.Lock()
		r.snapshot = peersGone(1, func(_ int, p *fabric.Peer) { p.Alive = true })
		r.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		if r.isDown("a") {
			t.Error("a peer whose agent lives is down")
		}
	})
}

// Nothing that is not known for sure may make a peer unreachable.
func TestNeverCalledDown(t *testing.T) {
	tests := []struct {
		name     string
		snapshot *fabric.Snapshot
		broken   bool
	}{
		{"agent alive", peersGone(1, func(_ int, p *fabric.Peer) { p.Alive = true }), false},
		{"held peer", peersGone(1, func(_ int, p *fabric.Peer) { p.Held = true }), false},
		{"cached snapshot", &fabric.Snapshot{Cached: true, Peers: peersGone(1, nil).Peers}, false},
		{"our own network is gone", peersGone(1, nil), true},
		{"this node", peersGone(1, func(_ int, p *fabric.Peer) { p.ID = "self" }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			inBubble(t, tt.snapshot, func(r *liveRun) {
				r.set(func() { r.broken = tt.broken; r.silent[addrOf(0)] = true })
				time.Sleep(time.Minute)
				synctest.Wait()
				r.mu.Lock()
				defer r.mu.Unlock()
				if len(r.down) != 0 {
					t.Errorf("called down: %v", r.down)
				}
			})
		})
	}
}

func TestProbesAreBounded(t *testing.T) {
	inBubble(t, peersGone(2000, nil), func(r *liveRun) {
		for i := range 2000 {
			r.set(func() { r.silent[addrOf(i)] = true })
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		r.set(func() {
			if most := probeRate * 11; r.sent > most {
				t.Errorf("%d probes in 10 s, want at most %d", r.sent, most)
			}
		})
	})
}
