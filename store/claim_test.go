package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// claimOn commits what a new node would claim by the given view.
func claimOn(st *Store, v *view, self fabric.Node) (plan, error) {
	long, short := leaseTimes(v.spec, self.ID, "test")
	ctx := context.Background()
	for _, l := range []etcdLease{long, short} {
		if _, _, err := st.grant(ctx, l); err != nil {
			return plan{}, err
		}
	}
	p := v.plan(claimant{self: self, instance: "test", epoch: 1, long: long, short: short}, st.newTxn())
	_, err := st.commit(ctx, p.txn)
	return p, err
}

// Whatever a claimant did not see when it chose makes its claim fail: equal,
// enclosed and enclosing subnets, another Fabric, another node with its name,
// id or index.
func TestClaimFailsOnWhatItDidNotSee(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	st, ctx := operator(t, e), context.Background()
	self := testNode(1)
	first, err := st.view(ctx)
	must(t, err)
	dry := first.plan(claimant{self: self, epoch: 1}, st.newTxn())
	mine := dry.subnets[0].Prefix
	at := func(bits int) string { return subnetKey(netip.PrefixFrom(mine.Addr(), bits).Masked()) }
	inside := subnetKey(netip.PrefixFrom(lastAddr(mine), 32))
	other := testNode(2)
	other.Index = 1
	for _, k := range []struct{ name, key, value string }{
		{"the same subnet", at(24), `{"owner":"x"}`},
		{"one of its halves", at(25), `{"owner":"x"}`},
		{"its last address", inside, `{"owner":"x"}`},
		{"one twice as large", at(23), `{"owner":"x"}`},
		{"half of the network", at(17), `{"owner":"x"}`},
		{"garbage at its key", at(24), `garbage`},
		{"a reservation", at(22), `{"for":"x"}`},
		{"another subnet length", keyFabric, fabricValue("10.244.0.0/16", 26, "1h", "15s")},
		{"a node with its index", nodeKey(other.Name), encodeJSON(other)},
		{"a node with its name", nodeKey(self.Name), encodeJSON(other)},
		{"a living host with its name", aliveKey(self.Name), `{"id":"y"}`},
	} {
		t.Run(k.name, func(t *testing.T) {
			v, err := st.view(ctx)
			must(t, err)
			put(t, c, k.key, k.value)
			if _, err := claimOn(st, v, self); !errors.Is(err, ErrChanged) {
				t.Errorf("claim of %v after %s was put: %v, want ErrChanged", mine, k.key, err)
			}
			if k.key == keyFabric {
				put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
			} else {
				del(t, c, k.key)
			}
		})
	}
	v, err := st.view(ctx)
	must(t, err)
	if p, err := claimOn(st, v, self); err != nil || p.subnets[0].Prefix != mine {
		t.Errorf("claim with nothing in the way: %+v, %v", p.subnets, err)
	}
}

// Owners under one subnet length never overlap those under another, whoever
// comes first: every pair of lengths, claimed on views made before the other.
func TestNoOverlapAcrossSubnetLengths(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/22", 24, "1h", "15s")
	st, ctx := operator(t, e), context.Background()
	for i := range 24 {
		put(t, c, keyFabric, fabricValue("10.244.0.0/22", 24+i%4, "1h", "15s"))
		v, err := st.view(ctx)
		must(t, err)
		if _, ok := v.choose(claimant{self: testNode(i)}, fabric.IPv4); !ok {
			break // full
		}
		_, err = claimOn(st, v, testNode(i))
		must(t, err)
	}
	s, err := st.View(ctx)
	must(t, err)
	if len(s.Problems) != 0 || len(s.Peers) < 5 {
		t.Errorf("want no overlaps: %s", describe(s))
	}
	checkNothingShared(t, s)
}

// A record that does not belong to the fabric keeps nobody from leasing.
func TestStrayRecordsDoNotBlockThePool(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/22", 24, "1h", "15s")
	for _, k := range []string{"subnets/ipv4/000.000.000.000-0", "subnets/ipv4/010.000.000.000-8", "subnets/ipv4/010.244.000.000-16"} {
		put(t, c, k, `{"owner":"x"}`)
		put(t, c, k+"x", `garbage`)
	}
	put(t, c, "subnets/ipv4/010.244.000.000-22", `{"owner":"x"}`)
	for i := range 3 { // its key is where that of the first of the four would begin
		startAgent(t, []string{e.url}, testNode(i)).waitState(Leased)
	}
	if l := startAgent(t, []string{e.url}, testNode(3)).waitState(Exhausted); l.Reason == "" {
		t.Error("no reason")
	}
}

