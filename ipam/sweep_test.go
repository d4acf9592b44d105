package ipam

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var bg = context.Background()

func TestSweep(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	for n := range 4 {
		allocate(t, s, pod(n), subnet)
	}
	// Pod 1 has lost its interface but its namespace is still there; pod 2's
	// path leads to another namespace by now.
	ns := filepath.Join(dir, "ns")
	if err := os.WriteFile(ns, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	st, err := os.Stat(ns)
	if err != nil {
		t.Fatal(err)
	}
	inode := st.Sys().(*syscall.Stat_t).Ino
	for n, i := range map[int]uint64{1: inode, 2: inode + 1} {
		if _, err := s.Allocate(bg, Claim{Attachment: pod(n), NetnsPath: ns, NetnsInode: i}, []netip.Prefix{subnet}); err != nil {
			t.Fatal(err)
		}
	}
	links := map[string]bool{pod(0).HostInterface(): true, "lo": true}
	w := NewSweeper(s)
	pass := func(want ...string) {
		t.Helper()
		freed, err := w.Pass(bg, links, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, f := range freed {
			got = append(got, f.Container)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("freed (-want +got):\n%s", diff)
		}
	}
	if _, err := w.Pass(bg, nil, nil); err == nil {
		t.Error("a sweep that knows no interfaces was not refused")
	}
	pass()
	allocate(t, s, pod(3), subnet) // the runtime tries again: a new tenure
	pass("pod-2")
	pass("pod-3")
	pass()
	if err := os.Remove(ns); err != nil {
		t.Fatal(err)
	}
	pass()
	pass("pod-1")
	usage, err := s.Usage(bg)
	want := "[{10.0.0.0/24 253 1 3 false}]"
	if got := fmt.Sprint(usage); err != nil || got != want {
		t.Errorf("usage %s, %v; want %s", got, err, want)
	}
}

func TestAdopt(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.0.0.0/24", "fd00::/64")
	allocate(t, s, pod(0), subnets...)
	allocate(t, s, pod(1), subnets...)
	release(t, s, pod(1))
	uses := []Use{
		{pod(0), netip.MustParseAddr("10.0.0.2")},  // known
		{pod(5), netip.MustParseAddr("fd00::2")},   // held by pod 0
		{pod(6), netip.MustParseAddr("10.0.0.3")},  // freed
		{pod(7), netip.MustParseAddr("10.0.0.5")},  // never used
		{pod(8), netip.MustParseAddr("10.0.0.1")},  // the gateway: nobody's
		{pod(9), netip.MustParseAddr("192.0.2.1")}, // elsewhere
	}
	conflicts, err := s.Adopt(bg, uses, subnets)
	if err != nil || len(conflicts) != 1 || conflicts[0] != uses[1] {
		t.Errorf("conflicts %v, %v", conflicts, err)
	}
	var got []string
	for n := 10; n < 13; n++ {
		got = append(got, allocate(t, s, pod(n), subnets...).Addrs[0].Addr().String())
	}
	if diff := cmp.Diff([]string{"10.0.0.4", "10.0.0.6", "10.0.0.7"}, got); diff != "" {
		t.Errorf("after adoption (-want +got):\n%s", diff)
	}
	if freed := release(t, s, pod(7)); len(freed) != 1 {
		t.Errorf("release of an adopted pod freed %v", freed)
	}
	for _, p := range subnets {
		check(t, s, p)
	}
}

func TestHostInterfaceNames(t *testing.T) {
	a := Attachment{Container: "6b7a8f", Interface: "eth0"}.HostInterface()
	b := Attachment{Container: "6b7a8f", Interface: "net1"}.HostInterface()
	if a == b || len(a) != 15 || !IsHostInterface(a) || !IsHostInterface(b) {
		t.Errorf("%q and %q", a, b)
	}
	for _, name := range []string{"weft0", "weft.1", "veth0123456789a", "weft0123456789", "weft0123456789g"} {
		if IsHostInterface(name) {
			t.Errorf("%q counts as a pod's interface", name)
		}
	}
}

// TestSweepOfAnotherAddress: an interface that is marked with other addresses
// does not keep one that the attachment had before; one with no mark keeps all.
func TestSweepOfAnotherAddress(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	old, now := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24")
	for _, subnet := range []netip.Prefix{old, now} {
		allocate(t, s, pod(0), subnet)
		allocate(t, s, pod(1), subnet)
	}
	links := map[string]bool{pod(0).HostInterface(): true, pod(1).HostInterface(): true}
	uses := []Use{{Attachment: pod(0), Addr: netip.MustParseAddr("10.0.1.2")}}
	w := NewSweeper(s)
	for n, want := range []int{0, 1, 0} {
		freed, err := w.Pass(bg, links, uses)
		if err != nil || len(freed) != want {
			t.Fatalf("pass %d: freed %v, %v", n, freed, err)
		}
		if want == 1 && (freed[0].Attachment != pod(0) || freed[0].Addr != netip.MustParseAddr("10.0.0.2")) {
			t.Errorf("freed %v", freed)
		}
	}
}
