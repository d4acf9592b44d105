package agent

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

func newTestSweeper(t *testing.T, dir string, keep []netip.Prefix) *sweeper {
	t.Helper()
	slots, err := ipam.NewSlots(dir, ipam.Options{InUse: plumb.InUse})
	if err != nil {
		t.Fatal(err)
	}
	return newSweeper(quiet(), dir, slots, func() []netip.Prefix { return keep })
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

// logged makes the sweeper's log count what it says.
func logged(s *sweeper) (count func(message string) int) {
	log, hook := logtest.NewNullLogger()
	s.log = logrus.NewEntry(log)
	return func(message string) (n int) {
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, message) {
				n++
			}
		}
		return n
	}
}

func hasRecord(t *testing.T, runDir, container string) bool {
	t.Helper()
	_, err := record.Read(runDir, podRecord(container).Attachment())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	return err == nil
}

// The record of a pod that went without a DEL goes after its address.
func TestSweepRemovesRecords(t *testing.T) {
	testns.New(t)
	dir, subnets := t.TempDir(), prefixes("10.244.1.0/24")
	s := newTestSweeper(t, dir, subnets)
	for _, id := range []string{"lives", "gone"} {
		r := podRecord(id)
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		if _, err := s.slots.Allocate(context.Background(), ipam.Claim{Attachment: r.Attachment()}, subnets); err != nil {
			t.Fatal(err)
		}
		if id == "lives" {
			testns.Run(t, "ip", "link", "add", r.HostInterface, "type", "veth", "peer", "name", "far0")
		}
	}
	for pass, want := range []struct {
		address, record bool
		pause           time.Duration
	}{
		{address: true, record: true, pause: confirmAfter},
		{record: true, pause: confirmAfter},
		{pause: sweepEvery},
		{pause: sweepEvery},
	} {
		s.round(context.Background())
		if got := inUse(t, s) == 2; got != want.address {
			t.Errorf("pass %d: the address is in use: %v", pass, got)
		}
		if got := hasRecord(t, dir, "gone"); got != want.record || !hasRecord(t, dir, "lives") {
			t.Errorf("pass %d: the record is there: %v", pass, got)
		}
		if s.pause() != want.pause || s.last != "" {
			t.Errorf("pass %d: pause of %v, error %q", pass, s.pause(), s.last)
		}
	}
	if s.swept.addresses.Load() != 1 || s.swept.records.Load() != 1 {
		t.Errorf("counted %d addresses and %d records", s.swept.addresses.Load(), s.swept.records.Load())
	}
}

// As long as it is not known which addresses are in use no record may go.
func TestSweepKeepsRecordsWhileSlotsAreUnknown(t *testing.T) {
	testns.New(t)
	dir := t.TempDir()
	s := newTestSweeper(t, dir, nil)
	count := logged(s)
	if err := podRecord("a").Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "slots"), nil, 0o600); err != nil { // where the directory should be
		t.Fatal(err)
	}
	for range 3 {
		s.round(context.Background())
	}
	if !hasRecord(t, dir, "a") || s.last == "" || count("could not be brought in step") != 1 {
		t.Errorf("record kept: %v, error %q, logged %d times", hasRecord(t, dir, "a"), s.last, count("could not"))
	}
}

// What lasts is said once, and again when it comes back.
func TestSweepReportsOnce(t *testing.T) {
	testns.New(t)
	dir, subnets := t.TempDir(), prefixes("10.244.1.0/24")
	s := newTestSweeper(t, dir, subnets)
	count := logged(s)
	g, err := s.slots.Allocate(context.Background(), ipam.Claim{Attachment: ipam.Attachment{Container: "owner", Interface: "eth0"}}, subnets)
	if err != nil {
		t.Fatal(err)
	}
	testns.Run(t, "ip", "link", "add", g.HostInterface(), "type", "veth", "peer", "name", "far1")
	other := podRecord("other").HostInterface
	testns.Run(t, "ip", "link", "add", other, "type", "veth", "peer", "name", "far0")
	testns.Run(t, "ip", "link", "set", other, "alias", "weft-pod other eth0 "+g.Addrs[0].Addr().String())
	broken := filepath.Join(record.Dir(dir), other+".json")
	damage := func() {
		t.Helper()
		if err := errors.Join(os.MkdirAll(record.Dir(dir), 0o700), os.WriteFile(broken, []byte("{"), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	damage()
	for range 3 {
		s.round(context.Background())
	}
	if n, now := count("given to another"), s.swept.conflicts.Load(); n != 1 || now != 1 {
		t.Errorf("conflict: logged %d times, %d now", n, now)
	}
	if n, now := count("cannot be read"), s.swept.broken.Load(); n != 1 || now != 1 {
		t.Errorf("broken record: logged %d times, %d now", n, now)
	}
	if err := os.Remove(broken); err != nil {
		t.Fatal(err)
	}
	s.round(context.Background())
	if now := s.swept.broken.Load(); now != 0 {
		t.Errorf("%d records are broken", now)
	}
	damage()
	s.round(context.Background())
	if n := count("cannot be read"); n != 2 {
		t.Errorf("broken again: logged %d times", n)
	}
}
