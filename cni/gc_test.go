package cni

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// gcKey is the specification's name of the list.
const gcKey = "cni.dev/valid-attachments"

// collects is a GC with a list of attachments that are valid.
func collects(valid ...ipam.Attachment) call {
	list := []types.GCAttachment{}
	for _, a := range valid {
		list = append(list, types.GCAttachment{ContainerID: a.Container, IfName: a.Interface})
	}
	return call{command: "GC", extra: map[string]any{gcKey: list}}
}

func eth0(container string) ipam.Attachment {
	return ipam.Attachment{Container: container, Interface: "eth0"}
}

// attached lists what the slot files, the kernel and the records agree on.
func (w *world) attached() []string {
	w.t.Helper()
	out := slices.Sorted(maps.Keys(w.inUse()))
	records := w.records()
	slices.Sort(records)
	if diff := cmp.Diff(out, records); diff != "" {
		w.t.Errorf("records (-slots +records):\n%s", diff)
	}
	if got := w.ports(); len(got) != len(out) {
		w.t.Errorf("host interfaces %v of %v", got, out)
	}
	if got := w.guards(); len(got) != len(out) {
		w.t.Errorf("guards %v of %v", got, out)
	}
	return out
}

func (w *world) wantAttached(want ...string) {
	w.t.Helper()
	if diff := cmp.Diff(want, w.attached()); diff != "" {
		w.t.Errorf("attached (-want +got):\n%s", diff)
	}
}

func (w *world) remove(path ...string) {
	w.t.Helper()
	if err := os.RemoveAll(filepath.Join(append([]string{w.runDir}, path...)...)); err != nil {
		w.t.Fatal(err)
	}
}

func TestGC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	pods := map[string]*pod{}
	for _, id := range []string{"a", "b", "c", "other"} {
		pods[id] = w.pod(id)
		c := call{command: "ADD", id: id, netns: pods[id].netns}
		if id == "other" {
			c.extra = map[string]any{"name": "other"}
		}
		w.addAs(c)
	}
	w.addAs(call{command: "ADD", id: "a", netns: pods["a"].netns, ifname: "net1"})
	for range 2 { // the second finds nothing to do
		w.addless(collects(eth0("a"), eth0("gone-long-ago")))
		w.wantAttached("a/eth0", "other/eth0")
	}
	w.in(pods["a"], "ping", "-c", "1", "-w", "20", "10.1.2.1")
	for id, want := range map[string][]string{"a": {"lo", "eth0"}, "b": {"lo"}, "other": {"lo", "eth0"}} {
		if diff := cmp.Diff(want, w.links(pods[id])); diff != "" {
			t.Errorf("interfaces of %s (-want +got):\n%s", id, diff)
		}
	}
	// The other network's list does not say anything of this one.
	c := collects()
	c.extra["name"] = "other"
	w.addless(c)
	w.wantAttached("a/eth0")
	w.addless(collects())
	w.clean(pods["a"])
}

// TestGCList: what a list can look like. Nothing goes because of one that
// cannot be read.
func TestGCList(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, key string
		list      any
		code      uint // 0: success
		left      []string
	}{
		{"null is what encoders make of an empty list", gcKey, nil, 0, nil},
		{"the key of libcni 1.2.0", "cni.dev/attachments", []types.GCAttachment{{ContainerID: "a", IfName: "eth0"}}, 0, []string{"a/eth0"}},
		{"no list", "unknown", nil, 0, []string{"a/eth0", "b/eth0"}},
		{"no list at all", gcKey, "all", 6, []string{"a/eth0", "b/eth0"}},
		{"no container", gcKey, []map[string]any{{"ifname": "eth0"}}, 6, []string{"a/eth0", "b/eth0"}},
		{"no interface", gcKey, []map[string]any{{"containerID": "a"}}, 6, []string{"a/eth0", "b/eth0"}},
		{"another type", gcKey, []map[string]any{{"containerID": 1, "ifname": "eth0"}}, 6, []string{"a/eth0", "b/eth0"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24")
			w.add(w.pod("a"))
			w.add(w.pod("b"))
			c := call{command: "GC", extra: map[string]any{tt.key: tt.list}}
			if tt.code == 0 {
				w.addless(c)
			} else {
				w.fails(c, tt.code, "cni.dev/valid-attachments")
			}
			w.wantAttached(tt.left...)
		})
	}
}

