package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

func subnetsOf(l Lease) string { return strings.Join(prefixes(l.Subnets), " ") }

// fabricWith starts an etcd that holds a Fabric object.
func fabricWith(t *testing.T, network string, length int, ttl, liveness string) (*etcdServer, *clientv3.Client) {
	t.Helper()
	e := newEtcd(t)
	c := e.client()
	put(t, c, keyFabric, fabricValue(network, length, ttl, liveness))
	return e, c
}

// operator is a Store as a command uses it.
func operator(t *testing.T, e *etcdServer) *Store {
	t.Helper()
	s, err := Open(Config{Endpoints: []string{e.url}})
	must(t, err)
	t.Cleanup(func() { s.Close() })
	return s
}

// Forty agents that start at once on a pool of exactly forty subnets all get
// one, and an index of their own.
func TestManyStartOnATightPool(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/24", 30, "1h", "15s")
	for i := range 24 { // 64 subnets less these are 40
		put(t, c, subnetKey(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(4 * i)}), 30)), `{"for":"somebody-else"}`)
	}
	var agents []*agent
	for i := range 40 {
		agents = append(agents, startAgent(t, []string{e.url}, testNode(i)))
	}
	indexes := map[uint32]bool{}
	subnets := map[netip.Prefix]bool{}
	for _, a := range agents {
		l := a.waitState(Leased)
		indexes[l.Index] = l.Index <= 40
		for _, s := range l.Subnets {
			subnets[s.Prefix] = true
		}
	}
	if len(indexes) != 40 || len(subnets) != 40 {
		t.Errorf("%d indexes and %d subnets for 40 nodes", len(indexes), len(subnets))
	}
	agents[0].waitSnap("all peers to be there", func(s *fabric.Snapshot) bool {
		return len(s.Peers) == 40 && len(s.Problems) == 0 && len(s.Reservations) == 24
	})
}

