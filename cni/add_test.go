package cni

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/types/create"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/ipam"
)

func TestPodsReachEachOther(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00:1:0:2::/64")
	a, b := w.pod("a"), w.pod("b")
	w.add(a)
	w.add(b)
	for _, target := range []string{"10.1.2.3", "10.1.2.1", "fd00:1:0:2::3", "fd00:1:0:2::1", "127.0.0.1"} {
		w.in(a, "ping", "-c", "1", "-w", "20", target)
	}
	// Full packets of the MTU, unfragmented.
	w.in(a, "ping", "-c", "1", "-w", "20", "-M", "do", "-s", fmt.Sprint(1400-28), "10.1.2.3")
}

func TestResultOfEachVersion(t *testing.T) {
	t.Parallel()
	for _, version := range versions {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24", "fd00:1:0:2::/64")
			p := w.pod("c1")
			dns := map[string]any{"nameservers": []string{"10.1.0.10"}, "search": []string{"a.example"}}
			r, raw := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, version: version, extra: map[string]any{"dns": dns}})
			host := ipam.Attachment{Container: "c1", Interface: "eth0"}.HostInterface()
			var got []string
			for _, i := range r.Interfaces {
				got = append(got, fmt.Sprintf("%s mtu %d sandbox %q", i.Name, i.Mtu, i.Sandbox))
			}
			mtu := 0
			if version == "1.1.0" {
				mtu = 1400
			}
			want := []string{`weft0 mtu 0 sandbox ""`, host + ` mtu 0 sandbox ""`, fmt.Sprintf("eth0 mtu %d sandbox %q", mtu, p.netns)}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("interfaces (-want +got):\n%s", diff)
			}
			if mac := r.Interfaces[2].Mac; mac != "0a:58:0a:01:02:02" {
				t.Errorf("pod's MAC %s", mac)
			}
			got = nil
			for _, ip := range r.IPs {
				got = append(got, fmt.Sprintf("%s via %s on %d", ip.Address.String(), ip.Gateway, *ip.Interface))
			}
			for _, route := range r.Routes {
				got = append(got, fmt.Sprintf("route %s via %s", route.Dst.String(), route.GW))
			}
			want = []string{
				"10.1.2.2/24 via 10.1.2.1 on 2", "fd00:1:0:2::2/64 via fd00:1:0:2::1 on 2",
				"route 0.0.0.0/0 via 10.1.2.1", "route ::/0 via fd00:1:0:2::1",
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("addresses and routes (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"10.1.0.10"}, r.DNS.Nameservers); diff != "" {
				t.Errorf("dns (-want +got):\n%s", diff)
			}
			if strings.Contains(string(raw), `"mtu"`) != (version == "1.1.0") {
				t.Errorf("mtu in a result of %s:\n%s", version, raw)
			}
			if version != "0.3.1" { // which has no CHECK
				w.addless(call{command: "CHECK", id: p.id, netns: p.netns, version: version, prev: raw})
			}
			w.del(p)
			w.clean(p)
		})
	}
}

// addless runs what must succeed and answer nothing.
func (w *world) addless(c call) {
	w.t.Helper()
	if out, doc := w.run(c); doc != nil || len(out) != 0 {
		w.t.Errorf("%s: %s", c.command, out)
	}
}

func TestOneFamily(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ subnet, target, mac, other string }{
		{"10.1.2.0/24", "10.1.2.1", "0a:58:0a:01:02:02", "-6"},
		{"fd00::/64", "fd00::1", "", "-4"},
	} {
		t.Run(tt.subnet, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, tt.subnet)
			p := w.pod("c1")
			r, _ := w.add(p)
			w.in(p, "ping", "-c", "1", "-w", "20", tt.target)
			if out := w.in(p, "ip", "-o", tt.other, "addr", "show", "dev", "eth0"); out != "" {
				t.Errorf("addresses of the other family: %s", out)
			}
			mac := r.Interfaces[2].Mac
			if tt.mac != "" && mac != tt.mac {
				t.Errorf("MAC %s, want %s", mac, tt.mac)
			}
			// Quiet ports: nothing of the host's own making floods the bridge.
			host := r.Interfaces[1].Name
			if out := w.host("ip", "-o", "-6", "addr", "show", "dev", host); out != "" {
				t.Errorf("the host interface has %s", out)
			}
			// The same address has the same MAC in whichever pod.
			w.del(p)
			w.node.Subnets = []netip.Prefix{netip.MustParsePrefix(tt.subnet)}
			if err := os.RemoveAll(filepath.Join(w.runDir, "slots")); err != nil {
				t.Fatal(err)
			}
			if again, _ := w.add(w.pod("c2")); again.Interfaces[2].Mac != mac {
				t.Errorf("MAC %s, then %s", mac, again.Interfaces[2].Mac)
			}
		})
	}
}