// TestGCOfLeftovers: any part of an attachment may be gone already.
func TestGCOfLeftovers(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(w *world, p *pod)
		list  bool // the runtime gave one
		stays bool
	}{
		{"no interface", func(w *world, _ *pod) { w.host("ip", "link", "del", w.ports()[0]) }, true, false},
		{"no interface, no list", func(w *world, _ *pod) { w.host("ip", "link", "del", w.ports()[0]) }, false, false},
		{"no alias", func(w *world, _ *pod) { w.host("ip", "link", "set", w.ports()[0], "alias", "") }, true, false},
		{"no bridge", func(w *world, _ *pod) { w.host("ip", "link", "del", "weft0") }, true, false},
		{"no slot files", func(w *world, _ *pod) { w.remove("slots") }, true, false},
		{"no record", func(w *world, _ *pod) { w.remove("pods") }, true, false},
		{"broken record", func(w *world, _ *pod) {
			path := filepath.Join(record.Dir(w.runDir), eth0("c1").HostInterface()+".json")
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, true, false},
		{"no node file", func(w *world, _ *pod) { w.remove("node.json") }, true, false},
		{"subnet has moved", func(w *world, _ *pod) { *w = *newHostIn(w.t, w.runDir, "10.9.9.0/24") }, true, false},
		{"nobody knows the network", func(w *world, _ *pod) { w.remove("pods"); w.remove("slots") }, true, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24", "fd00::/64")
			p := w.pod("c1")
			w.add(p)
			tt.spoil(w, p)
			c := collects(eth0("c2"))
			if !tt.list {
				c.extra = nil
			}
			w.addless(c)
			if tt.stays {
				if got := w.ports(); len(got) != 1 {
					t.Errorf("ports %v", got)
				}
				return
			}
			w.clean(p)
		})
	}
}

// TestGCSparesWhatIsNotOurs: an interface with the name of ours stays.
func TestGCSparesWhatIsNotOurs(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.add(p)
	name := eth0("c1").HostInterface()
	w.host("ip", "link", "del", name)
	w.host("ip", "link", "add", name, "type", "bridge")
	w.addless(collects())
	w.host("ip", "link", "show", name)
	if got := w.inUse(); len(got) != 0 {
		t.Errorf("in use %v", got)
	}
}

// TestGCGoesOn: what cannot be removed keeps nothing else, and all of it is
// reported.
func TestGCGoesOn(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	for _, id := range []string{"a", "b", "c"} {
		w.add(w.pod(id))
	}
	for _, id := range []string{"a", "c"} { // directories that are not empty are not removed
		path := filepath.Join(record.Dir(w.runDir), eth0(id).HostInterface()+".json")
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	out, doc := w.run(collects())
	if doc == nil || doc.Code != 5 {
		t.Fatalf("%s", out)
	}
	for _, words := range []string{"2 of 3 stale attachments", "record of a/eth0", "record of c/eth0"} {
		if !strings.Contains(doc.Msg, words) {
			t.Errorf("%q does not say %q", doc.Msg, words)
		}
	}
	if got, ports := w.inUse(), w.ports(); len(got) != 0 || len(ports) != 0 {
		t.Errorf("in use %v, ports %v", got, ports)
	}
	if _, err := os.Stat(filepath.Join(record.Dir(w.runDir), eth0("b").HostInterface()+".json")); err == nil {
		t.Error("the record in between is still there")
	}
}

// TestGCOfMany removes more than it has collectors, of one pod.
func TestGCOfMany(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	for i := range 3 * collectors {
		w.addAs(call{command: "ADD", id: p.id, netns: p.netns, ifname: fmt.Sprintf("net%d", i)})
	}
	w.addless(collects())
	w.clean(p)
}

// TestGCOfNothing: a host where no pod ever was.
func TestGCOfNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	w.remove()
	w.addless(collects(eth0("a")))
	w.addless(call{command: "GC"})
	if _, err := os.Stat(w.runDir); err == nil {
		t.Error("GC made the run directory")
	}
	w.fails(call{command: "GC", version: "1.0.0"}, 1, "has no GC")
}
