package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"
)

func openSubnets(t testing.TB, s *Slots, subnets ...netip.Prefix) {
	t.Helper()
	if err := s.Open(bg, subnets); err != nil {
		t.Fatalf("open %v: %v", subnets, err)
	}
}

// counts renders Counts: subnet, in use of size, and whether it is closed.
func counts(t testing.TB, s *Slots) (text string) {
	t.Helper()
	list, err := s.Counts(bg)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range list {
		text += fmt.Sprintf("%s %d/%d", u.Subnet, u.InUse, u.Size)
		if u.Closed {
			text += " closed"
		}
		text += "; "
	}
	return text
}

func wantCounts(t testing.TB, s *Slots, want string) {
	t.Helper()
	if got := counts(t, s); got != want {
		t.Errorf("counts\n%s want\n%s", got, want)
	}
}

// TestClosedSubnets: who still believes in a subnet that was given up gets no
// address of it, whatever happened to its file; who has one keeps it.
func TestClosedSubnets(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	a, b, c := netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.0.0.8/29"), netip.MustParsePrefix("fd00::/64")
	openSubnets(t, s, a, c)
	wantCounts(t, s, "10.0.0.0/29 0/5; fd00::/64 0/65534; ")
	claim(t, s, Claim{Attachment: pod(1)}, a, c)
	openSubnets(t, s, b, c)
	wantCounts(t, s, "10.0.0.0/29 1/5 closed; 10.0.0.8/29 0/5; fd00::/64 1/65534; ")
	for n, subnets := range [][]netip.Prefix{{a}, {a, c}} {
		if g, err := s.Allocate(bg, Claim{Attachment: pod(10 + n)}, subnets); !errors.Is(err, ErrClosed) {
			t.Errorf("of %v: %v, %v", subnets, g.Addrs, err)
		}
		if got, err := s.Lookup(bg, pod(10+n)); len(got) != 0 || err != nil {
			t.Errorf("the refused one has %v, %v", got, err)
		}
	}
	if _, err := s.Allocate(bg, Claim{Attachment: pod(2), Want: addrs("10.0.0.4")}, []netip.Prefix{a, b}); !errors.Is(err, ErrClosed) {
		t.Errorf("asked for an address of a closed subnet: %v", err)
	}
	if got := claim(t, s, Claim{Attachment: pod(2)}, a, b, c); got[0] != "10.0.0.10" {
		t.Errorf("with an outdated list: %v", got)
	}
	for n := 3; n < 7; n++ {
		claim(t, s, Claim{Attachment: pod(n)}, a, b, c)
	}
	// There may be more subnets in a list that is up to date.
	if _, err := s.Allocate(bg, Claim{Attachment: pod(7)}, []netip.Prefix{a, b}); !errors.Is(err, ErrClosed) || errors.Is(err, ErrFull) {
		t.Errorf("full, with an outdated list: %v", err)
	}
	if _, err := s.Allocate(bg, Claim{Attachment: pod(7)}, []netip.Prefix{b}); !errors.Is(err, ErrFull) {
		t.Errorf("full: %v", err)
	}
	if got, err := s.Lookup(bg, pod(1)); err != nil || fmt.Sprint(got) != "[10.0.0.2 fd00::2]" {
		t.Errorf("the pod in the closed subnet has %v, %v", got, err)
	}
	release(t, s, pod(1))
	openSubnets(t, s, a)
	if got := claim(t, s, Claim{Attachment: pod(8)}, a); got[0] != "10.0.0.3" {
		t.Errorf("open again: %v", got)
	}
	openSubnets(t, s)
	wantCounts(t, s, "10.0.0.0/29 1/5 closed; 10.0.0.8/29 5/5 closed; fd00::/64 5/65534 closed; ")
}

// TestClosedStaysClosed: nothing that happens to the file of a closed subnet
// opens it.
func TestClosedStaysClosed(t *testing.T) {
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	for _, tt := range []struct {
		name   string
		damage func(s *Slots, b []byte) []byte
		opens  bool
	}{
		{"nothing", func(_ *Slots, b []byte) []byte { return b }, false},
		{"a bit of the word", func(_ *Slots, b []byte) []byte { b[offClosed+5] ^= 8; return b }, false},
		{"counters", func(_ *Slots, b []byte) []byte { b[offFresh]++; return b }, false},
		{"cut after the header", func(_ *Slots, b []byte) []byte { return b[:pageSize] }, false},
		{"killed in an operation", func(_ *Slots, b []byte) []byte { table(b).put64(offIntent, intentWord(2)); return b }, false},
		{"reboot", func(s *Slots, b []byte) []byte { s.clock.boot[1]++; return b }, false},
		{"no slot file", func(_ *Slots, b []byte) []byte { return b[:10] }, true}, // until the agent's next word
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			allocate(t, s, pod(1), subnet)
			openSubnets(t, s)
			data, err := os.ReadFile(s.path(subnet))
			if err == nil {
				err = os.WriteFile(s.path(subnet), tt.damage(s, data), 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err = s.Allocate(bg, Claim{Attachment: pod(2)}, []netip.Prefix{subnet})
			if tt.opens != (err == nil) || err != nil && !errors.Is(err, ErrClosed) {
				t.Errorf("an address of it: %v", err)
			}
		})
	}
}