// TestRollback makes ADD fail at each of its steps; nothing may be left.
func TestRollback(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name  string
		spoil func(w *world, p *pod, c *call)
		code  uint
		words string
	}{
		{"bridge is none", func(w *world, _ *pod, _ *call) { w.host("ip", "link", "add", "weft0", "type", "veth") }, codeKernel, "not a bridge"},
		{"bridge cannot be made", func(w *world, _ *pod, _ *call) { w.node.Bridge = "no/slash"; w.write() }, codeKernel, "make bridge no/slash"},
		{"route is there already", func(w *world, p *pod, _ *call) {
			w.in(p, "ip", "link", "set", "lo", "up")
			w.in(p, "ip", "route", "add", "default", "dev", "lo")
		}, codeKernel, "eth0 in the container"},
		{"result cannot be written", func(w *world, _ *pod, c *call) { c.stdout = w.deadEnd(os.OpenFile("/dev/full", os.O_WRONLY, 0)) }, 0, ""},
		{"nobody reads the result", func(w *world, _ *pod, c *call) {
			r, f, err := os.Pipe()
			r.Close()
			c.stdout = w.deadEnd(f, err)
		}, 0, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24", "fd00:1:0:2::/64")
			p := w.pod("c1")
			c := call{command: "ADD", id: p.id, netns: p.netns}
			tt.spoil(w, p, &c)
			before := w.host("ip", "-o", "link")
			w.fails(c, tt.code, tt.words)
			w.clean(p)
			if after := w.host("ip", "-o", "link"); tt.name == "bridge is none" && before != after {
				t.Errorf("before:\n%safter:\n%s", before, after)
			}
		})
	}
}

// deadEnd is a file that cannot be written to.
func (w *world) deadEnd(f *os.File, err error) *os.File {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { f.Close() })
	return f
}

func TestInterfaceIsTaken(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	w.in(p, "ip", "link", "add", "eth0", "type", "bridge")
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, codeTaken, "interface of this name already")
	if got := w.links(p); len(got) != 2 || len(w.ports()) != 0 || len(w.inUse()) != 0 {
		t.Errorf("pod %v, host %v, in use %v", got, w.ports(), w.inUse())
	}
	// Another attachment of the same container is none of its business.
	w.addAs(call{command: "ADD", id: p.id, netns: p.netns, ifname: "net1"})
}

// TestTakenWhileAttachedElsewhere: a sandbox that cannot be attached does not
// cost the older one of the same name its interface.
func TestTakenWhileAttachedElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p, q := w.pod("c1"), w.pod("c1")
	w.add(p)
	w.in(q, "ip", "link", "add", "eth0", "type", "bridge")
	w.fails(call{command: "ADD", id: q.id, netns: q.netns}, codeTaken, "interface of this name already")
	w.in(p, "ping", "-c", "1", "-w", "20", "10.1.2.1")
}

func TestHostInterfaceOfSomebodyElse(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	name := ipam.Attachment{Container: "c1", Interface: "eth0"}.HostInterface()
	w.host("ip", "link", "add", name, "type", "bridge")
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, codeNotOurs, name)
	w.del(p)
	w.host("ip", "link", "show", name)
}

