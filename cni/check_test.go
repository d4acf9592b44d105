package cni

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// TestCheckFinds: whatever a pod's traffic depends on is missed.
func TestCheckFinds(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pod, host string // shell commands; PORT is the host interface
		words           string
	}{
		{"address removed", "ip addr del 10.1.2.2/24 dev eth0; ip route add 10.1.2.0/24 dev eth0; ip route add default via 10.1.2.1", "", "lost address 10.1.2.2/24"},
		{"IPv6 address removed", "ip addr del fd00::2/64 dev eth0", "", "lost address fd00::2/64"},
		{"address with another length", "ip addr del 10.1.2.2/24 dev eth0; ip addr add 10.1.2.2/25 dev eth0; ip route add default via 10.1.2.1", "", "lost address"},
		{"route removed", "ip route del default", "", "default route via 10.1.2.1"},
		{"IPv6 route removed", "ip -6 route del default", "", "default route via fd00::1"},
		{"route through another gateway", "ip route replace default via 10.1.2.77", "", "default route"},
		{"route in a table that nothing leads to", "ip route del default; ip route add default via 10.1.2.1 dev eth0 table 1000; ip rule add from 10.1.2.3 table 1000", "", "is in table 1000, which no rule"},
		{"no rules", "ip rule flush", "", "is in table 254, which no rule"},
		{"MAC changed", "ip link set eth0 address 02:00:00:00:00:99", "", "was given"},
		{"interface down", "ip link set eth0 down", "", "eth0 is down"},
		{"interface renamed", "ip link set eth0 down; ip link set eth0 name eth9", "", "eth0 is gone"},
		{"interface deleted", "ip link del eth0", "", "is gone"},
		{"interface replaced", "ip link set eth0 down; ip link set eth0 name eth9; ip link add eth0 type veth", "", "eth0 is not the other end"},
		{"off the bridge", "", "ip link set PORT nomaster", "not a port of weft0"},
		{"on another bridge", "", "ip link add br1 type bridge; ip link set PORT master br1", "not a port of weft0"},
		{"host interface down", "", "ip link set PORT down", "is down"},
		{"port disabled for long", "", "bridge link set dev PORT state 0", "has port weftec43057c07a disabled"},
		{"hairpin switched on", "", "bridge link set dev PORT hairpin on", "hairpin true and isolated false, was given false"},
		{"isolated", "", "bridge link set dev PORT isolated on", "isolated true"},
		{"guards flushed", "", "nft flush ruleset", "table bridge weft"},
		{"guard's rules changed", "", "nft insert rule bridge weft guard accept", "table bridge weft"},
		{"bridge deleted", "", "ip link del weft0", "weft0 is gone"},
		{"bridge replaced", "", "ip link del weft0; ip link add weft0 type veth", "not a bridge"},
		{"bridge down", "", "ip link set weft0 down", "weft0 is down"},
		{"gateway's address removed", "", "ip addr del 10.1.2.1/24 dev weft0", "lost the gateway's address 10.1.2.1"},
		{"IPv6 gateway's address removed", "", "ip addr del fd00::1/64 dev weft0", "lost the gateway's address fd00::1"},
		{"no forwarding", "", "echo 0 >/proc/sys/net/ipv4/ip_forward", "net/ipv4/conf/weft0/forwarding is 0"},
		{"no forwarding of IPv6", "", "echo 0 >/proc/sys/net/ipv6/conf/all/forwarding", "net/ipv6/conf/all/forwarding is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, p, raw := checked(t)
			w.tamper(p, tt.pod, tt.host)
			w.fails(call{command: "CHECK", id: p.id, netns: p.netns, prev: raw}, codeMismatch, tt.words)
		})
	}
}

