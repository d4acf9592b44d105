package plumb

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

func attachment(n int) ipam.Attachment {
	return ipam.Attachment{Container: fmt.Sprintf("c%d", n), Interface: "eth0"}
}

// guard is that of the n-th attachment, with an address of each family.
func guard(n int) Guard {
	return GuardOf(attachment(n), fabric.MAC{2, 0, 0, 0, byte(n >> 8), byte(n)}, []netip.Prefix{
		netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 1, byte(n >> 8), byte(n)}), 16),
		netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 14: byte(n >> 8), 15: byte(n)}), 64),
	})
}

func nftList(t *testing.T) string {
	t.Helper()
	return testns.Run(t, "nft", "list", "ruleset")
}

// addAll guards the first n attachments and returns their guards.
func addAll(t *testing.T, n int) (out []Guard) {
	t.Helper()
	for i := range n {
		if err := AddGuard(guard(i)); err != nil {
			t.Fatal(err)
		}
		out = append(out, guard(i))
	}
	return out
}

func TestGuardComesAndGoes(t *testing.T) {
	testns.New(t)
	if err := Unguard(attachment(1)); err != nil {
		t.Errorf("where nothing is: %v", err)
	}
	want := addAll(t, 3)
	empty := strings.Count(nftList(t), "comment") - len(want)
	if empty != len(guardRules()) {
		t.Errorf("%d rules, want %d", empty, len(guardRules()))
	}
	got, err := Guards()
	slices.SortFunc(got, func(a, b Guard) int { return a.Addrs[0].Compare(b.Addrs[0]) })
	if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%v, %v, want %v", got, err, want)
	}
	for range 2 { // again is no error
		if err := Unguard(attachment(1)); err != nil {
			t.Error(err)
		}
		if err := AddGuard(guard(2)); err != nil {
			t.Error(err)
		}
	}
	if text := nftList(t); strings.Contains(text, guard(1).Port) || strings.Count(text, guard(2).Port) != 5 {
		t.Errorf("elements:\n%s", text)
	}
}

// TestGuardForgets: an attachment that comes back with another address may not
// send from the one before.
func TestGuardForgets(t *testing.T) {
	testns.New(t)
	old, g := guard(1), guard(2)
	g.Port = old.Port
	for _, g := range []Guard{old, g} {
		if err := AddGuard(g); err != nil {
			t.Fatal(err)
		}
	}
	if text := nftList(t); strings.Contains(text, old.MAC.String()) || strings.Count(text, g.MAC.String()) != 5 {
		t.Errorf("want one guard:\n%s", text)
	}
}

// TestGuardsAtOnce: plugins that find no table make one, with one set of rules.
func TestGuardsAtOnce(t *testing.T) {
	testns.New(t)
	ns, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	defer ns.Close()
	var wg sync.WaitGroup
	errs := make(chan error, 16)
	for n := range 16 {
		wg.Go(func() { errs <- inside(ns, func() error { return AddGuard(guard(n)) }) })
	}
	wg.Wait()
	close(errs)
	for err := range errs {
		if err != nil {
			t.Error(err)
		}
	}
	text := nftList(t)
	if n := strings.Count(text, "iifname @ports"); n != 1 {
		t.Errorf("%d times the last rule", n)
	}
	for n := range 16 {
		if err := CheckGuard(guard(n)); err != nil {
			t.Error(err)
		}
	}
}

func TestCheckGuard(t *testing.T) {
	testns.New(t)
	g := addAll(t, 1)[0]
	if err := CheckGuard(g); err != nil {
		t.Fatal(err)
	}
	for _, spoil := range []string{
		"delete element bridge weft ports { " + g.Port + " }",
		fmt.Sprintf("delete element bridge weft ipv4 { %s . %s . %s }", g.Port, g.MAC, g.Addrs[0]),
		fmt.Sprintf("delete element bridge weft ipv6 { %s . %s . %s }", g.Port, g.MAC, linkLocal(g.MAC)),
		"flush set bridge weft ipv6",
		"flush chain bridge weft guard",
		"insert rule bridge weft guard accept",
		"delete chain bridge weft guard",
		"delete table bridge weft",
		"flush ruleset",
	} {
		testns.Run(t, "nft", spoil)
		if err := CheckGuard(g); err == nil {
			t.Errorf("after %q all is said to be well", spoil)
		}
		if r, err := SyncGuards(func() (Wanted, error) { return Wanted{Guards: []Guard{g}}, nil }); err != nil {
			t.Errorf("after %q: %v, %v", spoil, r, err)
		}
		if err := CheckGuard(g); err != nil {
			t.Errorf("after %q and a repair: %v", spoil, err)
		}
	}
}

