package agent

import (
	"context"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

func newTestSweeper(t *testing.T, dir string, keep []netip.Prefix) *sweeper {
	t.Helper()
	slots, err := ipam.NewSlots(dir, ipam.Options{InUse: plumb.InUse})
	if err != nil {
		t.Fatal(err)
	}
	return &sweeper{log: quiet(), slots: slots, pass: ipam.NewSweeper(slots), keep: func() []netip.Prefix { return keep }}
}

func inUse(t *testing.T, s *sweeper) int {
	t.Helper()
	slots, err := s.slots.List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, slot := range slots {
		if slot.InUse {
			n++
		}
	}
	return n
}

// A pod that went without a DEL gives its address back at the second pass; one
// whose interface is there keeps it.
func TestSweepFreesOnlyWhatIsGone(t *testing.T) {
	testns.New(t)
	subnets := prefixes("10.244.1.0/24")
	s := newTestSweeper(t, t.TempDir(), subnets)
	for _, id := range []string{"lives", "gone"} {
		claim := ipam.Claim{Attachment: ipam.Attachment{Container: id, Interface: "eth0"}}
		if _, err := s.slots.Allocate(context.Background(), claim, subnets); err != nil {
			t.Fatal(err)
		}
		if id == "lives" {
			testns.Run(t, "ip", "link", "add", claim.HostInterface(), "type", "veth", "peer", "name", "far0")
		}
	}
	for pass, want := range []int{2, 1, 1} {
		s.round(context.Background())
		if got := inUse(t, s); got != want || s.last != "" {
			t.Errorf("pass %d: %d addresses in use, want %d; error %q", pass, got, want, s.last)
		}
	}
}

// As long as the node's subnets are not known no slot file may go.
func TestSweepKeepsFilesWhileSubnetsAreUnknown(t *testing.T) {
	testns.New(t)
	dir := t.TempDir()
	s := newTestSweeper(t, dir, nil)
	claim := ipam.Claim{Attachment: ipam.Attachment{Container: "a", Interface: "eth0"}}
	if _, err := s.slots.Allocate(context.Background(), claim, prefixes("10.244.1.0/24")); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		s.round(context.Background())
	}
	files, err := os.ReadDir(filepath.Join(dir, "slots"))
	if err != nil || len(files) == 0 {
		t.Errorf("slot files %v, %v: want them kept", files, err)
	}
}