// An index that turns out to be another's is given up for a free one.
func TestIndexHeals(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	older := testNode(5)
	older.Index = 7
	put(t, c, nodeKey(older.Name), encodeJSON(older))
	a := startAgent(t, []string{e.url}, testNode(1))
	if l := a.waitState(Leased); l.Index != 1 {
		t.Fatalf("index %d, want the smallest", l.Index)
	}
	older.Index = 1 // tampered with: the older record wins
	put(t, c, nodeKey(older.Name), encodeJSON(older))
	a.waitSnap("node-1 with an index of its own", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-1")
		return p != nil && p.Index == 2 && len(s.Problems) == 0
	})
	eventually(t, "the lease to say so", func() error {
		if _, l := a.now(); l.State != Leased || l.Index != 2 {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
}

// A subnet that an older record takes is given up at once and replaced.
func TestFencedByRecord(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	thief := testNode(9)
	thief.Index = 90
	put(t, c, nodeKey(thief.Name), encodeJSON(thief))
	a := startAgent(t, []string{e.url}, testNode(1))
	before := a.waitState(Leased)
	key := subnetKey(before.Subnets[0].Prefix)
	put(t, c, key, `{"owner":"id-node-9"}`)
	eventually(t, "another subnet", func() error {
		if _, l := a.now(); l.State != Leased || subnetsOf(l) == subnetsOf(before) {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	_, after := a.now()
	if !a.sawState(Fenced) || after.Subnets[0].Epoch != before.Subnets[0].Epoch+1 || after.Index != before.Index {
		t.Errorf("fenced %v; before %+v, after %+v", a.sawState(Fenced), before, after)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.leases {
		if l.State == Fenced && (len(l.Subnets) > 0 || l.Reason == "") {
			t.Errorf("fenced as %+v", l)
		}
	}
}

// Garbage over our own records is overwritten; the share stays.
func TestOwnRecordsArePutBack(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	l := a.waitState(Leased)
	keys := []string{nodeKey("node-1"), aliveKey("node-1"), subnetKey(l.Subnets[0].Prefix)}
	whole := func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-1")
		return p != nil && p.Alive && len(p.Subnets) == 1 && p.Subnets[0].EtcdLease != 0 && p.Index == l.Index && len(s.Problems) == 0
	}
	a.waitSnap("its records", whole)
	for _, key := range keys {
		rev := put(t, c, key, "garbage")
		a.waitSnap(key+" to be mended", func(s *fabric.Snapshot) bool { return s.Revision > rev && whole(s) })
		del(t, c, key)
		a.waitSnap(key+" to be put back", func(s *fabric.Snapshot) bool { return s.Revision > rev+2 && whole(s) })
	}
	ctx := context.Background()
	leases, err := c.Leases(ctx)
	must(t, err)
	var rev int64
	for _, x := range leases.Leases {
		resp, err := c.Revoke(ctx, x.ID) // an operator's mistake
		must(t, err)
		rev = resp.Header.Revision
	}
	a.waitSnap("everything to be put back", func(s *fabric.Snapshot) bool { return s.Revision > rev && whole(s) })
	eventually(t, "the leases to be back", func() error { return wantLeases(c, 2) })
	if _, got := a.now(); !equalLease(got, l) || a.sawState(Fenced) {
		t.Errorf("lease %+v, want %+v, never fenced", got, l)
	}
}

func TestLeaseIDsFollowFromTheirPurpose(t *testing.T) {
	seen := map[int64]string{}
	for _, l := range []struct {
		what string
		etcdLease
	}{
		{"long a", longLease("a", time.Hour)}, {"long b", longLease("b", time.Hour)}, {"long a, other ttl", longLease("a", 2*time.Hour)},
		{"short a", shortLease("a", "x", time.Hour)}, {"short a, other instance", shortLease("a", "y", time.Hour)},
	} {
		if o, ok := seen[int64(l.id)]; ok || l.id <= 0 {
			t.Errorf("%s and %s have the id %d", l.what, o, l.id)
		}
		seen[int64(l.id)] = l.what
	}
	if longLease("a", time.Hour) != longLease("a", time.Hour+time.Millisecond) {
		t.Error("etcd counts in seconds")
	}
}
