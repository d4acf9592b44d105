package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// addrs parses addresses.
func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, s := range texts {
		out = append(out, netip.MustParseAddr(s))
	}
	return out
}

// claim allocates and returns the addresses without their lengths.
func claim(t testing.TB, s *Slots, c Claim, subnets ...netip.Prefix) []string {
	t.Helper()
	g, err := s.Allocate(t.Context(), c, subnets)
	if err != nil {
		t.Fatalf("allocate for %s: %v", c.Attachment, err)
	}
	var out []string
	for _, a := range g.Addrs {
		out = append(out, a.Addr().String())
	}
	return out
}

// setClock gives the slots a clock that moves when told.
func setClock(s *Slots) (advance func(time.Duration)) {
	now := int64(1e15)
	s.clock.now = func() int64 { return now }
	return func(d time.Duration) { now += int64(d) }
}

func TestRequestedAddresses(t *testing.T) {
	subnets := prefixes("10.0.0.0/24", "10.0.7.0/24", "fd00::/64")
	tests := []struct {
		name string
		want []netip.Addr
		got  string
		is   error
		text string
	}{
		{"never used", addrs("10.0.0.77"), "[10.0.0.77 fd00::4]", nil, ""},
		{"of the second subnet", addrs("10.0.7.77"), "[10.0.7.77 fd00::4]", nil, ""},
		{"freed just now", addrs("10.0.0.3"), "[10.0.0.3 fd00::4]", nil, ""},
		{"of the other family", addrs("fd00::77"), "[10.0.0.4 fd00::77]", nil, ""},
		{"both, as IPv4 in IPv6", addrs("fd00::78", "::ffff:10.0.0.78"), "[10.0.0.78 fd00::78]", nil, ""},
		{"the last one", addrs("10.0.0.254", "fd00::ffff"), "[10.0.0.254 fd00::ffff]", nil, ""},
		{"in use", addrs("10.0.0.2"), "", ErrInUse, "address 10.0.0.2 is in use by pod-1/eth0 (pod shop/db)"},
		{"in use in one family", addrs("10.0.0.99", "fd00::2"), "", ErrInUse, "fd00::2"},
		{"outside", addrs("10.0.1.5"), "", ErrOutside, "10.0.1.5"},
		{"outside in one family", addrs("10.0.0.99", "fd01::5"), "", ErrOutside, "fd01::5"},
		{"beyond what is handed out", addrs("fd00::1:0"), "", ErrOutside, "fd00::ffff"},
		{"the subnet's own", addrs("10.0.0.0"), "", ErrReserved, "10.0.0.0"},
		{"the gateway's", addrs("fd00::1"), "", ErrReserved, "fd00::1"},
		{"broadcast", addrs("10.0.7.255"), "", ErrReserved, "10.0.7.255"},
		{"two of a family", addrs("10.0.0.8", "10.0.0.9"), "", nil, "10.0.0.8 and 10.0.0.9"},
		{"none", []netip.Addr{{}}, "", nil, "is none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := open(t, t.TempDir(), Options{})
			claim(t, s, Claim{Attachment: pod(1), Pod: "shop/db"}, subnets...)
			claim(t, s, Claim{Attachment: pod(2)}, subnets...)
			release(t, s, pod(2))
			g, err := s.Allocate(bg, Claim{Attachment: pod(3), Want: tt.want}, subnets)
			if tt.got != "" {
				var got []netip.Addr
				for _, a := range g.Addrs {
					got = append(got, a.Addr())
				}
				if fmt.Sprint(got) != tt.got || err != nil {
					t.Errorf("got %v, %v; want %s", got, err, tt.got)
				}
			} else {
				if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.text) {
					t.Errorf("got %v, %v; want %v with %q", g, err, tt.is, tt.text)
				}
				if has, err := s.Lookup(bg, pod(3)); len(has) != 0 || err != nil {
					t.Errorf("the refused attachment has %v, %v", has, err)
				}
			}
			for _, p := range subnets {
				check(t, s, p)
			}
		})
	}
}

