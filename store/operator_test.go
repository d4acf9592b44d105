package store

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/weft-net/weft/fabric"
)

func TestGetAndApply(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	e.client()
	st, ctx := operator(t, e), context.Background()
	if _, _, err := st.Get(ctx, keyFabric); !errors.Is(err, ErrNotFound) {
		t.Errorf("Get of nothing: %v", err)
	}
	must(t, st.Apply(ctx, []Change{{Key: "fabric", Value: []byte("one")}, {Key: "bgppeers/x", Value: []byte("peer")}}))
	value, rev, err := st.Get(ctx, keyFabric)
	if err != nil || string(value) != "one" || rev == 0 {
		t.Errorf("Get = %q, %d, %v", value, rev, err)
	}
	for name, c := range map[string]Change{
		"exists already":  {Key: "fabric", Value: []byte("two")},
		"another rev":     {Key: "fabric", Value: []byte("two"), ModRev: rev + 1},
		"delete, changed": {Key: "fabric", ModRev: rev - 1},
	} {
		if err := st.Apply(ctx, []Change{{Key: "other", Value: []byte("x")}, c}); !errors.Is(err, ErrChanged) {
			t.Errorf("%s: %v, want ErrChanged", name, err)
		}
	}
	if _, _, err := st.Get(ctx, "other"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a failed transaction wrote something: %v", err)
	}
	must(t, st.Apply(ctx, []Change{{Key: "fabric", ModRev: rev}}))
}

func TestView(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	l := a.waitState(Leased)
	put(t, c, "nodes/garbage", "x")
	s, err := operator(t, e).View(context.Background())
	must(t, err)
	p := s.Peer("id-node-1")
	if p == nil || !p.Alive || subnetsOf(Lease{Subnets: p.Subnets}) != subnetsOf(l) || s.Spec == nil || len(s.Problems) != 1 {
		t.Errorf("%s", describe(s))
	}
}

// The number of requests does not depend on the number of peers.
func TestRequestsDoNotGrowWithPeers(t *testing.T) {
	t.Parallel()
	count := func(peers int) map[string]int {
		e, c := fabricWith(t, "10.0.0.0/8", 24, "1h", "15s")
		w := bigWorld(peers)
		for k, v := range w.keys {
			if k != keyFabric {
				put(t, c, k, string(v.value))
			}
		}
		var mu sync.Mutex
		got := map[string]int{}
		a := startAgent(t, []string{e.url}, testNode(100000), func(c *Config, _ *SessionOptions) {
			c.Requests = func(op string, err error) {
				mu.Lock()
				defer mu.Unlock()
				if got[op]++; err != nil {
					t.Errorf("%s: %v", op, err)
				}
			}
		})
		a.waitState(Leased)
		a.waitSnap("all peers", func(s *fabric.Snapshot) bool { return len(s.Peers) == peers+1 })
		mu.Lock()
		defer mu.Unlock()
		delete(got, "keepalive") // goes with time
		return got
	}
	few, many := count(2), count(300)
	for op, n := range many {
		if n != few[op] {
			t.Errorf("%d requests of kind %s with 300 peers, %d with 2", n, op, few[op])
		}
	}
	if many["list"] != 1 || many["txn"] != 1 || many["watch"] != 1 || many["grant"] != 2 {
		t.Errorf("requests %v", many)
	}
}