// TestAddAgain: a second ADD without a DEL starts over with the same address.
// TestKilledAdd kills the plugin at random moments: ADD straight afterwards
// must work, and DEL must leave nothing.
func TestKilledAdd(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	for range 30 {
		cmd := w.command(call{command: "ADD", id: p.id, netns: p.netns})
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		timer := time.AfterFunc(time.Duration(rand.IntN(6000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
		_ = cmd.Wait()
		timer.Stop()
		r, _ := w.add(p)
		if got := w.inUse(); len(got) != 1 || len(got["c1/eth0"]) != 2 || got["c1/eth0"][0] != r.IPs[0].Address.IP.String() {
			t.Fatalf("in use %v, result %v", got, r.IPs)
		}
		w.del(p)
		w.clean(p)
	}
}

func TestManyAddsAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	const n = 16
	var cmds [n]*exec.Cmd
	var outs [n]bytes.Buffer
	pods := map[string]*pod{}
	for i := range n {
		p := w.pod(fmt.Sprintf("c%d", i))
		pods[p.id] = p
		cmds[i] = w.command(call{command: "ADD", id: p.id, netns: p.netns})
		cmds[i].Stdout = &outs[i]
	}
	for _, cmd := range cmds {
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[string]bool{}
	for i, cmd := range cmds {
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v: %s", err, &outs[i])
		}
		res, err := create.Create("1.1.0", outs[i].Bytes())
		if err != nil {
			t.Fatal(err)
		}
		for _, ip := range res.(*current.Result).IPs {
			seen[ip.Address.IP.String()] = true
		}
	}
	if len(seen) != 2*n || len(w.ports()) != n {
		t.Errorf("%d addresses, %d ports for %d pods", len(seen), len(w.ports()), n)
	}
	w.in(pods["c0"], "ping", "-c", "1", "-w", "20", w.inUse()["c15/eth0"][0])
}

func TestNoSubnetYet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	c := call{command: "ADD", id: p.id, netns: p.netns}
	status := call{command: "STATUS"}
	w.addless(status)
	w.node.Draining = w.node.Subnets
	w.write()
	w.fails(c, 11, "no subnet for new pods")
	w.fails(status, 51, "no subnet for new pods")
	if err := os.WriteFile(filepath.Join(w.runDir, "node.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.fails(c, 11, "node.json")
	if err := os.Remove(filepath.Join(w.runDir, "node.json")); err != nil {
		t.Fatal(err)
	}
	w.fails(c, 11, "weftd has not leased a subnet")
	w.fails(status, 50, "weftd has not leased a subnet")
	w.clean(p)
}

// TestBridgeIsMadeAgain: the bridge may be deleted while no agent is there.
func TestBridgeIsMadeAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	w.add(w.pod("a"))
	w.host("ip", "link", "del", "weft0")
	w.del(&pod{id: "a"})
	p := w.pod("b")
	w.add(p)
	w.in(p, "ping", "-c", "1", "-w", "20", "10.1.2.1")
	w.in(p, "ping", "-c", "1", "-w", "20", "fd00::1")
	out := w.host("ip", "-d", "link", "show", "weft0")
	for _, want := range []string{"alias weft", "mtu 1400", "02:00:00:00:00:07", "UP"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

// TestLostSlotFiles: what the kernel shows in use is not handed out again.
func TestLostSlotFiles(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	a, b := w.pod("a"), w.pod("b")
	w.add(a)
	if err := os.RemoveAll(filepath.Join(w.runDir, "slots")); err != nil {
		t.Fatal(err)
	}
	w.add(b)
	want := map[string][]string{"a/eth0": {"10.1.2.2", "fd00::2"}, "b/eth0": {"10.1.2.3", "fd00::3"}}
	if diff := cmp.Diff(want, w.inUse()); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
	w.del(a)
	delete(want, "a/eth0")
	if diff := cmp.Diff(want, w.inUse()); diff != "" {
		t.Errorf("after DEL (-want +got):\n%s", diff)
	}
}

func TestChained(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	prev := `{"cniVersion":"1.0.0","interfaces":[{"name":"other0","sandbox":"` + p.netns + `"}],
		"ips":[{"address":"192.0.2.2/24","interface":0}],"dns":{"nameservers":["192.0.2.53"]}}`
	r, raw := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, version: "1.0.0", prev: []byte(prev)})
	if len(r.Interfaces) != 4 || r.Interfaces[0].Name != "other0" || len(r.IPs) != 2 || *r.IPs[0].Interface != 0 || *r.IPs[1].Interface != 3 ||
		len(r.DNS.Nameservers) != 1 {
		t.Errorf("result %s", raw)
	}
	w.addless(call{command: "CHECK", id: p.id, netns: p.netns, version: "1.0.0", prev: raw})
}