// An attachment that asks for another address than it has gets it instead of
// the one it had; if that is refused it keeps what it had.
func TestRequestMovesAnAttachment(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.0.0.0/24", "10.0.1.0/24", "fd00::/64")
	claim(t, s, Claim{Attachment: pod(1)}, subnets...)
	claim(t, s, Claim{Attachment: pod(2)}, subnets...)
	if _, err := s.Allocate(bg, Claim{Attachment: pod(1), Want: addrs("10.0.1.9", "fd00::3")}, subnets); !errors.Is(err, ErrInUse) {
		t.Errorf("half of it is taken: %v", err)
	}
	has := func(want ...string) {
		t.Helper()
		got, err := s.Lookup(bg, pod(1))
		if diff := cmp.Diff(want, texts(got)); diff != "" || err != nil {
			t.Errorf("err %v, has (-want +got):\n%s", err, diff)
		}
	}
	has("10.0.0.2", "fd00::2")
	g, err := s.Allocate(bg, Claim{Attachment: pod(1), Want: addrs("10.0.1.9")}, subnets)
	if err != nil {
		t.Fatal(err)
	}
	has("10.0.1.9", "fd00::2")
	var taken *TakenError
	_, err = s.Allocate(bg, Claim{Attachment: pod(3), Want: addrs("10.0.1.9")}, subnets)
	if !errors.As(err, &taken) || taken.By != pod(1) || taken.Addr != addrs("10.0.1.9")[0] {
		t.Errorf("the new one: %v", err)
	}
	if got := claim(t, s, Claim{Attachment: pod(3), Want: addrs("10.0.0.2")}, subnets...)[0]; got != "10.0.0.2" {
		t.Errorf("the one it left: %s", got)
	}
	// Undoing gives back what it took and nothing that is another's by now.
	if err := s.Undo(bg, g); err != nil {
		t.Fatal(err)
	}
	has()
	if who, _, err := s.Who(bg, addrs("10.0.0.2")[0]); err != nil || who.Attachment != pod(3) || !who.InUse {
		t.Errorf("after undo 10.0.0.2 is %v's, %v", who, err)
	}
	for _, p := range subnets {
		check(t, s, p)
	}
}

// Who comes back gets what he had, at once, unless somebody asked for it.
func TestAttachmentFindsItsOwn(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	advance := setClock(s)
	subnets := prefixes("10.0.0.0/29", "10.0.0.8/29", "fd00::/64")
	for n := range 7 { // .2 to .6, .10 and .11
		claim(t, s, Claim{Attachment: pod(n)}, subnets...)
	}
	for _, n := range []int{0, 6, 3} {
		release(t, s, pod(n))
		advance(time.Second)
	}
	for n, want := range map[int]string{6: "[10.0.0.11 fd00::8]", 0: "[10.0.0.2 fd00::2]"} {
		if got := fmt.Sprint(claim(t, s, Claim{Attachment: pod(n)}, subnets...)); got != want {
			t.Errorf("pod %d got %s, had %s", n, got, want)
		}
	}
	if got := claim(t, s, Claim{Attachment: pod(9), Want: addrs("10.0.0.5")}, subnets...)[0]; got != "10.0.0.5" {
		t.Errorf("asked for 10.0.0.5, got %s", got)
	}
	if got := fmt.Sprint(claim(t, s, Claim{Attachment: pod(3)}, subnets...)); got != "[10.0.0.12 fd00::5]" {
		t.Errorf("pod 3, whose 10.0.0.5 was taken, got %s", got)
	}
	// Of two that it had, the later one, also when the chains were built anew.
	for _, a := range []string{"10.0.0.14", "10.0.0.13"} {
		claim(t, s, Claim{Attachment: pod(3), Want: addrs(a)}, subnets...)
		advance(time.Second)
	}
	release(t, s, pod(3))
	if err := withBook(s, subnets[1], func(b *book) error { b.begin(0); return nil }); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, s, Claim{Attachment: pod(3)}, subnets...)[0]; got != "10.0.0.13" {
		t.Errorf("got %s, had 10.0.0.13 last", got)
	}
	for _, p := range subnets {
		check(t, s, p)
	}
}

func TestStickyPods(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	subnets := prefixes("10.0.0.0/24", "fd00::/64")
	on := func(id, iface, name string) Claim {
		return Claim{Attachment: Attachment{Container: id, Interface: iface}, Pod: name, Sticky: true}
	}
	first := claim(t, s, on("a1", "eth0", "shop/db-0"), subnets...)
	second := claim(t, s, on("a1", "net1", "shop/db-0"), subnets...)
	claim(t, s, on("b1", "eth0", "shop/db-1"), subnets...)
	release(t, s, on("a1", "eth0", "").Attachment)
	release(t, s, on("a1", "net1", "").Attachment)
	for _, c := range []Claim{
		on("c1", "eth0", "shop/db-2"), // another pod
		{Attachment: pod(1), Pod: "shop/db-0"},
		on("c2", "eth0", ""),
	} {
		if got := claim(t, s, c, subnets...); got[0] == first[0] || got[0] == second[0] {
			t.Errorf("%+v got %v, which shop/db-0 sticks to", c, got)
		}
	}
	release(t, s, pod(1)) // it is of the same pod now, but did not ask for it: last freed wins
	last := claim(t, s, on("a2", "net1", "shop/db-0"), subnets...)
	if diff := cmp.Diff(second, last); diff != "" {
		t.Errorf("net1 of shop/db-0 (-had +got):\n%s", diff)
	}
	// After a reboot nothing is known but the names.
	s.clock.boot[0]++
	allocate(t, s, pod(5), subnets...)
	if diff := cmp.Diff(first, claim(t, s, on("a3", "eth0", "shop/db-0"), subnets...)); diff != "" {
		t.Errorf("after a reboot (-had +got):\n%s", diff)
	}
	if got := claim(t, s, on("a4", "eth0", "shop/db-0"), subnets...); got[0] == first[0] {
		t.Errorf("%v for two containers", got)
	}
	for _, p := range subnets {
		check(t, s, p)
	}
}

