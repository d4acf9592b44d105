package cni

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/plumb"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	sh := func(script string) func(*world) { return func(w *world) { w.host("sh", "-ec", script) } }
	node := func(change func(w *world)) func(*world) { return func(w *world) { change(w); w.write() } }
	fill := func(w *world) { w.add(w.pod("a")) } // the one address of a /30 besides the gateway's
	pod := func(then func(*world)) func(*world) { return func(w *world) { w.add(w.pod("a")); then(w) } }
	tests := []struct {
		name  string
		spoil func(w *world)
		code  uint // 0: an ADD would succeed
		words string
	}{
		{"a host where no pod ever was", func(*world) {}, 0, ""},
		{"with a pod", pod(func(*world) {}), 0, ""},
		{"no node file", func(w *world) { w.remove("node.json") }, 50, "weftd has not leased a subnet"},
		{"no run directory", func(w *world) { w.remove() }, 50, "weftd has not leased a subnet"},
		{"a node file of another make", func(w *world) {
			if err := os.WriteFile(filepath.Join(w.runDir, "node.json"), []byte(`{"version":99}`), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, 50, "version 99"},
		{"no subnet", node(func(w *world) { w.node.Subnets = nil }), 50, "no subnet for new pods"},
		{"no subnet of its own any more", node(func(w *world) { w.node.Draining = w.node.Subnets }), 51, "no subnet for new pods"},
		{"full, more to come", fill, 0, ""},
		{"full, no more to come", node(func(w *world) { fill(w); w.node.Full.IPv4 = "the pool is exhausted" }), 50,
			"ipv4: every address is in use, and no further subnet can be had: the pool is exhausted"},
		{"no more to come, but not full", node(func(w *world) { w.node.Full.IPv4 = "the pool is exhausted" }), 0, ""},
		{"full, and room in a further subnet", node(func(w *world) {
			fill(w)
			w.node.Full.IPv4 = "the pool is exhausted"
			w.node.Subnets = append(w.node.Subnets, netip.MustParsePrefix("10.1.3.0/30"))
		}), 0, ""},
		{"full, and room in a subnet that drains", node(func(w *world) {
			fill(w)
			w.node.Full.IPv4 = "the pool is exhausted"
			w.node.Draining = []netip.Prefix{netip.MustParsePrefix("10.1.3.0/30")}
			w.node.Subnets = append(w.node.Subnets, w.node.Draining...)
		}), 50, "every address is in use"},
		{"the bridge cannot be made", node(func(w *world) { w.node.Bridge = "no/slash" }), 50, `bridge "no/slash" cannot be made`},
		{"the bridge is none", sh("ip link add weft0 type veth"), 50, "weft0 is a veth interface, not a bridge"},
		{"the bridge is none, with a pod", pod(sh("ip link del weft0; ip link add weft0 type veth")), 51, "not a bridge"},
		{"the bridge is gone, with a pod", pod(sh("ip link del weft0")), 51, "bridge weft0 is gone, and 1 pods"},
		{"the bridge is down", pod(sh("ip link set weft0 down")), 51, "bridge weft0 is down"},
		{"no forwarding", pod(sh("echo 0 >/proc/sys/net/ipv4/ip_forward")), 51, "net/ipv4/conf/weft0/forwarding is 0"},
		{"no forwarding of IPv6", pod(sh("echo 0 >/proc/sys/net/ipv6/conf/all/forwarding")), 51, "net/ipv6/conf/all/forwarding is 0"},
		{"several at a time", pod(sh("ip link set weft0 down; echo 0 >/proc/sys/net/ipv4/ip_forward")), 51, "is down; the host does not forward"},
		{"slot files cannot be made", func(w *world) {
			if err := os.WriteFile(filepath.Join(w.runDir, "slots"), nil, 0o600); err != nil {
				w.t.Fatal(err)
			}
		}, 50, "not a directory"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/30", "fd00::/64")
			tt.spoil(w)
			w.sameAfter(func() {
				if tt.code == 0 {
					w.addless(call{command: "STATUS"})
				} else {
					w.fails(call{command: "STATUS"}, tt.code, tt.words)
				}
			})
		})
	}
}

