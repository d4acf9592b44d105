package runtimes

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// testCnitool calls every verb of every version of the specification.
func testCnitool(ctx context.Context, t *testing.T, hosts []*Machine) {
	path, err := cnitool()
	must(t, err)
	lists := map[string]string{}
	versions := []string{"0.3.1", "0.4.0", "1.0.0", "1.1.0"}
	for _, v := range versions {
		lists[v+".conflist"] = agentList(t, hosts[0], network(v), v)
	}
	var webs []*Container
	var tools []*Cnitool
	for _, m := range hosts {
		c, err := m.Cnitool(path, nil)
		must(t, err)
		web, err := c.Container(ctx, "cnitool-"+m.Spec.Name)
		must(t, err)
		calls(ctx, t, c, "weft", web, "status", "add", "check")
		eth0(ctx, t, m, web)
		webs, tools = append(webs, web), append(tools, c)
	}
	meet(ctx, t, webs[0], webs[1])

	c, err := hosts[0].Cnitool(path, lists)
	must(t, err)
	for _, v := range versions {
		web, err := c.Container(ctx, "cnitool-"+network(v))
		must(t, err)
		calls(ctx, t, c, network(v), web, "add")
		_, a := eth0(ctx, t, hosts[0], web)
		if v != "0.3.1" { // which has no CHECK
			calls(ctx, t, c, network(v), web, "check")
		}
		if v == "1.1.0" {
			testCnitoolGC(ctx, t, hosts[0], c, network(v), web)
		}
		calls(ctx, t, c, network(v), web, "del", "del")
		must(t, gone(t, hosts[0], a))
	}
	for i, m := range hosts {
		_, a := eth0(ctx, t, m, webs[i])
		calls(ctx, t, tools[i], "weft", webs[i], "del")
		must(t, gone(t, m, a))
	}
}

// testCnitoolGC has cnitool collect all of a network, as it does: by DEL what
// it remembers, by GC what it does not, which is the pod whose namespace and
// cached result are gone.
func testCnitoolGC(ctx context.Context, t *testing.T, m *Machine, c *Cnitool, network string, web *Container) {
	_, known := eth0(ctx, t, m, web)
	const name = "cnitool-lost"
	_, err := m.Run(ctx, "ip", "netns", "add", name)
	must(t, err)
	out, err := c.Do(ctx, nil, "add", network, "/run/netns/"+name)
	must(t, err)
	var result struct {
		IPs []struct{ Address netip.Prefix }
	}
	must(t, json.Unmarshal([]byte(out), &result))
	var addrs []netip.Prefix
	for _, ip := range result.IPs {
		addrs = append(addrs, ip.Address)
	}
	lost := holder(t, m, addrs)
	_, err = m.Run(ctx, "sh", "-c", "ip netns del "+name+" && rm /var/lib/cni/results/"+network+"-"+lost.Container+"-*")
	must(t, err)
	must(t, await(ctx, "the interface to go with its namespace", func() error {
		if look(t, m).Links[lost.HostInterface()] {
			return errors.New("it is there")
		}
		return nil
	}))
	calls(ctx, t, c, network, web, "status", "gc")
	must(t, errors.Join(gone(t, m, known), gone(t, m, lost)))
}

// network is the name of the network whose configuration has that version.
func network(version string) string { return "v" + strings.ReplaceAll(version, ".", "-") }

// agentList is the agent's conflist with another name and version.
func agentList(t *testing.T, m *Machine, name, version string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(m.ConfDir(), "10-weft.conflist"))
	must(t, err)
	var list map[string]any
	must(t, json.Unmarshal(data, &list))
	list["name"], list["cniVersion"] = name, version
	delete(list, "cniVersions")
	data, err = json.Marshal(list)
	must(t, err)
	return string(data)
}

// calls makes calls for a container, all of which must succeed.
func calls(ctx context.Context, t *testing.T, c *Cnitool, network string, of *Container, verbs ...string) {
	t.Helper()
	for _, verb := range verbs {
		if _, err := c.Do(ctx, nil, verb, network, "/run/netns/"+of.Name); err != nil {
			t.Fatal(err)
		}
	}
}
