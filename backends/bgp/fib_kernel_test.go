package bgp

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

// threeLinks is a namespace of a host with three uplinks.
func threeLinks(t *testing.T) {
	t.Helper()
	testns.New(t)
	for i := range 3 {
		for _, line := range []string{
			"link add eth%d type veth peer name far%d", "link set far%d up", "link set eth%d up",
			"addr add 198.18.%d.100/24 dev eth%d", "addr add 2001:2:%d::100/64 dev eth%d nodad",
		} {
			args := []any{i, i}[:strings.Count(line, "%d")]
			testns.Run(t, "ip", strings.Fields(fmt.Sprintf(line, args...))...)
		}
	}
	late := time.Now().Add(time.Minute)
	for strings.Count(testns.Run(t, "ip", "link", "show", "up"), "LOWER_UP") < 7 {
		if time.Now().After(late) {
			t.Fatal("the links never had a carrier")
		}
	}
}

// TestFIBInTheKernel lives a random life whose differences a real kernel takes,
// one after the other: nothing is refused, and a host that starts anew with
// what another FIB learnt in another order finds nothing to write.
func TestFIBInTheKernel(t *testing.T) {
	threeLinks(t)
	h, err := kernel.Open(kernel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	w := newWorld(seed)
	f, m := NewFIB(), newModel()
	f.objects.mask = 127
	h.SetWant(m.objects())
	for range 40 {
		for range 1 + w.IntN(10) {
			w.step(f, m)
		}
		m.resolve(f)
		remove, add, moved := f.Take()
		m.follow(f, &remove, &add, moved)
		h.Update(remove, add)
		inSync(t, h)
	}
	if len(f.All().Routes) == 0 {
		t.Error("nothing was left to compare with")
	}
	anew, err := kernel.Open(kernel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer anew.Close()
	second := m.anew(w, 127)
	second.Take()
	anew.SetWant(m.with(second.All()))
	if r := inSync(t, anew); r.Writes != 0 {
		t.Errorf("a new life writes %d changes", r.Writes)
	}
	anew.SetWant(kernel.Objects{})
	inSync(t, anew)
	if left := testns.Run(t, "ip", "nexthop", "show"); left != "" {
		t.Errorf("left behind:\n%s", left)
	}
}

func inSync(t *testing.T, h *kernel.Host) kernel.Report {
	t.Helper()
	r, err := h.Sync()
	if err != nil || !r.InSync {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}