// TestCheckTolerates: what pods, operators and the plugins after weft change.
func TestCheckTolerates(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, pod, host string }{
		{"nothing", "", ""},
		{"the pod's own additions", "ip addr add 192.0.2.1/32 dev eth0; ip route add 198.51.100.0/24 dev eth0", ""},
		{"another MTU", "ip link set eth0 mtu 1300", "ip link set PORT mtu 1300"},
		{"promiscuous mode", "ip link set eth0 promisc on; ip link set eth0 allmulticast on", ""},
		{"traffic control", "tc qdisc add dev eth0 root tbf rate 1mbit burst 10kb latency 10ms", "tc qdisc add dev PORT root tbf rate 1mbit burst 10kb latency 10ms"},
		{"routes in a table of their own", "ip route del default; ip route add default via 10.1.2.1 dev eth0 table 1000; ip rule add from 10.1.2.2 table 1000", ""},
		{"spanning tree, which listens and learns first", "", "ip link set weft0 type bridge stp_state 1; ip link set PORT nomaster; ip link set PORT master weft0"},
		{"no alias", "", "ip link set PORT alias ''"},
		{"further addresses of the bridge", "", "ip addr add 192.0.2.1/24 dev weft0"},
		{"no agent", "", "rm RUNDIR/node.json"},
		{"no record", "", "rm -r RUNDIR/pods"},
		{"broken record", "", "echo >RUNDIR/pods/PORT.json"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w, p, raw := checked(t)
			w.tamper(p, tt.pod, tt.host)
			w.addless(call{command: "CHECK", id: p.id, netns: p.netns, prev: raw})
		})
	}
}

// checked is an attached pod and what the runtime was told of it. The bridge has
// noticed it: it would put right later what a test does to the port.
func checked(t *testing.T) (*world, *pod, []byte) {
	t.Helper()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	_, raw := w.add(p)
	w.addless(call{command: "CHECK", id: p.id, netns: p.netns, prev: raw})
	return w, p, raw
}

// tamper runs shell commands in the pod and on the host.
func (w *world) tamper(p *pod, inPod, onHost string) {
	w.t.Helper()
	if inPod != "" {
		w.in(p, "sh", "-ec", inPod)
	}
	if onHost != "" {
		w.host("sh", "-ec", strings.NewReplacer("PORT", w.ports()[0], "RUNDIR", w.runDir).Replace(onHost))
	}
}

// TestCheckInAChain: later plugins change the pod and say so in the result.
func TestCheckInAChain(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, pod, host string
		edit            func(result map[string]any)
		noGuard         bool
		words           string // "" for no complaint
	}{
		{"interfaces and addresses of others", "", "", func(r map[string]any) {
			r["interfaces"] = append(r["interfaces"].([]any), map[string]any{"name": "bwp0"}, map[string]any{"name": "lo", "sandbox": "/x"})
			r["ips"] = append(r["ips"].([]any), map[string]any{"address": "192.0.2.1/24", "interface": 4}, map[string]any{"address": "192.0.2.2/24"})
		}, false, ""},
		{"a further address of the same interface", "", "", func(r map[string]any) {
			r["ips"] = append(r["ips"].([]any), map[string]any{"address": "192.0.2.1/24", "interface": 2})
		}, false, ""},
		{"an address taken away", "ip addr del fd00::2/64 dev eth0", "", func(r map[string]any) {
			r["ips"], r["routes"] = r["ips"].([]any)[:1], r["routes"].([]any)[:1]
		}, false, ""},
		{"a route taken away", "ip -6 route del default", "", func(r map[string]any) {
			r["routes"] = r["routes"].([]any)[:1]
		}, false, ""},
		{"routes of others", "", "", func(r map[string]any) {
			r["routes"] = append(r["routes"].([]any), map[string]any{"dst": "192.0.2.0/24", "gw": "192.0.2.1"}, map[string]any{"dst": "192.0.3.0/24"})
		}, false, ""},
		{"a route added through the gateway, and lost", "", "", func(r map[string]any) {
			r["routes"] = append(r["routes"].([]any), map[string]any{"dst": "192.0.2.0/24", "gw": "10.1.2.1"})
		}, false, "the route to 192.0.2.0/24 via 10.1.2.1 is gone"},
		{"MAC address", "ip link set eth0 address 02:00:00:00:00:99", "", changeMAC, true, ""},
		{"MAC address in capitals", "ip link set eth0 address 02:00:00:00:00:ee", "", func(r map[string]any) {
			r["interfaces"].([]any)[2].(map[string]any)["mac"] = "02:00:00:00:00:EE"
		}, true, ""},
		{"MAC address that the guard does not know", "ip link set eth0 address 02:00:00:00:00:99", "", changeMAC, false, "macSpoofCheck"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, "10.1.2.0/24", "fd00::/64")
			p := w.pod("c1")
			extra := map[string]any{"macSpoofCheck": !tt.noGuard}
			_, raw := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, extra: extra})
			w.tamper(p, tt.pod, tt.host)
			result := map[string]any{}
			if err := json.Unmarshal(raw, &result); err != nil {
				t.Fatal(err)
			}
			tt.edit(result)
			raw, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			c := call{command: "CHECK", id: p.id, netns: p.netns, prev: raw, extra: extra}
			if tt.words == "" {
				w.addless(c)
			} else {
				w.fails(c, codeMismatch, tt.words)
			}
		})
	}
}

