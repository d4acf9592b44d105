package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

// capabilities are what a runtime asks of the chain: a port of the host, and a
// rate in bits per second with a burst in bits.
const capabilities = `CAP_ARGS={
	"portMappings": [{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"}],
	"bandwidth": {"ingressRate": 8000000, "ingressBurst": 400000, "egressRate": 8000000, "egressBurst": 400000}
}`

// TestChain has portmap, bandwidth, tuning and firewall follow weft in one list.
func TestChain(t *testing.T) {
	t.Parallel()
	ctx, l, hosts := boot(t, lab.HostSpec{Name: "h1"})
	m := hosts[0]
	path, err := cnitool()
	must(t, err)
	c, err := m.Cnitool(path, map[string]string{
		"plain.conflist": agentList(t, m, "plain", "1.0.0"),
		"chained.conflist": chain(t, m, "chained", nil,
			`{"type": "bandwidth", "capabilities": {"bandwidth": true}}`,
			`{"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}, "mtu": 1300}`,
			`{"type": "firewall"}`,
			`{"type": "portmap", "capabilities": {"portMappings": true}}`), // the last: see check
		"remac.conflist": chain(t, m, "remac", map[string]any{"macSpoofCheck": false}, `{"type": "tuning", "mac": "02:42:00:00:00:07"}`),
	})
	must(t, err)
	plain := attach(ctx, t, c, "plain")
	pod := attach(ctx, t, c, "chained", capabilities)
	i, a := eth0(ctx, t, m, pod)

	meet(ctx, t, pod, plain)
	testTuning(ctx, t, pod)
	testPortmap(ctx, t, l, pod.Name)
	testBandwidth(ctx, t, m, a.HostInterface(), pod, plain)
	testRemac(ctx, t, c, m, plain)
	testFirewall(ctx, t, l, m, pod, plain)
	check(ctx, t, c, pod, "chained", capabilities)
	for range 2 {
		_, err := c.Do(ctx, []string{capabilities}, "del", "chained", "/run/netns/"+pod.Name)
		must(t, err)
	}
	must(t, gone(t, m, a))
	wantNoRules(ctx, t, m, i.Addrs)
}

// chain is the agent's conflist with another name, more keys for weft and more
// plugins after it.
func chain(t *testing.T, m *Machine, name string, keys map[string]any, plugins ...string) string {
	t.Helper()
	var list map[string]any
	must(t, json.Unmarshal([]byte(agentList(t, m, name, "1.0.0")), &list))
	all := list["plugins"].([]any)
	for key, value := range keys {
		all[0].(map[string]any)[key] = value
	}
	for _, p := range plugins {
		all = append(all, json.RawMessage(p))
	}
	list["plugins"] = all
	data, err := json.Marshal(list)
	must(t, err)
	return string(data)
}

// attach makes a container in the network and wants CHECK to agree.
func attach(ctx context.Context, t *testing.T, c *Cnitool, network string, env ...string) *Container {
	t.Helper()
	pod, err := c.Container(ctx, "pod-"+network)
	must(t, err)
	_, err = c.Do(ctx, env, "add", network, "/run/netns/"+pod.Name)
	must(t, err)
	check(ctx, t, c, pod, append([]string{network}, env...)...)
	return pod
}

// check calls CHECK. All plugins must be content but portmap, of which version
// 1.1 looks for its IPv4 rules in ip6tables as well (meta/portmap/portmap.go,
// checkPorts): libcni asks it only when the others before it are.
func check(ctx context.Context, t *testing.T, c *Cnitool, pod *Container, networkAndEnv ...string) {
	t.Helper()
	_, err := c.Do(ctx, networkAndEnv[1:], "check", networkAndEnv[0], "/run/netns/"+pod.Name)
	if err != nil && !strings.Contains(err.Error(), "could not check ipv6 dnat") {
		t.Fatal(err)
	}
}

func testTuning(ctx context.Context, t *testing.T, pod *Container) {
	value, err := pod.Exec(ctx, "cat", "/proc/sys/net/core/somaxconn")
	must(t, err)
	mtu, err := pod.Exec(ctx, "cat", "/sys/class/net/eth0/mtu")
	must(t, err)
	if strings.TrimSpace(value) != "500" || strings.TrimSpace(mtu) != "1300" {
		t.Errorf("tuning: somaxconn %s, mtu %s", value, mtu)
	}
}