// A flipped bit does not shut pods out either.
func TestOpenStaysOpen(t *testing.T) {
	s := open(t, t.TempDir(), Options{Note: func(_, reason string) { t.Error(reason) }})
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	openSubnets(t, s, subnet)
	if err := withBook(s, subnet, func(b *book) error { b.store(offClosed, 1<<40); return nil }); err != nil {
		t.Fatal(err)
	}
	allocate(t, s, pod(1), subnet)
}

// TestOldTombstonesGo: a file that was closed before the last boot stops nobody
// any more; one that was open then is closed, as somebody may know of it.
func TestOldTombstonesGo(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	a, b, c := netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.0.0.8/29"), netip.MustParsePrefix("10.0.0.16/29")
	openSubnets(t, s, a, b)
	openSubnets(t, s, b)
	if err := os.WriteFile(s.path(b)+damagedSuffix, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s.clock.boot[2]++
	openSubnets(t, s, c)
	wantCounts(t, s, "10.0.0.16/29 0/5; 10.0.0.8/29 0/5 closed; ")
	openSubnets(t, s, c)
	wantCounts(t, s, "10.0.0.16/29 0/5; 10.0.0.8/29 0/5 closed; ")
	if _, err := os.Stat(s.path(b) + damagedSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the damaged file of a closed subnet stays: %v", err)
	}
}

// TestReturn: a subnet is closed only while nothing of it is in use, by the
// file's word and the kernel's.
func TestReturn(t *testing.T) {
	var uses []Use
	var deaf error
	s := open(t, t.TempDir(), Options{InUse: func() ([]Use, error) { return uses, deaf }})
	a, b := netip.MustParsePrefix("10.0.0.0/29"), netip.MustParsePrefix("10.0.0.8/29")
	openSubnets(t, s, a, b)
	claim(t, s, Claim{Attachment: pod(1)}, b)
	step := func(name string, subnet netip.Prefix, want, fails bool) {
		t.Helper()
		if ok, err := s.Return(bg, subnet); ok != want || (err != nil) != fails {
			t.Errorf("%s: %v, %v", name, ok, err)
		}
	}
	step("in use", b, false, false)
	release(t, s, pod(1))
	uses = []Use{{pod(2), netip.MustParseAddr("10.0.0.12")}}
	step("in use by the kernel's word", b, false, false)
	deaf = errors.New("no netlink today")
	step("when the kernel cannot be asked", b, false, true)
	uses, deaf = nil, nil
	wantCounts(t, s, "10.0.0.0/29 0/5; 10.0.0.8/29 0/5; ")
	step("empty", b, true, false)
	step("again", b, true, false)
	step("no subnet", netip.MustParsePrefix("10.0.0.9/29"), false, true)
	wantCounts(t, s, "10.0.0.0/29 0/5; 10.0.0.8/29 0/5 closed; ")
	if _, err := s.Allocate(bg, Claim{Attachment: pod(1)}, []netip.Prefix{b}); !errors.Is(err, ErrClosed) {
		t.Errorf("an address of what was returned: %v", err)
	}
}

// Counts reads headers only: it does not so much as look at a slot.
func TestCountsReadsHeadersOnly(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	advance := setClock(s)
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	for n := range 4 {
		allocate(t, s, pod(n), subnet)
	}
	release(t, s, pod(0))
	advance(Quarantine + time.Second)
	release(t, s, pod(1))
	usage, err := s.Usage(bg)
	if want := "[{10.0.0.0/24 253 2 1 false}]"; err != nil || fmt.Sprint(usage) != want {
		t.Errorf("usage %v, %v; want %s", usage, err, want)
	}
	if err := withBook(s, subnet, func(b *book) error { b.put32(b.at(2), 7); return nil }); err != nil {
		t.Fatal(err)
	}
	wantCounts(t, s, "10.0.0.0/24 2/253; ")
}