// Both families are claimed, and a fabric that changes its networks renumbers.
func TestDualStackAndChangeOfNetwork(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	c := e.client()
	spec := `{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"default"},"spec":{"network":{"ipv4":%q,"ipv6":"fd00:1::/48"},"subnetLength":{"ipv4":%d,"ipv6":64},"lease":{"ttl":"1h","liveness":%q}}}`
	a := startAgent(t, []string{e.url}, testNode(0))
	if l := a.waitState(Waiting); l.Subnets != nil {
		t.Errorf("lease without a Fabric: %+v", l)
	}
	eventually(t, "the reason to name `weft apply`", func() error {
		if _, l := a.now(); !strings.Contains(l.Reason, "weft apply") {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	put(t, c, keyFabric, fmt.Sprintf(spec, "10.244.0.0/16", 24, "15s"))
	first := a.waitState(Leased)
	if len(first.Subnets) != 2 || !first.Subnets[0].Prefix.Addr().Is4() || !first.Subnets[1].Prefix.Addr().Is6() {
		t.Fatalf("lease %+v, want one subnet per family", first)
	}
	put(t, c, keyFabric, fmt.Sprintf(spec, "10.240.0.0/12", 26, "2s")) // larger, other length, other liveness: kept
	put(t, c, keyFabric, fmt.Sprintf(spec, "10.99.0.0/16", 24, "2s"))  // elsewhere: IPv4 is leased anew
	eventually(t, "the IPv4 subnet to move", func() error {
		_, l := a.now()
		if l.State != Leased || len(l.Subnets) != 2 || !strings.HasPrefix(subnetsOf(l), "10.99.") || l.Subnets[1].Prefix != first.Subnets[1].Prefix {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	s := a.waitSnap("the records to follow", func(s *fabric.Snapshot) bool {
		return len(s.Peers) == 1 && len(s.Problems) == 0 && len(s.Peers[0].Subnets) == 2
	})
	if s.Peers[0].Subnets[0].Prefix.String()[:6] != "10.99." {
		t.Errorf("%s", describe(s))
	}
	eventually(t, "two etcd leases to be left", func() error { return wantLeases(c, 2) })
}

func wantLeases(c *clientv3.Client, n int) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := c.Leases(ctx)
	if err == nil && len(resp.Leases) != n {
		err = fmt.Errorf("%d etcd leases, want %d", len(resp.Leases), n)
	}
	return err
}

// An agent that starts again finds its share and writes nothing.
func TestRestartsReuseEverything(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	var first Lease
	var rev int64
	for i := range 20 {
		var mu sync.Mutex
		ops := map[string]int{}
		a := startAgent(t, []string{e.url}, testNode(1), func(c *Config, _ *SessionOptions) {
			c.Requests = func(op string, _ error) {
				mu.Lock()
				defer mu.Unlock()
				ops[op]++
			}
		})
		l := a.waitState(Leased)
		if i == 0 {
			first = l
			a.waitSnap("its own records", func(s *fabric.Snapshot) bool { return len(s.Peers) == 1 && len(s.Peers[0].Subnets) == 1 })
			rev = a.ss.Etcd().Revision
		}
		a.stop()
		mu.Lock()
		if !equalLease(l, first) || ops["list"] != 1 || ops["txn"] != map[bool]int{true: 1}[i == 0] || ops["watch"] > 1 {
			t.Errorf("start %d: lease %+v, want %+v; requests %v", i, l, first, ops)
		}
		mu.Unlock()
	}
	must(t, wantLeases(c, 2))
	resp, err := c.Get(context.Background(), testPrefix, clientv3.WithPrefix())
	must(t, err)
	if resp.Header.Revision != rev {
		t.Errorf("restarts moved etcd from revision %d to %d", rev, resp.Header.Revision)
	}
}

// A node finds its subnet again after the lease has expired, from its cache.
func TestSubnetIsRememberedAfterExpiry(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := t.TempDir() + "/snapshot.json"
	st := operator(t, e)
	must(t, st.Reserve(context.Background(), netip.MustParsePrefix("10.244.200.0/24"), "node-1"))
	a := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	if l := a.waitState(Leased); subnetsOf(l) != "10.244.200.0/24" {
		t.Fatalf("lease %+v, want the reserved one", l)
	}
	must(t, st.Unreserve(context.Background(), netip.MustParsePrefix("10.244.200.0/24"))) // a lease from here on
	a.waitSnap("the reservation to be a lease", func(s *fabric.Snapshot) bool {
		return len(s.Peers) == 1 && len(s.Peers[0].Subnets) == 1 && s.Peers[0].Subnets[0].EtcdLease != 0 && s.Peers[0].Subnets[0].For == ""
	})
	a.stop()
	del(t, c, "nodes/node-1")
	del(t, c, "alive/node-1")
	del(t, c, "subnets/", clientv3.WithPrefix())
	if l := startAgent(t, []string{e.url}, testNode(1), withCache(cache)).waitState(Leased); subnetsOf(l) != "10.244.200.0/24" || l.Subnets[0].Epoch != 2 {
		t.Errorf("lease %+v, want the subnet of the life before in epoch 2", l)
	}
}

func TestReservation(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	st, ctx := operator(t, e), context.Background()
	want := netip.MustParsePrefix("10.244.77.0/24")
	must(t, st.Reserve(ctx, want, "node-1"))
	a := startAgent(t, []string{e.url}, testNode(1))
	b := startAgent(t, []string{e.url}, testNode(2))
	if l := a.waitState(Leased); subnetsOf(l) != want.String() || l.Subnets[0].For != "node-1" {
		t.Errorf("lease %+v, want %v", l, want)
	}
	taken := b.waitState(Leased).Subnets[0].Prefix
	for _, c := range []struct{ prefix, reason string }{
		{taken.String(), "belongs to node-2"}, {want.String(), "reserved for node-1"}, {"10.244.0.0/23", "length 23"},
		{"10.244.0.1/24", "bits set"}, {"10.99.0.0/24", "outside"}, {"fd00::/64", "no ipv6"},
	} {
		if err := st.Reserve(ctx, netip.MustParsePrefix(c.prefix), "node-3"); err == nil || !strings.Contains(err.Error(), c.reason) {
			t.Errorf("reserve %s: %v, want ...%s...", c.prefix, err, c.reason)
		}
	}
	must(t, st.Reserve(ctx, taken, "node-2")) // its own becomes reserved as it is
	b.waitSnap("node-2's lease to be a reservation", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-2")
		return p != nil && len(p.Subnets) == 1 && p.Subnets[0].For == "node-2" && p.Subnets[0].EtcdLease == 0 && len(s.Problems) == 0
	})
	if b.sawState(Fenced) {
		t.Error("node-2 was fenced by its own reservation")
	}
	if err := st.Unreserve(ctx, netip.MustParsePrefix("10.244.3.0/24")); !errors.Is(err, ErrNotFound) {
		t.Errorf("unreserve what is not: %v", err)
	}
}

// The pool is full; the agent says so, and recovers when a node is removed.
func TestExhaustedPoolRecovers(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/23", 24, "1h", "2s")
	a := startAgent(t, []string{e.url}, testNode(0))
	b := startAgent(t, []string{e.url}, testNode(1))
	a.waitState(Leased)
	freed := subnetsOf(b.waitState(Leased))
	late := startAgent(t, []string{e.url}, testNode(2))
	if l := late.waitState(Exhausted); !strings.Contains(l.Reason, "10.244.0.0/23") || !strings.Contains(l.Reason, "2 leased") {
		t.Errorf("reason %q does not name the pool", l.Reason)
	}
	st, ctx := operator(t, e), context.Background()
	if err := st.RemoveNode(ctx, "node-1"); !errors.Is(err, ErrAlive) {
		t.Errorf("removing a living node: %v", err)
	}
	b.stop()
	a.waitSnap("node-1 to be dead", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-1")
		return p != nil && !p.Alive && len(p.Subnets) == 1
	})
	must(t, st.RemoveNode(ctx, "node-1"))
	if l := late.waitState(Leased); subnetsOf(l) != freed {
		t.Errorf("lease %+v, want %s", l, freed)
	}
	a.waitSnap("node-1 to be gone", func(s *fabric.Snapshot) bool {
		return s.Peer("id-node-1") == nil && len(s.Peers) == 2 && s.Hold == nil && len(s.Problems) == 0
	})
	if err := st.RemoveNode(ctx, "node-1"); !errors.Is(err, ErrNotFound) {
		t.Errorf("removing it twice: %v", err)
	}
	if l := startAgent(t, []string{e.url}, testNode(1)).waitState(Exhausted); l.Index == 0 {
		t.Errorf("the removed node is not back in the fabric: %+v", l)
	}
	late.waitSnap("its mark to go with its return", func(*fabric.Snapshot) bool {
		resp, err := c.Get(ctx, testPrefix+"removed/node-1")
		return err == nil && len(resp.Kvs) == 0
	})
}

// A second host with the name or the id of a living one is refused until the
// first is gone; a restarted agent of the same host is not.
func TestSecondHostIsRefused(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	urls := []string{e.url}
	first := startAgent(t, urls, testNode(1), inInstance("host-a"))
	lease := first.waitState(Leased)
	sameName := testNode(2)
	sameName.Name = "node-1"
	sameID := testNode(3)
	sameID.ID = "id-node-1"
	twin := testNode(1)
	agents := []*agent{
		startAgent(t, urls, sameName, inInstance("host-b")),
		startAgent(t, urls, sameID, inInstance("host-c")),
		startAgent(t, urls, twin, inInstance("host-d")),
	}
	for i, word := range []string{"name", "node id", "node id"} {
		if l := agents[i].waitState(Refused); !strings.Contains(l.Reason, word) || !strings.Contains(l.Reason, "living host") {
			t.Errorf("agent %d: reason %q", i, l.Reason)
		}
	}
	first.stop()
	again := startAgent(t, urls, testNode(1), inInstance("host-a"))
	if l := again.waitState(Leased); !equalLease(l, lease) {
		t.Errorf("restarted: %+v, want %+v", l, lease)
	}
	for i, a := range agents {
		if a.sawState(Leased) {
			t.Errorf("agent %d was let in", i)
		}
	}
	agents[0].stop()
	agents[1].stop()
	again.stop()
	if l := agents[2].waitState(Leased); subnetsOf(l) != subnetsOf(lease) {
		t.Errorf("the twin, when the first is gone: %+v", l)
	}
}

// A renamed host takes its record, index and subnet along.
func TestRenamedHost(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	startAgent(t, []string{e.url}, testNode(7)).waitState(Leased) // takes an index, so that not all is 1
	a := startAgent(t, []string{e.url}, testNode(1))
	lease := a.waitState(Leased)
	a.stop()
	renamed := testNode(1)
	renamed.Name = "new-name"
	b := startAgent(t, []string{e.url}, renamed)
	if l := b.waitState(Leased); !equalLease(l, lease) {
		t.Errorf("after the renaming %+v, before %+v", l, lease)
	}
	b.waitSnap("one record of the host", func(s *fabric.Snapshot) bool {
		p := s.Peer(renamed.ID)
		return len(s.Peers) == 2 && p != nil && p.Name == "new-name" && p.Alive && len(s.Problems) == 0
	})
}

// What changes about a node is written, its share stays.
func TestSetSelf(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	b := startAgent(t, []string{e.url}, testNode(2))
	lease := a.waitState(Leased)
	n := testNode(1)
	n.MTU = 9000
	a.ss.SetSelf(n)
	b.waitSnap("the MTU", func(s *fabric.Snapshot) bool {
		p := s.Peer(n.ID)
		return p != nil && p.MTU == 9000 && p.Index == lease.Index
	})
	n.MTU = -1
	a.ss.SetSelf(n)
	if l := a.waitState(Refused); !strings.Contains(l.Reason, "makes no sense") {
		t.Errorf("reason %q", l.Reason)
	}
	n.MTU = 1400
	a.ss.SetSelf(n)
	if l := a.waitState(Leased); !equalLease(l, lease) {
		t.Errorf("lease %+v, want %+v", l, lease)
	}
}

// An agent that dies is told from its host: only Alive changes.
func TestAliveExpires(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	a := startAgent(t, []string{e.url}, testNode(1))
	b := startAgent(t, []string{e.url}, testNode(2))
	a.waitState(Leased)
	b.waitState(Leased)
	b.waitSnap("node-1 alive", func(s *fabric.Snapshot) bool { p := s.Peer("id-node-1"); return p != nil && p.Alive })
	a.stop()
	b.waitSnap("node-1 dead, with its subnet", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-1")
		return p != nil && !p.Alive && len(p.Subnets) == 1 && !p.Held
	})
	if l := b.waitState(Leased); b.sawState(Fenced) {
		t.Errorf("node-2 lost its own: %+v", l)
	}
}

// The owner keeps both of its leases alive beyond their life.
func TestLeasesAreKept(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "3s", "2s")
	a := startAgent(t, []string{e.url}, testNode(1))
	l := a.waitState(Leased)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	// 4 s of etcd's own time: until a lease of that life, which nobody keeps, has expired
	clock, err := c.Grant(ctx, 4)
	must(t, err)
	put(t, c, "clock", "", clientv3.WithLease(clock.ID))
	for r := range c.Watch(ctx, testPrefix+"clock") {
		if len(r.Events) > 0 {
			break
		}
	}
	key := subnetKey(l.Subnets[0].Prefix)
	if _, _, err := operator(t, e).Get(ctx, key); err != nil {
		t.Errorf("the subnet's record: %v", err)
	}
	if _, l2 := a.now(); !equalLease(l, l2) || a.sawState(Fenced) || ctx.Err() != nil {
		t.Errorf("lease %+v, before %+v", l2, l)
	}
}
