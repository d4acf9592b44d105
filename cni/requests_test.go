package cni

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// TestRecord: ADD leaves a record, DEL none.
func TestRecord(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	start := time.Now()
	r, _ := w.addAs(call{
		command: "ADD", id: p.id, netns: p.netns, env: []string{"CNI_ARGS=K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0;K8S_POD_UID=8d0e", "TRACEPARENT=" + trace},
		extra: map[string]any{
			"mtu": 1300, "hairpin": true, "isolated": true, "macSpoofCheck": false, "args": map[string]any{"cni": map[string]any{"labels": map[string]string{"app": "web"}}},
			"runtimeConfig": map[string]any{"aliases": map[string][]string{"weft": {"db"}}},
		},
	})
	a := ipam.Attachment{Container: "c1", Interface: "eth0"}
	got, err := record.Read(w.runDir, a)
	if err != nil {
		t.Fatal(err)
	}
	if age := got.Created.Sub(start); age < -time.Second || age > time.Minute {
		t.Errorf("made at %v, now it is %v", got.Created, start)
	}
	want := &record.Record{
		Version: 1, Network: "weft", Container: "c1", Interface: "eth0", HostInterface: a.HostInterface(), Bridge: "weft0", NetnsPath: p.netns, NetnsInode: inode(t, p.netns),
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.2/24"), netip.MustParsePrefix("fd00::2/64")}, MAC: got.MAC, MTU: 1300, Isolated: true, Hairpin: true,
		Pod: record.Pod{Namespace: "prod", Name: "web-0", UID: "8d0e"}, Labels: map[string]string{"app": "web"}, Aliases: []string{"db"}, Trace: trace, Created: got.Created,
	}
	if diff := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{})); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if r.Interfaces[2].Mac != got.MAC.String() || r.Interfaces[2].Mtu != 1300 {
		t.Errorf("the result says %+v, the record %+v", r.Interfaces[2], got)
	}
	w.del(p)
	w.clean(p)
	w.add(p)
	if got, err = record.Read(w.runDir, a); err != nil || !got.Guarded {
		t.Errorf("%v: by default %+v", err, got)
	}
}