// testPortmap asks the host's port from outside the fabric.
func testPortmap(ctx context.Context, t *testing.T, l *lab.Lab, name string) {
	outside := &Container{Name: "outside", exec: func(ctx context.Context, args ...string) (string, error) {
		return l.Outside().Run(ctx, "busybox", args...)
	}}
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	for _, f := range fabric.Families {
		got, err := outside.Reach(ctx, netip.AddrPortFrom(l.Hosts[0].Underlay.Get(f), 8080))
		if err != nil || got != name {
			t.Errorf("portmap: %q, %v; want %q", got, err, name)
		}
	}
}

// testBandwidth sends more than the burst in both directions; the queueing
// disciplines must have held packets back.
func testBandwidth(ctx context.Context, t *testing.T, m *Machine, port string, pod, other *Container) {
	const size = "1048576" // bytes
	for _, way := range [][2]*Container{{pod, other}, {other, pod}} {
		to, err := way[1].Interface(ctx, "eth0")
		must(t, err)
		must(t, m.write("/var/lib/machine/www-"+way[1].Name+"/big", strings.Repeat("x", 1<<20), 0o644))
		out, err := way[0].Exec(ctx, "sh", "-c", fmt.Sprintf("busybox wget -q -O - http://%s/big | busybox wc -c", to.Addrs[0].Addr()))
		if err != nil || strings.TrimSpace(out) != size {
			t.Errorf("%s got %q, %v", way[0].Name, out, err)
		}
	}
	var ifbs []struct{ IfName string }
	out, err := m.Run(ctx, "ip", "-j", "link", "show", "type", "ifb")
	must(t, err)
	must(t, json.Unmarshal([]byte(out), &ifbs))
	if len(ifbs) != 1 {
		t.Fatalf("bandwidth has made %v", ifbs)
	}
	for _, dev := range []string{port, ifbs[0].IfName} {
		var queues []struct {
			Kind       string
			Overlimits int
		}
		out, err := m.Run(ctx, "tc", "-s", "-j", "qdisc", "show", "dev", dev, "root")
		must(t, err)
		must(t, json.Unmarshal([]byte(out), &queues))
		if len(queues) != 1 || queues[0].Kind != "tbf" || queues[0].Overlimits == 0 {
			t.Errorf("bandwidth: %s has %s", dev, out)
		}
	}
}

// testFirewall lets the host forward nothing but what firewall allows.
func testFirewall(ctx context.Context, t *testing.T, l *lab.Lab, m *Machine, pod, other *Container) {
	for _, program := range []string{"iptables", "ip6tables"} {
		_, err := m.Run(ctx, program, "-P", "FORWARD", "DROP")
		must(t, err)
	}
	for _, f := range fabric.Families {
		to := l.OutsideEndpoint().Addrs.Get(f).String()
		if _, err := pod.Exec(ctx, "ping", "-c", "1", "-W", "5", to); err != nil {
			t.Errorf("firewall: %v", err)
		}
		if _, err := other.Exec(ctx, "ping", "-c", "1", "-W", "1", to); err == nil {
			t.Errorf("a pod without firewall reaches %s: the test shows nothing", to)
		}
	}
}

// wantNoRules fails the test if a rule or a device of the chain is left.
func wantNoRules(ctx context.Context, t *testing.T, m *Machine, addrs []netip.Prefix) {
	t.Helper()
	for _, program := range []string{"iptables-save", "ip6tables-save"} {
		out, err := m.Run(ctx, program)
		must(t, err)
		for _, p := range addrs {
			if strings.Contains(out, p.Addr().String()+"/") || strings.Contains(out, p.Addr().String()+":") {
				t.Errorf("DEL has left\n%s", out)
			}
		}
	}
	if out, err := m.Run(ctx, "ip", "-o", "link", "show", "type", "ifb"); err != nil || out != "" {
		t.Errorf("DEL has left %s, %v", out, err)
	}
}

// testRemac has tuning change the MAC that weft gave, which weft allows where
// it was told to.
func testRemac(ctx context.Context, t *testing.T, c *Cnitool, m *Machine, other *Container) {
	pod := attach(ctx, t, c, "remac")
	i, a := eth0(ctx, t, m, pod)
	if want := "02:42:00:00:00:07"; i.MAC.String() != want {
		t.Errorf("it has %s, want %s", i.MAC, want)
	}
	meet(ctx, t, pod, other)
	calls(ctx, t, c, "remac", pod, "del")
	must(t, gone(t, m, a))
}