func TestSyncGuards(t *testing.T) {
	testns.New(t)
	want := addAll(t, 250) // more than one transaction
	for _, name := range []string{guard(300).Port, guard(301).Port} {
		testns.Run(t, "ip", "link", "add", name, "type", "bridge")
	}
	known := func() (Wanted, error) {
		return Wanted{Guards: want, Unguarded: []string{guard(301).Port}}, nil
	}
	moved := guard(400)
	moved.Port = want[7].Port
	for _, tt := range []struct {
		name  string
		spoil func()
		want  Repair
	}{
		{"nothing", func() {}, Repair{}},
		{"all gone", func() { testns.Run(t, "nft", "flush", "ruleset") }, Repair{Rebuilt: true, Added: 250}},
		{"rules gone", func() { testns.Run(t, "nft", "flush", "chain", "bridge", "weft", "guard") }, Repair{Rebuilt: true}},
		{"elements gone", func() { testns.Run(t, "nft", "flush", "set", "bridge", "weft", "ipv4") }, Repair{Added: 250}},
		{"another's address", func() { addGuard(t, moved) }, Repair{Added: 1}},
		{"port gone, nobody's", func() { addGuard(t, guard(401)) }, Repair{Removed: 1}},
		{"port there, nobody's", func() { addGuard(t, guard(300)) }, Repair{}},
		{"port there, unguarded", func() { addGuard(t, guard(301)) }, Repair{Removed: 1}},
	} {
		tt.spoil()
		got, err := SyncGuards(known)
		if err != nil || got != tt.want {
			t.Errorf("%s: %+v, %v, want %+v", tt.name, got, err, tt.want)
		}
		if got, err := SyncGuards(known); err != nil || got != (Repair{}) {
			t.Errorf("%s, again: %+v, %v", tt.name, got, err)
		}
		for _, g := range want {
			if err := CheckGuard(g); err != nil {
				t.Fatalf("%s: %v", tt.name, err)
			}
		}
	}
	if err := CheckGuard(guard(300)); err != nil {
		t.Errorf("the guard of a port whose record is lost: %v", err)
	}
	lost := errors.New("records lost")
	if _, err := SyncGuards(func() (Wanted, error) { return Wanted{}, lost }); !errors.Is(err, lost) {
		t.Error(err)
	}
	if err := CheckGuard(want[0]); err != nil {
		t.Errorf("removed because the records could not be read: %v", err)
	}
}

// TestSyncSparesNewPods: a guard that comes after the guards were read is not
// taken for one that nobody wants.
func TestSyncSparesNewPods(t *testing.T) {
	testns.New(t)
	addGuard(t, guard(1))
	_, err := SyncGuards(func() (Wanted, error) {
		addGuard(t, guard(2)) // of a pod whose record was written too late for this list
		return Wanted{Guards: []Guard{guard(1)}}, nil
	})
	if err == nil {
		err = CheckGuard(guard(2))
	}
	if err != nil {
		t.Error(err)
	}
}

// TestNoTableForNobody: a host without guarded pods gets no table.
func TestNoTableForNobody(t *testing.T) {
	testns.New(t)
	r, err := SyncGuards(func() (Wanted, error) { return Wanted{}, nil })
	if err != nil || r != (Repair{}) || nftList(t) != "" {
		t.Errorf("%+v, %v, %s", r, err, nftList(t))
	}
	if gs, err := Guards(); err != nil || len(gs) != 0 {
		t.Errorf("%v, %v", gs, err)
	}
}

// TestNoFamily: what the kernel answers that cannot guard becomes ErrNoGuard, and
// it names the way out; other errors do not.
func TestNoFamily(t *testing.T) {
	for _, e := range []unix.Errno{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT} {
		if err := guardError(e); !errors.Is(err, ErrNoGuard) || !strings.Contains(err.Error(), "macSpoofCheck: false") {
			t.Error(err)
		}
	}
	if err := guardError(unix.EPERM); errors.Is(err, ErrNoGuard) {
		t.Error(err)
	}
}

func addGuard(t *testing.T, g Guard) {
	t.Helper()
	if err := AddGuard(g); err != nil {
		t.Fatal(err)
	}
}

// FuzzElements: no answer of the kernel makes the plugin fail other than by an
// error.
func FuzzElements(f *testing.F) {
	f.Add([]byte{7, 0, 0, 0, 8, 0, 1, 0, 'w', 0, 0, 0})
	f.Fuzz(func(_ *testing.T, data []byte) {
		_ = decodeElements(message(data), func(e element, text string) { parseGuard(e.port(), text) })
		parseRemark(data)
	})
}