func inode(t *testing.T, path string) uint64 {
	t.Helper()
	var n uint64
	target, err := os.Readlink(path)
	if err == nil {
		_, err = fmt.Sscanf(target, "net:[%d]", &n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestStaticAddress: the four ways to ask give what was asked for, and what
// cannot be given is refused with its reason and leaves nothing.
func TestStaticAddress(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	static := func(id string, ips ...string) call {
		p := w.pod(id)
		return call{command: "ADD", id: id, netns: p.netns, extra: map[string]any{"runtimeConfig": map[string]any{"ips": ips}}}
	}
	for _, tt := range []struct {
		call call
		want string
	}{
		{static("a", "10.1.2.77"), "[10.1.2.77/24 fd00::2/64]"},
		{static("b", "fd00::77/128"), "[10.1.2.2/24 fd00::77/64]"},
		{static("c", "fd00::78", "10.1.2.78/16"), "[10.1.2.78/24 fd00::78/64]"},
	} {
		r, _ := w.addAs(tt.call)
		var got []string
		for _, ip := range r.IPs {
			got = append(got, ip.Address.String())
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: got %v, want %s", tt.call.id, got, tt.want)
		}
	}
	before := w.inUse()
	for _, tt := range []struct {
		ip    string
		code  uint
		words string
	}{
		{"10.1.2.77", codeInUse, "10.1.2.77"},
		{"fd00::77", codeInUse, "fd00::77"},
		{"10.1.3.77", codeOutside, "10.1.3.77"},
		{"fd00:1::7", codeOutside, "fd00:1::7"},
		{"10.1.2.0/24", codeReserved, "10.1.2.0"},
		{"10.1.2.1", codeReserved, "10.1.2.1"},
		{"10.1.2.255", codeReserved, "10.1.2.255"},
		{"fd00::1", codeReserved, "fd00::1"},
	} {
		c := static("refused", tt.ip)
		w.fails(c, tt.code, tt.words)
		if diff := cmp.Diff(before, w.inUse()); diff != "" {
			t.Errorf("%s (-before +after):\n%s", tt.ip, diff)
		}
	}
	// The same attachment has it already.
	p := w.pod("a")
	again := static("a", "10.1.2.77")
	again.netns = p.netns
	w.addAs(again)
	w.in(p, "ping", "-c", "1", "-w", "20", "10.1.2.78")
	// As soon as it is free another may have it, quarantine or not.
	w.del(p)
	w.addAs(static("next", "10.1.2.77"))
}

func TestStaticMAC(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p, q := w.pod("c1"), w.pod("c2")
	const mac = "02:00:00:00:00:99"
	r, raw := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, env: []string{"CNI_ARGS=IgnoreUnknown=1;MAC=" + mac + ";"}})
	if r.Interfaces[2].Mac != mac {
		t.Errorf("result: %s", raw)
	}
	if got := w.netlink(p)[1].Attrs().HardwareAddr.String(); got != mac {
		t.Errorf("the interface has %s", got)
	}
	w.addless(call{command: "CHECK", id: p.id, netns: p.netns, prev: raw})
	w.add(q)
	w.in(q, "ping", "-c", "1", "-w", "20", "10.1.2.2")
	w.in(q, "ping", "-c", "1", "-w", "20", "fd00::2")
	u := w.pod("c3")
	w.fails(call{command: "ADD", id: u.id, netns: u.netns, env: []string{"CNI_ARGS=MAC=" + mac}}, codeMACTaken, mac)
	if got := w.links(u); len(got) != 1 || len(w.inUse()) != 2 || len(w.ports()) != 2 {
		t.Errorf("the refused pod has %v, in use %v, ports %v", got, w.inUse(), w.ports())
	}
}

func TestSticky(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	c := call{command: "ADD", id: "c1", extra: map[string]any{"sticky": true}, env: []string{"CNI_ARGS=K8S_POD_NAMESPACE=prod;K8S_POD_NAME=db-0"}}
	first := map[string][]string{}
	for i := range 3 {
		p := w.pod(fmt.Sprint("c", i))
		c.id, c.netns = p.id, p.netns
		w.addAs(c)
		got := w.inUse()[p.id+"/eth0"]
		if i == 0 {
			first["db-0"] = got
		}
		if diff := cmp.Diff(first["db-0"], got); diff != "" {
			t.Errorf("container %d (-first +now):\n%s", i, diff)
		}
		w.del(p)
		other := w.pod(fmt.Sprint("other", i))
		w.add(other)
		w.del(other)
	}
}

// TestOptionsReachTheKernel: the operator's options make the pod what it is.
func TestOptionsReachTheKernel(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p, plain := w.pod("c1"), w.pod("c2")
	r, _ := w.addAs(call{command: "ADD", id: p.id, netns: p.netns, extra: map[string]any{
		"mtu": 1300, "hairpin": true, "isolated": true,
		"sysctls": map[string]string{"net.core.somaxconn": "77", "net.ipv4.conf.IFNAME.arp_announce": "2"},
	}})
	w.add(plain)
	port := w.host("bridge", "-d", "link", "show", "dev", r.Interfaces[1].Name)
	if !strings.Contains(port, "hairpin on") || !strings.Contains(port, "isolated on") || !strings.Contains(port, "mtu 1300") {
		t.Errorf("port: %s", port)
	}
	for path, want := range map[string]string{"/proc/sys/net/core/somaxconn": "77", "/proc/sys/net/ipv4/conf/eth0/arp_announce": "2"} {
		if got := strings.TrimSpace(w.in(p, "cat", path)); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
	if got := w.netlink(p)[1].Attrs().MTU; got != 1300 {
		t.Errorf("the pod's MTU is %d", got)
	}
	w.fails(call{command: "ADD", id: "c3", netns: w.pod("c3").netns, extra: map[string]any{"sysctls": map[string]string{"net.no.such": "1"}}}, codeKernel, "net.no.such")
	if diff := cmp.Diff([]string{"c1/eth0", "c2/eth0"}, slices.Sorted(maps.Keys(w.inUse()))); diff != "" {
		t.Errorf("in use (-want +got):\n%s", diff)
	}
}

// TestFull: what the runtime is told depends on whether there will be more.
func TestFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	a, p := w.pod("a"), w.pod("b")
	w.add(a)
	c := call{command: "ADD", id: p.id, netns: p.netns}
	w.fails(c, 11, "weftd leases a further subnet")
	w.node.Full.IPv4 = "the fabric's networks are exhausted"
	w.write()
	w.fails(c, codeFull, "the fabric's networks are exhausted")
	w.node.Full.IPv4, w.node.Subnets = "", append(w.node.Subnets, netip.MustParsePrefix("10.1.3.0/30"))
	w.write()
	w.addAs(c)
	w.del(a)
	w.add(w.pod("c"))
}

// TestClosedSubnet: the agent has given the only subnet up since the plugin read
// the node file.
func TestClosedSubnet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	files, err := ipam.NewSlots(w.runDir, ipam.Options{})
	if err != nil {
		t.Fatal(err)
	}
	p := w.pod("c1")
	w.add(p)
	w.del(p)
	if err := files.Open(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, 11, "10.1.2.0/24")
	w.clean(p)
}

// TestRecordCannotBeWritten: the pod is not attached, and nothing is left.
func TestRecordCannotBeWritten(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	if err := os.WriteFile(record.Dir(w.runDir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.pod("c1")
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, 5, "record")
	if err := os.Remove(record.Dir(w.runDir)); err != nil {
		t.Fatal(err)
	}
	w.clean(p)
}
