package agent

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// guardedPod is a pod as far as guards go: a record and a host interface.
func guardedPod(t *testing.T, runDir, container string, created time.Time) (*record.Record, plumb.Guard) {
	t.Helper()
	r := podRecord(container, netip.MustParsePrefix("10.244.1.7/24"))
	r.MAC, r.Guarded, r.Created = fabric.DeriveMAC(container), true, created
	if err := r.Write(runDir); err != nil {
		t.Fatal(err)
	}
	testns.Run(t, "ip", "link", "add", r.HostInterface, "type", "veth", "peer", "name", "p"+container)
	return r, plumb.GuardOf(r.Attachment(), r.MAC, r.Addrs)
}

// Whatever is taken out of the guards' table comes back, for as long as the pod
// is there.
func TestGuardsComeBack(t *testing.T) {
	testns.New(t)
	s := newTestSweeper(t, t.TempDir(), nil)
	r, guard := guardedPod(t, s.runDir, "a", time.Now().Add(-time.Hour))
	free := podRecord("free")
	if err := free.Write(s.runDir); err != nil {
		t.Fatal(err)
	}
	for i, c := range []struct {
		tamper []string
		want   uint64 // repairs counted after it
	}{
		{nil, 2}, // the agent was away meanwhile: the pod is old, and so should be its guard and the table
		{nil, 2},
		{[]string{"nft", "flush ruleset"}, 4},
		{[]string{"nft", "flush chain bridge weft guard"}, 5},
		{[]string{"nft", "flush set bridge weft ipv4"}, 6},
	} {
		if c.tamper != nil {
			testns.Run(t, c.tamper[0], c.tamper[1:]...)
			if plumb.CheckGuard(guard) == nil {
				t.Fatalf("%d: %v changed nothing", i, c.tamper)
			}
		}
		if err := s.syncGuards(); err != nil {
			t.Fatal(err)
		}
		if err := plumb.CheckGuard(guard); err != nil || s.swept.guards.Load() != c.want {
			t.Errorf("%d: %v, counted %d, want %d", i, err, s.swept.guards.Load(), c.want)
		}
	}
	testns.Run(t, "ip", "link", "add", free.HostInterface, "type", "veth", "peer", "name", "pfree")
	if err := plumb.AddGuard(plumb.GuardOf(free.Attachment(), r.MAC, r.Addrs)); err != nil {
		t.Fatal(err)
	}
	testns.Run(t, "ip", "link", "del", r.HostInterface)
	if err := record.Remove(s.runDir, r.Attachment()); err != nil {
		t.Fatal(err)
	}
	if err := s.syncGuards(); err != nil {
		t.Fatal(err)
	}
	if left, err := plumb.Guards(); err != nil || len(left) != 0 {
		t.Errorf("guards of a pod that is gone, or has none: %v, %v", left, err)
	}
}

// A pod that goes loses its interface and its guard before its record: that is
// nobody's change either.
func TestGuardsOfPodsThatGo(t *testing.T) {
	testns.New(t)
	s := newTestSweeper(t, t.TempDir(), nil)
	r, _ := guardedPod(t, s.runDir, "a", time.Now().Add(-time.Hour))
	guardedPod(t, s.runDir, "b", time.Now().Add(-time.Hour))
	if err := s.syncGuards(); err != nil {
		t.Fatal(err)
	}
	before := s.swept.guards.Load()
	testns.Run(t, "ip", "link", "del", r.HostInterface)
	if err := plumb.Unguard(r.Attachment()); err != nil {
		t.Fatal(err)
	}
	if err := s.syncGuards(); err != nil {
		t.Fatal(err)
	}
	if n := s.swept.guards.Load() - before; n != 0 {
		t.Errorf("counted %d repairs of a pod that is going", n)
	}
}

// A pod that is being attached is nobody's change, and nothing that a broken
// record hides is taken away.
func TestGuardsAndPluginsAtWork(t *testing.T) {
	testns.New(t)
	s := newTestSweeper(t, t.TempDir(), nil)
	r, guard := guardedPod(t, s.runDir, "a", time.Now())
	if err := s.syncGuards(); err != nil {
		t.Fatal(err)
	}
	if n := s.swept.guards.Load(); n != 0 {
		t.Errorf("counted %d repairs of a pod that has just come", n)
	}
	path := filepath.Join(record.Dir(s.runDir), r.HostInterface+".json")
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := s.syncGuards(); err == nil {
		t.Error("no record can be read: want an error")
	}
	if err := podRecord("b").Write(s.runDir); err != nil {
		t.Fatal(err)
	}
	if err := s.syncGuards(); err != nil {
		t.Error(err)
	}
	if err := plumb.CheckGuard(guard); err != nil {
		t.Errorf("the guard of a pod whose record is broken: %v", err)
	}
}