func changeMAC(r map[string]any) {
	r["interfaces"].([]any)[2].(map[string]any)["mac"] = "02:00:00:00:00:99"
}

// TestCheckWaits: what passes by itself within seconds is no failure.
func TestCheckWaits(t *testing.T) {
	t.Parallel()
	w, p, raw := checked(t)
	w.host("bridge", "link", "set", "dev", w.ports()[0], "state", "0")
	cmd := w.command(call{command: "CHECK", id: p.id, netns: p.netns, prev: raw})
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir := fmt.Sprintf("/proc/%d/fd", cmd.Process.Pid)
	for deadline := time.Now().Add(time.Minute); sockets(dir) < 2 && time.Now().Before(deadline); {
		runtime.Gosched() // it looks as soon as it has a socket on each side
	}
	w.host("bridge", "link", "set", "dev", w.ports()[0], "state", "3")
	if err := cmd.Wait(); err != nil {
		t.Errorf("%v: %s", err, &out)
	}
}

// sockets counts the sockets among the descriptors of a process; of one that has
// ended there are enough.
func sockets(dir string) int {
	list, err := os.ReadDir(dir)
	if err != nil || len(list) == 0 {
		return 2
	}
	n := 0
	for _, e := range list {
		if to, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}

// TestCheckAtOnce: a CHECK right after the ADD waits for the bridge to notice
// the new port's carrier.
func TestCheckAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	for i := range 10 {
		p := w.pod("c1")
		c := call{command: "ADD", id: p.id, netns: p.netns, version: []string{"0.4.0", "1.0.0", "1.1.0"}[i%3]}
		_, c.prev = w.addAs(c)
		c.command = "CHECK"
		w.addless(c)
		w.del(p)
	}
}

// TestCheckOfASecondInterface, whose default routes are in a table of its own.
func TestCheckOfASecondInterface(t *testing.T) {
	t.Parallel()
	w, p, _ := checked(t)
	_, raw := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, ifname: "net1"})
	c := call{command: "CHECK", id: p.id, netns: p.netns, ifname: "net1", prev: raw}
	w.addless(c)
	w.in(p, "sh", "-ec", "ip rule del from 10.1.2.3; ip route get 192.0.2.1 from 10.1.2.3")
	w.fails(c, codeMismatch, "default route via 10.1.2.1 is in table")
	w.in(p, "ip", "route", "flush", "dev", "net1", "table", "all")
	w.fails(c, codeMismatch, "default route via 10.1.2.1 is gone")
}

func TestCheckNeedsTheSlotAndTheResult(t *testing.T) {
	t.Parallel()
	w, p, raw := checked(t)
	c := call{command: "CHECK", id: p.id, netns: p.netns}
	w.fails(c, 7, "CHECK needs it")
	c.prev = []byte(`{"cniVersion":"1.1.0","interfaces":[],"ips":[]}`)
	w.fails(c, 7, "lacks the interfaces")
	c.prev = raw
	c.id = "c2"
	w.fails(c, 7, "lacks the interfaces")
	c.id = "c1"
	c.netns = w.pod("c2").netns
	w.fails(c, codeMismatch, "eth0 is gone")
	c.netns = p.netns
	w.remove("slots")
	w.fails(c, codeMismatch, "address 10.1.2.2 is not allocated")
	w.del(p)
	w.fails(c, codeMismatch, "address 10.1.2.2 is not allocated")
}

// TestCheckChangesNothing, whether it complains or not.
func TestCheckChangesNothing(t *testing.T) {
	t.Parallel()
	w, p, raw := checked(t)
	c := call{command: "CHECK", id: p.id, netns: p.netns, prev: raw}
	before := w.inUse()
	w.sameAfter(func() { w.addless(c) })
	w.in(p, "ip", "route", "del", "default")
	w.sameAfter(func() { w.fails(c, codeMismatch, "default route") })
	if diff := cmp.Diff(before, w.inUse()); diff != "" {
		t.Errorf("in use (-before +after):\n%s", diff)
	}
}
