package agent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// What a node announces are the subnets it answers for: those leased, and those
// it keeps because nothing says that they are another's.
func TestAnnouncedSubnetsGoOnlyToAKnownOwner(t *testing.T) {
	l, _ := twoUplinks(t)
	want := func(what string, known bool, want ...netip.Prefix) {
		t.Helper()
		l.round()
		if s := l.summary.Load(); s.known != known || !slices.Equal(s.own, want) {
			t.Errorf("%s: known %t, answers for %v; want %t, %v", what, s.known, s.own, known, want)
		}
	}
	own := netip.MustParsePrefix("10.244.1.0/24")
	l.in.setLease(store.Lease{State: store.Refused, Reason: "another host is this node"})
	want("refused at the start", false)
	l.in.setLease(leased("10.244.1.0/24"))
	want("leased", true, own)
	l.in.setLease(store.Lease{State: store.Fenced, Reason: "etcd could not be reached"})
	want("fenced by time", true, own)
	l.in.setLease(store.Lease{State: store.Waiting})
	want("etcd is away", true, own)
	thief := testPeer(1, "198.18.9.1") // 10.244.1.0/24
	l.in.setSnapshot(routingSnapshot(thief))
	want("another node has it", true)
}

// Before the claim is renewed, the node's own record says its index: a restart
// must not wait for etcd to peer.
func TestIndexIsThatOfTheRecordUntilTheLeaseIsKnown(t *testing.T) {
	a := &agent{inbox: newInbox(), loop: &loop{}, self: fabric.Node{ID: "peer-007"}}
	a.inbox.setSnapshot(routingSnapshot(testPeer(7, "198.18.9.7")))
	if in := a.routingInputs(); in.Index != 7 || in.OwnKnown {
		t.Errorf("index %d, subnets known %t", in.Index, in.OwnKnown)
	}
	a.inbox.setLease(store.Lease{State: store.Leased, Index: 9})
	if in := a.routingInputs(); in.Index != 9 {
		t.Errorf("index %d, want the lease's", in.Index)
	}
}
