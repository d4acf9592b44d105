package store

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// waitLease waits until the share is as the test wants it.
func (a *agent) waitLease(what string, good func(Lease) bool) Lease {
	a.t.Helper()
	eventually(a.t, what, func() error {
		if _, l := a.now(); !good(l) {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	_, l := a.now()
	return l
}

// grow asks for so many IPv4 subnets and waits for them.
func (a *agent) grow(n int) Lease {
	a.t.Helper()
	a.ss.Want(fabric.PerFamily[int]{IPv4: n})
	return a.waitLease(fmt.Sprintf("%d subnets", n), func(l Lease) bool { return l.State == Leased && len(l.Subnets) == n })
}

func hasSubnets(texts ...string) func(Lease) bool {
	return func(l Lease) bool { return l.State == Leased && subnetsOf(l) == strings.Join(texts, " ") }
}

// A node gets as many subnets as it wants, keeps them whatever it wants later,
// and over a restart; the oldest comes first for itself and for others.
func TestFurtherSubnets(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	other := startAgent(t, []string{e.url}, testNode(2))
	a := startAgent(t, []string{e.url}, testNode(1))
	first := a.waitState(Leased)
	l := a.grow(5)
	if l.Subnets[0].Prefix != first.Subnets[0].Prefix {
		t.Errorf("the oldest of %s is not the first, %s", subnetsOf(l), subnetsOf(first))
	}
	for _, ag := range []*agent{a, other} {
		ag.waitSnap("all of them", func(s *fabric.Snapshot) bool {
			p := s.Peer("id-node-1")
			return p != nil && strings.Join(prefixes(p.Subnets), " ") == subnetsOf(l) && len(s.Problems) == 0
		})
	}
	snap, _ := other.now()
	checkNothingShared(t, snap)
	for _, s := range snap.Peer("id-node-1").Subnets {
		if s.EtcdLease != int64(longLease("id-node-1", 3600e9).id) {
			t.Errorf("%v hangs on the lease %x", s.Prefix, s.EtcdLease)
		}
	}
	a.ss.Want(fabric.PerFamily[int]{})
	a.stop()
	rev := put(t, c, "marker", "")
	a = startAgent(t, []string{e.url}, testNode(1))
	a.waitLease("the same after a restart", hasSubnets(prefixes(l.Subnets)...))
	if s, _ := a.now(); s.Revision > rev+1 { // its alive key
		t.Errorf("the restart wrote: revision %d, was %d", s.Revision, rev)
	}
}

// What is given back is free for others at once, and the node may have it again.
func TestGiveBack(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/22", 24, "1h", "15s") // four subnets
	a := startAgent(t, []string{e.url}, testNode(1))
	all := prefixes(a.grow(4).Subnets)
	other := startAgent(t, []string{e.url}, testNode(2))
	other.waitState(Exhausted)
	a.ss.Want(fabric.PerFamily[int]{IPv4: 3})
	a.ss.GiveBack(netip.MustParsePrefix(all[2]))
	a.waitLease("the others to stay", hasSubnets(all[0], all[1], all[3]))
	other.waitLease("the one that was given back", hasSubnets(all[2]))
	other.stop()
	del(t, c, subnetKey(netip.MustParsePrefix(all[2])))
	if l := a.grow(4); subnetsOf(l) != strings.Join([]string{all[0], all[1], all[3], all[2]}, " ") {
		t.Errorf("got %s of %v", subnetsOf(l), all)
	}
}

// The last subnet of a family is replaced in the transaction that drops it; a
// reservation stays one.
func TestGiveBackTheLast(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	put(t, c, "subnets/ipv4/010.244.007.000-24", `{"for":"node-1"}`)
	a := startAgent(t, []string{e.url}, testNode(1))
	a.waitLease("its reservation", hasSubnets("10.244.7.0/24"))
	a.ss.GiveBack(netip.MustParsePrefix("10.244.7.0/24"))
	a.waitLease("another", func(l Lease) bool {
		return l.State == Leased && len(l.Subnets) == 1 && subnetsOf(l) != "10.244.7.0/24"
	})
	a.waitSnap("the reservation to be unused", func(s *fabric.Snapshot) bool {
		return len(s.Reservations) == 1 && s.Reservations[0].For == "node-1" && len(s.Peers[0].Subnets) == 1
	})
	// It is older than what is leased meanwhile.
	if l := a.grow(2); l.Subnets[0].Prefix.String() != "10.244.7.0/24" || l.Subnets[0].For != "node-1" {
		t.Errorf("the reservation is not the first choice: %+v", l)
	}
}

// What is being given back is not claimed again when its record goes by itself,
// whatever speaks for it: that the node had it, a reservation, or its place.
func TestGivenBackIsNotClaimed(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	st, ctx := operator(t, e), t.Context()
	v, err := st.view(ctx)
	must(t, err)
	who := claimant{self: testNode(1), epoch: 1}
	usual := v.plan(who, st.newTxn()).subnets[0].Prefix
	who.giveBack = []netip.Prefix{usual}
	refuse := func(why string) {
		t.Helper()
		if p := v.plan(who, st.newTxn()); len(p.subnets) != 1 || p.subnets[0].Prefix == usual {
			t.Errorf("%s: claims %v", why, prefixes(p.subnets))
		}
	}
	refuse("its place")
	who.had = []fabric.Subnet{{Prefix: usual, Owner: who.self.ID}}
	refuse("of an earlier life")
	who.live = true
	refuse("of this life")
	put(t, c, subnetKey(usual), `{"for":"node-1"}`)
	v, err = st.view(ctx)
	must(t, err)
	who.had, who.live = nil, false
	refuse("reserved")
}

// A pool that has no more is said so once, costs nothing that there is, and is
// made use of when there is more again. Only the family that needs it grows.
func TestFurtherSubnetsOfATightPool(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	c := e.client()
	put(t, c, keyFabric, `{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"default"},"spec":{"network":{"ipv4":"10.244.0.0/23","ipv6":"fd00:1::/48"},"subnetLength":{"ipv4":24,"ipv6":64},"lease":{"ttl":"1h","liveness":"15s"}}}`)
	a, other := startAgent(t, []string{e.url}, testNode(1)), startAgent(t, []string{e.url}, testNode(2))
	had, theirs := a.waitState(Leased), other.waitState(Leased)
	a.ss.Want(fabric.PerFamily[int]{IPv4: 2, IPv6: 1})
	const why = "pool exhausted: no subnet of length 24 is free in 10.244.0.0/23"
	l := a.waitLease("to hear that there is none", func(l Lease) bool { return l.Denied.IPv4 == why })
	if l.State != Leased || l.Reason != "" || l.Denied.IPv6 != "" || subnetsOf(l) != subnetsOf(had) {
		t.Errorf("%+v, had %+v", l, had)
	}
	other.stop()
	for _, s := range theirs.Subnets {
		del(t, c, subnetKey(s.Prefix))
	}
	a.waitLease("the freed one", hasSubnets(had.Subnets[0].Prefix.String(), theirs.Subnets[0].Prefix.String(), had.Subnets[1].Prefix.String()))
	if _, l := a.now(); l.Denied != (fabric.PerFamily[string]{}) {
		t.Errorf("still denied: %+v", l)
	}
}

// A node that loses one of several subnets goes on with the others, and is
// fenced for no moment.
func TestOneOfSeveralIsLost(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	thief := testNode(9)
	thief.Index = 90
	put(t, c, nodeKey(thief.Name), encodeJSON(thief))
	a := startAgent(t, []string{e.url}, testNode(1))
	before := a.grow(3)
	all := prefixes(before.Subnets)
	a.mu.Lock()
	seen := len(a.leases)
	a.mu.Unlock()
	put(t, c, subnetKey(before.Subnets[0].Prefix), `{"owner":"id-node-9"}`)
	after := a.waitLease("another in its place", func(l Lease) bool {
		return l.State == Leased && l.Reason == "" && len(l.Subnets) == 3 && subnetsOf(l) != subnetsOf(before)
	})
	if got := prefixes(after.Subnets); got[0] != all[1] || got[1] != all[2] || after.Subnets[2].Epoch <= before.Subnets[0].Epoch {
		t.Errorf("had %+v, has %+v", before, after)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, l := range a.leases[seen:] {
		if l.State != Leased || slices.Contains(prefixes(l.Subnets), all[0]) {
			t.Errorf("after the loss it was %+v", l)
		}
	}
	if l := a.leases[seen]; subnetsOf(l) != strings.Join(all[1:], " ") || !strings.Contains(l.Reason, all[0]) {
		t.Errorf("the loss was told as %+v", l)
	}
}

// All of many subnets come back after a wipe, although no transaction holds so
// many claims, and after an expiry, which fences all of them.
func TestSeveralArePutBack(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.0.0.0/8", 30, "1h", "15s") // 21 compares each
	a := startAgent(t, []string{e.url}, testNode(1))
	before := a.grow(12)
	del(t, c, "", clientv3.WithPrefix())
	rev := put(t, c, "marker", "")
	a.waitSnap("all records to come back", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-1")
		return s.Revision >= rev && p != nil && strings.Join(prefixes(p.Subnets), " ") == subnetsOf(before)
	})
	if _, l := a.now(); !equalLease(l, before) || a.sawState(Fenced) {
		t.Errorf("lease %+v, had %+v", l, before)
	}
}

// A node that was away for longer than its lease takes all back that it had.
func TestSeveralAreTakenBackAfterExpiry(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := t.TempDir() + "/snapshot.json"
	a := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	had := a.grow(3)
	a.stop()
	for _, s := range had.Subnets {
		del(t, c, subnetKey(s.Prefix))
	}
	again := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	again.waitLease("all three", hasSubnets(prefixes(had.Subnets)...))
}