// sameAfter fails if do changes files or interfaces.
func (w *world) sameAfter(do func()) {
	w.t.Helper()
	look := func() string {
		out, err := exec.Command("find", w.runDir).CombinedOutput()
		if err != nil && len(out) == 0 {
			w.t.Fatal(err)
		}
		links, err := netlink.LinkList()
		if err != nil {
			w.t.Fatal(err)
		}
		for _, l := range links { // but not the carrier, which comes when it comes
			a := l.Attrs()
			out = fmt.Appendln(out, a.Name, l.Type(), a.MasterIndex, a.MTU, a.HardwareAddr, a.Flags&net.FlagUp, a.Alias)
		}
		return string(out)
	}
	before := look()
	do()
	if diff := cmp.Diff(before, look()); diff != "" {
		w.t.Errorf("changed (-before +after):\n%s", diff)
	}
}

// TestStatusOfOneFamily: an IPv6 subnet never runs out; that does not help a
// pod that needs an IPv4 address too.
func TestStatusOfOneFamily(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30", "fd00::/64")
	w.node.Full.IPv4 = "it may have one subnet"
	w.write()
	p := w.pod("a")
	w.add(p)
	w.fails(call{command: "STATUS"}, 50, "it may have one subnet")
	w.del(p)
	w.addless(call{command: "STATUS"})
}

// TestStatusOfFullBridge gives the bridge as many ports as it can have.
func TestStatusOfFullBridge(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.0.0/16")
	p := w.pod("a")
	w.add(p)
	var script strings.Builder
	for i := range (plumb.MaxPorts - 1) / 2 {
		fmt.Fprintf(&script, "link add d%d master weft0 type veth peer name e%d\nlink set e%d master weft0\n", i, i, i)
	}
	cmd := exec.Command("ip", "-batch", "-")
	cmd.Stdin = strings.NewReader(script.String())
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	q := w.pod("b")
	w.fails(call{command: "STATUS"}, 50, "bridge weft0 has 1023 ports")
	w.fails(call{command: "ADD", id: q.id, netns: q.netns}, codeBridgeFull, "as many ports as it can have")
	w.del(p)
	w.addless(call{command: "STATUS"})
	w.add(q)
}

// TestStatusWhileLocked: a process that is stopped holds the slot files.
func TestStatusWhileLocked(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	w.add(w.pod("a"))
	f, err := os.Open(filepath.Join(w.runDir, "slots", "lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		t.Fatal(err)
	}
	w.fails(call{command: "STATUS"}, 50, "slot files are locked")
}

// TestStatusOfDisk: an ADD has to write files.
func TestStatusOfDisk(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, script, words string }{
		{"writable", ":", ""},
		{"read-only", "mount -o remount,bind,ro DIR", "read-only file system"},
		{"full", "head -c 2M /dev/zero >DIR/x || true", "no space left"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24")
			cmd := w.onDisk(call{command: "STATUS"}, tt.script)
			out, err := cmd.CombinedOutput()
			if (err == nil) != (tt.words == "") || !strings.Contains(string(out), tt.words) {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

// onDisk is a call with the run directory on a small file system of its own,
// which holds a copy of the directory and what a script does to it, and goes
// with the call's process.
func (w *world) onDisk(c call, script string) *exec.Cmd {
	w.t.Helper()
	script = "exec 3<DIR; mount -t tmpfs -o size=1m weft-test DIR; cp -a /proc/self/fd/3/. DIR/; exec 3<&-; " + script
	return w.unshared(c, strings.ReplaceAll(script, "DIR", w.runDir))
}

// unshared is a call after a script, in a mount namespace of their own.
func (w *world) unshared(c call, script string) *exec.Cmd {
	w.t.Helper()
	return w.through(c, "unshare", "-m", "sh", "-ec", "{ "+script+"\n} >&2 </dev/null; exec $0")
}

// through is a call by a program that runs the plugin, its last argument.
func (w *world) through(c call, program string, args ...string) *exec.Cmd {
	w.t.Helper()
	cmd := w.command(c)
	binary := strings.Replace(plugin, "self", fmt.Sprint(os.Getpid()), 1)
	run := exec.Command(program, append(args, binary)...)
	run.Env, run.Stdin, run.SysProcAttr = append(os.Environ(), cmd.Env...), cmd.Stdin, cmd.SysProcAttr
	return run
}
