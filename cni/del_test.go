package cni

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/cni/record"
)

func TestDel(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		before func(w *world, p *pod) // after ADD
		again  bool
	}{
		{"as usual", func(*world, *pod) {}, false},
		{"twice", func(*world, *pod) {}, true},
		{"without a namespace", func(_ *world, p *pod) { p.netns = "" }, true},
		{"namespace is gone", func(_ *world, p *pod) { p.netns = "/proc/1/no/such" }, true},
		{"namespace is another pod's", func(w *world, p *pod) { p.netns = w.pod("c2").netns }, true},
		{"namespace is the host's", func(_ *world, p *pod) { p.netns = "/proc/self/ns/net" }, true},
		{"node file is gone", func(w *world, _ *pod) { w.remove("node.json") }, true},
		{"slot files are gone", func(w *world, _ *pod) { w.remove("slots") }, true},
		{"record is gone", func(w *world, _ *pod) { w.remove("pods") }, true},
		{"everything is gone", func(w *world, _ *pod) { w.remove() }, true},
		{"subnet has moved", func(w *world, _ *pod) { *w = *newHostIn(w.t, w.runDir, "10.9.9.0/24") }, true},
		{"subnet drains", func(w *world, _ *pod) { w.node.Draining = w.node.Subnets; w.write() }, true},
		{"record is broken", func(w *world, _ *pod) {
			path := filepath.Join(record.Dir(w.runDir), eth0("c1").HostInterface()+".json")
			if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, true},
		{"slot file is broken", func(w *world, _ *pod) {
			files, err := filepath.Glob(filepath.Join(w.runDir, "slots", "*-*"))
			if err != nil || len(files) == 0 {
				w.t.Fatal(files, err)
			}
			for _, f := range files {
				if err := os.Truncate(f, 5000); err != nil {
					w.t.Fatal(err)
				}
			}
		}, true},
		{"interface is gone", func(w *world, _ *pod) { w.host("ip", "link", "del", w.ports()[0]) }, true},
		{"alias was taken off", func(w *world, _ *pod) { w.host("ip", "link", "set", w.ports()[0], "alias", "") }, true},
		{"bridge is gone", func(w *world, _ *pod) { w.host("ip", "link", "del", "weft0") }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
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
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	w.del(&pod{id: "never"})
	if _, err := os.Stat(filepath.Join(w.runDir, "slots")); err == nil {
		t.Error("DEL made slot files")
	}
}

// TestDelSparesTheNextPod: the path of the namespace leads to another pod by
// the time of the DEL; that pod keeps its interface and its address.
func TestDelSparesTheNextPod(t *testing.T) {
	t.Parallel()
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

// TestDelDespiteNonsense: what DEL does not need, it does not read.
func TestDelDespiteNonsense(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		call call
	}{
		{"previous result", call{prev: []byte(`{"cniVersion":"9.9.9","interfaces":[null]}`)}},
		{"no interfaces", call{prev: []byte(`{}`)}},
		{"arguments", call{env: []string{"CNI_ARGS=IP=not-an-address;;x"}}},
		{"options", call{extra: map[string]any{"mtu": "large", "sysctls": 1, "ipam": map[string]any{"type": "host-local"}, "logFile": "relative"}}},
		{"requests", call{extra: map[string]any{"runtimeConfig": map[string]any{"ips": "all", "mac": 1}, "args": 2}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24")
			p := w.pod("c1")
			w.add(p)
			c := tt.call
			c.command, c.id = "DEL", "c1"
			w.addless(c)
			w.clean(p)
		})
	}
}

// TestDelAfterReboot: the files of the boot before are still there.
func TestDelAfterReboot(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.add(p)
	w.host("ip", "link", "del", eth0("c1").HostInterface())
	id := filepath.Join(t.TempDir(), "boot_id")
	if err := os.WriteFile(id, []byte("01234567-89ab-cdef-0123-456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const file = "/proc/sys/kernel/random/boot_id"
	for _, command := range []string{"DEL", "DEL", "ADD", "DEL"} {
		cmd := w.unshared(call{command: command, id: p.id, netns: p.netns}, "mount --bind "+id+" "+file)
		if out, err := cmd.CombinedOutput(); err != nil || command == "ADD" && !strings.Contains(string(out), "10.1.2.2/24") {
			t.Fatalf("%s: %v: %s", command, err, out)
		}
	}
	if got, ports := w.records(), w.ports(); len(got) != 0 || len(ports) != 0 {
		t.Errorf("records %v, ports %v", got, ports)
	}
}

// TestDelOnReadOnlyFiles: the interface goes, what cannot be written is said,
// and a later DEL does the rest.
func TestDelOnReadOnlyFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.add(p)
	out, err := w.onDisk(call{command: "DEL", id: p.id}, "mount -o remount,bind,ro DIR").CombinedOutput()
	if err == nil || !strings.Contains(string(out), `"code":5`) || !strings.Contains(string(out), "read-only file system") {
		t.Errorf("%v: %s", err, out)
	}
	if got := w.ports(); len(got) != 0 {
		t.Errorf("ports %v", got)
	}
	w.wantLeft("c1/eth0")
	w.del(p)
	w.clean(p)
}

// TestDelSparesTheAddressOfAnInterface: what the kernel does not remove keeps its
// address.
func TestDelSparesTheAddressOfAnInterface(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.add(p)
	out, err := w.through(call{command: "DEL", id: p.id}, "setpriv", "--bounding-set=-net_admin").CombinedOutput()
	if err == nil || !strings.Contains(string(out), fmt.Sprintf(`"code":%d`, codeKernel)) {
		t.Errorf("%v: %s", err, out)
	}
	if got := w.ports(); len(got) != 1 {
		t.Errorf("ports %v", got)
	}
	w.wantLeft("c1/eth0")
	w.del(p)
	w.clean(p)
}

// wantLeft fails unless slots and a record are left of the attachment.
func (w *world) wantLeft(name string) {
	w.t.Helper()
	if got, records := w.inUse(), w.records(); len(got[name]) == 0 || !slices.Contains(records, name) {
		w.t.Errorf("in use %v, records %v", got, records)
	}
}

// TestDelWithoutItsRecord: a record that cannot be removed is said, and the
// address is free.
func TestDelWithoutItsRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.add(p)
	path := filepath.Join(record.Dir(w.runDir), eth0("c1").HostInterface()+".json")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(path, "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	w.fails(call{command: "DEL", id: p.id}, 5, "record of c1/eth0")
	w.remove("pods")
	w.clean(p)
}

// TestReuseIsReachable: an address goes to another pod while a third still has
// the first one in its neighbour table.
func TestReuseIsReachable(t *testing.T) {
	t.Parallel()
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
