package agent

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// offered are the subnets that the plugin would take addresses from.
func offered(t *testing.T, runDir string) (out []netip.Prefix) {
	t.Helper()
	file, err := nodefile.Read(runDir)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range file.Subnets {
		if !slices.Contains(file.Draining, p) {
			out = append(out, p)
		}
	}
	return out
}

// A subnet that another node has by now must not be handed out, also while
// there is no other to lease.
func TestLostSubnetIsNotHandedOut(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf())
	l.roundWant(t, true)
	if got := offered(t, l.files.runDir); len(got) != 1 {
		t.Fatalf("offered %v, want the leased subnet", got)
	}
	thief := testPeer(1, "198.18.0.9") // 10.244.1.0/24
	l.in.setSnapshot(snapshotOf(thief))
	for _, state := range []store.LeaseState{store.Fenced, store.Exhausted} {
		l.in.setLease(store.Lease{State: state, Reason: "another node has it"})
		l.roundWant(t, false)
		if got := offered(t, l.files.runDir); len(got) != 0 {
			t.Errorf("%s: still offered %v", state, got)
		}
	}
}

// The fence does not wait for a snapshot that says no less than the one before.
func TestLostSubnetWithoutAFabric(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf())
	l.roundWant(t, true)
	l.in.setSnapshot(&fabric.Snapshot{Revision: 2})
	l.in.setLease(store.Lease{State: store.Fenced, Reason: "another node has it"})
	l.roundWant(t, false)
	if got := offered(t, l.files.runDir); len(got) != 0 {
		t.Errorf("still offered %v", got)
	}
}

// Nor does the fence wait for a kernel that cannot be asked.
func TestLostSubnetWithADeafKernel(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf())
	l.roundWant(t, true)
	deaf, err := kernel.Open(kernel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := deaf.Close(); err != nil {
		t.Fatal(err)
	}
	l.host, l.want.host = deaf, deaf
	l.in.setLease(store.Lease{State: store.Fenced, Reason: "another node has it"})
	if s := l.roundWant(t, false); len(s.reasons) != 2 {
		t.Errorf("reasons %q, want the fence and the kernel", s.reasons)
	}
	if got := offered(t, l.files.runDir); len(got) != 0 {
		t.Errorf("still offered %v", got)
	}
}

// A host that starts and finds that another living host is this node offers
// nothing that it had before.
func TestRefusedHostOffersNothing(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf())
	l.roundWant(t, true)
	again := anotherLoop(t, l.files.runDir)
	again.in.now = l.in.take()
	again.in.setLease(store.Lease{State: store.Refused, Reason: "another living host has the node id"})
	again.roundWant(t, false)
	if got := offered(t, l.files.runDir); len(got) != 0 {
		t.Errorf("still offered %v", got)
	}
	again.in.setLease(leased("10.244.1.0/24"))
	again.roundWant(t, true)
	if got := offered(t, l.files.runDir); len(got) != 1 {
		t.Errorf("offered %v after the other host went", got)
	}
}
