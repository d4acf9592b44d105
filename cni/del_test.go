package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDel(t *testing.T) {
	tests := []struct {
		name   string
		before func(w *world, p *pod) // after ADD
		again  bool
	}{
		{"as usual", func(*world, *pod) {}, false},
		{"twice", func(*world, *pod) {}, true},
		{"without a namespace", func(_ *world, p *pod) { p.netns = "" }, true},
		{"namespace is gone", func(_ *world, p *pod) { p.netns = "/proc/1/no/such" }, true},
		{"node file is gone", func(w *world, _ *pod) {
			if err := os.Remove(filepath.Join(w.runDir, "node.json")); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"slot files are gone", func(w *world, _ *pod) {
			if err := os.RemoveAll(filepath.Join(w.runDir, "slots")); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"everything is gone", func(w *world, _ *pod) {
			if err := os.RemoveAll(w.runDir); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"interface is gone", func(w *world, _ *pod) { w.host("ip", "link", "del", w.ports()[0]) }, true},
		{"alias was taken off", func(w *world, _ *pod) { w.host("ip", "link", "set", w.ports()[0], "alias", "") }, true},
		{"bridge is gone", func(w *world, _ *pod) { w.host("ip", "link", "del", "weft0") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t, "10.1.2.0/24", "fd00::/64")
			p := w.pod("c1")
			w.add(p)
			q := *p
			tt.before(w, &q)
			w.del(&q)
			w.clean(p)
			if tt.again {
				w.del(&q)
			}
		})
	}
}

// TestDelOfWhatNeverWas: a DEL after a failed or missing ADD succeeds.
func TestDelOfWhatNeverWas(t *testing.T) {
	w := newWorld(t, "10.1.2.0/24")
	w.del(&pod{id: "never"})
	if _, err := os.Stat(filepath.Join(w.runDir, "slots")); err == nil {
		t.Error("DEL made slot files")
	}
}

// TestDelSparesTheNextPod: the path of the namespace leads to another pod by
// the time of the DEL; that pod keeps its interface and its address.
func TestDelSparesTheNextPod(t *testing.T) {
	w := newWorld(t, "10.1.2.0/24")
	old, next := w.pod("old"), w.pod("next")
	w.add(old)
	w.add(next)
	w.del(&pod{id: "old", netns: next.netns})
	if diff := cmp.Diff([]string{"lo"}, w.links(old)); diff != "" {
		t.Errorf("the old pod (-want +got):\n%s", diff)
	}
	want := map[string][]string{"next/eth0": {"10.1.2.3"}}
	if diff := cmp.Diff(want, w.inUse()); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
	w.in(next, "ping", "-c", "1", "-w", "20", "10.1.2.1")
}

// TestReuseIsReachable: an address goes to another pod while a third still has
// the first one in its neighbour table.
func TestReuseIsReachable(t *testing.T) {
	w := newWorld(t, "10.1.2.0/29") // .2 to .6
	peer := w.pod("peer")
	w.add(peer)
	for i := range 4 {
		w.add(w.pod(fmt.Sprint("c", i)))
	}
	w.in(peer, "ping", "-c", "1", "-w", "20", "10.1.2.3")
	w.in(peer, "ip", "neigh", "replace", "10.1.2.3", "lladdr", "0a:58:0a:01:02:03", "dev", "eth0", "nud", "permanent")
	const other = "02:00:00:00:00:99"
	w.host("ip", "neigh", "replace", "10.1.2.3", "lladdr", other, "dev", "weft0", "nud", "stale")
	w.del(&pod{id: "c0"})
	r, _ := w.add(w.pod("new"))
	if got := r.IPs[0].Address.IP.String(); got != "10.1.2.3" {
		t.Fatalf("got %s", got)
	}
	if out := w.host("ip", "neigh", "show", "10.1.2.3", "dev", "weft0"); strings.Contains(out, other) {
		t.Errorf("the host still remembers %s", out)
	}
	w.in(peer, "ping", "-c", "1", "-w", "20", "10.1.2.3")
	w.host("ping", "-c", "1", "-w", "20", "10.1.2.3")
}
