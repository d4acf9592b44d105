package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func open(t testing.TB, dir string, o Options) *Slots {
	t.Helper()
	s, err := NewSlots(dir, o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func pod(n int) Attachment { return Attachment{Container: fmt.Sprintf("pod-%d", n), Interface: "eth0"} }

func allocate(t testing.TB, s *Slots, a Attachment, subnets ...netip.Prefix) Grant {
	t.Helper()
	g, err := s.Allocate(t.Context(), Claim{Attachment: a}, subnets)
	if err != nil {
		t.Fatalf("allocate for %s: %v", a, err)
	}
	return g
}

func release(t testing.TB, s *Slots, a Attachment) []netip.Addr {
	t.Helper()
	freed, err := s.Release(t.Context(), a)
	if err != nil {
		t.Fatalf("release of %s: %v", a, err)
	}
	return freed
}

func texts[T fmt.Stringer](list []T) []string {
	var out []string
	for _, v := range list {
		out = append(out, v.String())
	}
	return out
}

func TestAllocateBothFamilies(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.1.2.0/24", "fd00:1::/64")
	a := allocate(t, s, pod(1), subnets...)
	if diff := cmp.Diff([]string{"10.1.2.2/24", "fd00:1::2/64"}, texts(a.Addrs)); diff != "" {
		t.Errorf("first grant (-want +got):\n%s", diff)
	}
	b := allocate(t, s, pod(2), subnets...)
	if diff := cmp.Diff([]string{"10.1.2.3/24", "fd00:1::3/64"}, texts(b.Addrs)); diff != "" {
		t.Errorf("second grant (-want +got):\n%s", diff)
	}
	again := allocate(t, s, pod(1), subnets...)
	if diff := cmp.Diff(texts(a.Addrs), texts(again.Addrs)); diff != "" {
		t.Errorf("the same attachment got another address (-want +got):\n%s", diff)
	}
	other := Attachment{Container: "pod-1", Interface: "net1"}
	if c := allocate(t, s, other, subnets...); c.Addrs[0].Addr().String() != "10.1.2.4" {
		t.Errorf("another interface of the container got %v", c.Addrs)
	}
	// The first grant is stale since the second ADD: undoing it frees nothing.
	if err := s.Undo(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	got, err := s.Lookup(t.Context(), pod(1))
	if diff := cmp.Diff([]string{"10.1.2.2", "fd00:1::2"}, texts(got)); err != nil || diff != "" {
		t.Errorf("after undoing a stale grant, err %v (-want +got):\n%s", err, diff)
	}
	if err := s.Undo(t.Context(), again); err != nil {
		t.Fatal(err)
	}
	if got, err := s.Lookup(t.Context(), pod(1)); err != nil || len(got) != 0 {
		t.Errorf("after undo: %v, %v", got, err)
	}
	if freed := release(t, s, pod(2)); len(freed) != 2 {
		t.Errorf("release freed %v", freed)
	}
	if freed := release(t, s, pod(2)); len(freed) != 0 {
		t.Errorf("second release freed %v", freed)
	}
}

// TestEveryAddressOnce fills subnets of all sizes: each address that a pod may
// have is handed out once, the others never, and a full subnet says so and
// leaves nothing allocated in the other family.
func TestEveryAddressOnce(t *testing.T) {
	for _, tt := range []struct {
		subnet      string
		first, last string
		n           int
	}{
		{"10.0.0.0/30", "10.0.0.2", "10.0.0.2", 1},
		{"10.0.0.0/24", "10.0.0.2", "10.0.0.254", 253},
		{"10.0.16.0/22", "10.0.16.2", "10.0.19.254", 1021},
		{"fd00::a0/126", "fd00::a2", "fd00::a3", 2},
		{"fd00::/118", "fd00::2", "fd00::3ff", 1022},
	} {
		t.Run(tt.subnet, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			subnet, big := netip.MustParsePrefix(tt.subnet), netip.MustParsePrefix("fd01::/64")
			if !subnet.Addr().Is4() {
				big = netip.MustParsePrefix("10.128.0.0/16")
			}
			seen := map[netip.Addr]bool{}
			for n := range tt.n {
				a := allocate(t, s, pod(n), subnet).Addrs[0]
				if seen[a.Addr()] || a.Masked() != subnet {
					t.Fatalf("%v, after %d others", a, n)
				}
				seen[a.Addr()] = true
			}
			if !seen[netip.MustParseAddr(tt.first)] || !seen[netip.MustParseAddr(tt.last)] {
				t.Errorf("%s or %s not handed out", tt.first, tt.last)
			}
			_, err := s.Allocate(t.Context(), Claim{Attachment: pod(tt.n)}, []netip.Prefix{subnet, big})
			if !errors.Is(err, ErrFull) {
				t.Fatalf("full subnet: %v", err)
			}
			if got, err := s.Lookup(t.Context(), pod(tt.n)); err != nil || len(got) != 0 {
				t.Errorf("the refused attachment has %v, %v", got, err)
			}
			check(t, s, subnet)
		})
	}
}

// TestLargeSubnets checks the bound on the slots and the far end of it.
func TestLargeSubnets(t *testing.T) {
	for _, tt := range []struct{ subnet, last string }{
		{"10.0.0.0/16", "10.0.255.254"}, {"10.0.0.0/12", "10.0.255.255"}, {"fd00:0:0:7::/64", "fd00:0:0:7::ffff"},
		{"fd00::/48", "fd00::ffff"},
	} {
		g := newGeometry(netip.MustParsePrefix(tt.subnet), [16]byte{})
		if got := g.addr(g.slots - 1); got.String() != tt.last {
			t.Errorf("%s: last address %v, want %s", tt.subnet, got, tt.last)
		}
		for _, slot := range []uint32{firstSlot, 300, g.slots - 1} {
			if back, ok := g.slot(g.addr(slot)); !ok || back != slot {
				t.Errorf("%s: slot %d is %v is slot %d", tt.subnet, slot, g.addr(slot), back)
			}
		}
		for _, a := range []netip.Addr{g.addr(0), g.addr(1), g.addr(g.slots - 1).Next(), netip.MustParseAddr("192.0.2.9")} {
			if slot, ok := g.slot(a); ok {
				t.Errorf("%s: %v is slot %d", tt.subnet, a, slot)
			}
		}
	}
}

// TestReuseIsLate: what was never used goes first, then what was freed longest ago.
func TestReuseIsLate(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnet := netip.MustParsePrefix("10.0.0.0/29") // .2 to .6
	var got []string
	take := func(n int) { got = append(got, allocate(t, s, pod(n), subnet).Addrs[0].Addr().String()) }
	take(1)
	take(2)
	release(t, s, pod(2))
	release(t, s, pod(1))
	take(3)
	take(4)
	take(5)
	release(t, s, pod(4))
	take(6) // .3, freed first
	take(7) // .2
	take(8) // .5, nothing else left
	want := []string{"10.0.0.2", "10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6", "10.0.0.3", "10.0.0.2", "10.0.0.5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	check(t, s, subnet)
}

func TestSeveralSubnetsOfAFamily(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.0.0.0/30", "10.0.0.8/30")
	allocate(t, s, pod(1), subnets...)
	if g := allocate(t, s, pod(2), subnets...); len(g.Addrs) != 1 || g.Addrs[0].String() != "10.0.0.10/30" {
		t.Errorf("with the first full: %v", g.Addrs)
	}
	release(t, s, pod(1))
	if g := allocate(t, s, pod(2), subnets...); g.Addrs[0].String() != "10.0.0.10/30" {
		t.Errorf("an attachment moved to %v", g.Addrs)
	}
}

func TestRebootFreesAll(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	allocate(t, s, pod(1), subnet)
	s.clock.boot[3]++
	if list, err := s.List(t.Context()); err != nil || len(list) != 0 {
		t.Errorf("after a reboot: %v, %v", list, err)
	}
	if g := allocate(t, s, pod(2), subnet); g.Addrs[0].String() != "10.0.0.2/24" {
		t.Errorf("after a reboot: %v", g.Addrs)
	}
}

func TestRefusals(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	long := string(slices.Repeat([]byte("x"), MaxContainer+1))
	for _, a := range []Attachment{{}, {Container: "c"}, {Interface: "eth0"}, {Container: long, Interface: "eth0"}, {Container: "c", Interface: long[:16]}} {
		if g, err := s.Allocate(t.Context(), Claim{Attachment: a}, prefixes("10.0.0.0/24")); err == nil {
			t.Errorf("%v: got %v", a, g)
		}
	}
	for _, p := range []netip.Prefix{{}, netip.MustParsePrefix("10.0.0.1/24"), netip.MustParsePrefix("10.0.0.0/31")} {
		if g, err := s.Allocate(t.Context(), Claim{Attachment: pod(1)}, []netip.Prefix{p}); err == nil {
			t.Errorf("%v: got %v", p, g)
		}
	}
	exact := Attachment{Container: long[1:], Interface: "a23456789012345"}
	allocate(t, s, exact, netip.MustParsePrefix("10.0.0.0/24"))
	list, err := s.List(t.Context())
	if err != nil || len(list) != 1 || list[0].Attachment != exact {
		t.Errorf("longest names: %v, %v", list, err)
	}
}

func TestLockIsExclusive(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	unlock, err := lock(t.Context(), s.dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if _, err := s.Allocate(ctx, Claim{Attachment: pod(1)}, prefixes("10.0.0.0/24")); !errors.Is(err, ErrBusy) {
		t.Errorf("with the lock taken: %v", err)
	}
	unlock()
}

// TestLockOfARemovedFile: who waited on a lock file that was removed meanwhile
// must not believe that it holds the lock.
func TestLockOfARemovedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "lock")
	unlock, err := lock(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan func())
	go func() {
		unlock, err := lock(t.Context(), dir)
		if err != nil {
			t.Error(err)
		}
		second <- unlock
	}()
	for deadline := time.Now().Add(time.Minute); openFiles(t, path) < 2; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatal("nobody waits")
		}
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	unlock()
	defer (<-second)()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if unlock, err := lock(ctx, dir); err == nil {
		unlock()
		t.Error("two hold the lock")
	}
}

// openFiles counts this process's descriptors of a file.
func openFiles(t *testing.T, path string) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && target == path {
			n++
		}
	}
	return n
}

// TestManyAtOnce has goroutines, each with Slots of its own, fill a subnet to
// the last address.
func TestManyAtOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	got := map[netip.Prefix]Attachment{}
	var wg sync.WaitGroup
	for w := range 16 {
		s := open(t, dir, Options{})
		wg.Go(func() {
			for n := range 8 { // 128 want one of the 125 that a /25 has
				p := workerPod(uint64(w), n)
				g, err := s.Allocate(t.Context(), Claim{Attachment: p}, killSubnets[:1])
				mu.Lock()
				switch {
				case errors.Is(err, ErrFull):
				case err != nil:
					t.Error(err)
				default:
					if holder, taken := got[g.Addrs[0]]; taken {
						t.Errorf("%v for %v and %v", g.Addrs[0], holder, p)
					}
					got[g.Addrs[0]] = p
				}
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if len(got) != 125 {
		t.Errorf("%d addresses handed out, want 125", len(got))
	}
	check(t, open(t, dir, Options{}), killSubnets[0])
}