// TestReuseOverSubnets: nothing is reused before its time while anything else
// is free in any subnet; of what is old enough, the oldest subnet's comes first,
// so that the others can become empty.
func TestReuseOverSubnets(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	advance := setClock(s)
	subnets := prefixes("10.0.0.0/29", "10.0.0.8/29") // 5 and 5
	n := 0
	take := func() string {
		n++
		return claim(t, s, Claim{Attachment: pod(n)}, subnets...)[0]
	}
	for range 7 {
		take()
	}
	release(t, s, pod(6)) // 10.0.0.10
	advance(time.Second)
	release(t, s, pod(2)) // 10.0.0.3
	var got []string
	got = append(got, take(), take(), take()) // .12 to .14, never used
	got = append(got, take())                 // .10, freed longest ago
	got = append(got, take())                 // .3
	for _, freed := range []int{7, 3, 1} {    // .11 .4 .2
		release(t, s, pod(freed))
		advance(time.Second)
	}
	advance(Quarantine)
	got = append(got, take(), take()) // .4 .2
	release(t, s, pod(4))             // .5, too early
	got = append(got, take(), take()) // .11 .5
	want := []string{"10.0.0.12", "10.0.0.13", "10.0.0.14", "10.0.0.10", "10.0.0.3", "10.0.0.4", "10.0.0.2", "10.0.0.11", "10.0.0.5"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
	if _, err := s.Allocate(bg, Claim{Attachment: pod(99)}, subnets); !errors.Is(err, ErrFull) {
		t.Errorf("when all are in use: %v", err)
	}
}

// TestClockJumps: a clock that goes back or far ahead (a container's time
// namespace has its own) must not stop anything nor make ages negative.
func TestClockJumps(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	advance := setClock(s)
	subnet := netip.MustParsePrefix("10.0.0.0/29")
	for n := range 5 {
		allocate(t, s, pod(n), subnet)
	}
	for _, jump := range []time.Duration{-time.Hour, 1000 * time.Hour, -2000 * time.Hour, 0} {
		advance(jump)
		list, err := s.List(bg)
		if err != nil || len(list) != 5 {
			t.Fatalf("%v, %v", list, err)
		}
		for _, slot := range list {
			if slot.Age < 0 {
				t.Errorf("%s is %v old", slot.Addr, slot.Age)
			}
		}
		for n := range 5 {
			release(t, s, pod(n))
		}
		for n := range 5 {
			allocate(t, s, pod(n+5), subnet)
			release(t, s, pod(n+5))
			allocate(t, s, pod(n), subnet)
		}
		check(t, s, subnet)
	}
}

func TestWhoAndNetworks(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	subnets := prefixes("10.0.0.0/24", "fd00::/64")
	long := "a-namespace/" + strings.Repeat("x", 200)
	claim(t, s, Claim{Attachment: pod(1), Network: "blue", Pod: long}, subnets...)
	claim(t, s, Claim{Attachment: pod(2), Network: "red", Pod: "ns/p"}, subnets...)
	claim(t, s, Claim{Attachment: pod(3)}, subnets...)
	release(t, s, pod(2))
	tests := []struct {
		addr        string
		found       bool
		pod         int
		name        string
		inUse       bool
		known, blue bool
	}{
		{"10.0.0.2", true, 1, long[:maxPod], true, true, true},
		{"fd00::3", true, 2, "ns/p", false, true, false},
		{"10.0.0.4", true, 3, "", true, false, false},
		{addr: "10.0.0.5"},
		{addr: "10.0.0.1"},
		{addr: "10.0.0.255"},
		{addr: "192.0.2.1"},
	}
	for _, tt := range tests {
		got, found, err := s.Who(bg, netip.MustParseAddr(tt.addr))
		if err != nil || found != tt.found {
			t.Fatalf("%s: %+v, %v, %v", tt.addr, got, found, err)
		}
		if !found {
			continue
		}
		known, blue := got.InNetwork("blue")
		if got.Attachment != pod(tt.pod) || got.Pod != tt.name || got.InUse != tt.inUse || known != tt.known || blue != tt.blue {
			t.Errorf("%s: %+v, network known %v, blue %v", tt.addr, got, known, blue)
		}
	}
	// What is freed by a list is what was listed, not what came later.
	list, err := s.List(bg)
	if err != nil {
		t.Fatal(err)
	}
	claim(t, s, Claim{Attachment: pod(3)}, subnets...) // claimed again
	if err := s.Free(bg, list); err != nil {
		t.Fatal(err)
	}
	for n, want := range map[int]int{1: 0, 2: 0, 3: 2} {
		if got, err := s.Lookup(bg, pod(n)); err != nil || len(got) != want {
			t.Errorf("pod %d has %v, %v", n, got, err)
		}
	}
}
