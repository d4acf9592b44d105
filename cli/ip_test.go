package cli

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/ipam"
)

// What is said of every kind of address fits a screen and can be read.
func TestAddressText(t *testing.T) {
	row := someRows()[1]
	alive, gone := true, false
	here := addressRow{Subnet: prefix("10.244.1.0/24"), Node: "rack1-host1", Here: true}
	of := func(base addressRow, state, addr string, change func(*addressRow)) *addressRow {
		base.State, base.Address = state, netip.MustParseAddr(addr)
		if change != nil {
			change(&base)
		}
		return &base
	}
	held := func(ago time.Duration) func(*addressRow) {
		return func(r *addressRow) { r.Attachment, r.Since = &row, noon.Add(-ago) }
	}
	there := addressRow{Subnet: prefix("fd00:10:244:2::/64"), Node: "rack1-host2", AgentAlive: &alive}
	networks := []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00:10:244::/48")}
	var out strings.Builder
	for _, r := range []*addressRow{
		of(here, addressInUse, "10.244.1.7", held(50*time.Hour)),
		of(here, addressInUse, "10.244.1.9", func(r *addressRow) { r.Attachment, r.Since, r.Draining = &someRows()[0], noon, true }),
		of(here, addressQuarantined, "10.244.1.7", held(34*time.Second)),
		of(here, addressFreed, "10.244.1.7", held(3*time.Hour)),
		of(here, addressUnused, "10.244.1.8", nil),
		of(here, addressGateway, "10.244.1.1", nil),
		of(here, addressReserved, "10.244.1.0", nil),
		of(here, addressReserved, "10.244.1.255", nil),
		of(addressRow{Subnet: prefix("10.244.7.0/24"), Node: "rack1-host2", AgentAlive: &gone, GivenUp: true}, addressInUse, "10.244.7.7", held(time.Minute)),
		of(there, addressRemote, "fd00:10:244:2::8", nil),
		of(there, addressGateway, "fd00:10:244:2::1", nil),
		of(addressRow{Subnet: prefix("10.244.9.0/24"), Node: "rack2-host9"}, addressSetAside, "10.244.9.9", nil),
		of(addressRow{Subnet: prefix("10.244.200.0/24")}, addressExcluded, "10.244.200.9", nil),
		of(addressRow{}, addressUnleased, "10.244.77.7", nil),
		of(addressRow{Node: "rack1-host2", AgentAlive: &alive}, addressUnderlay, "198.18.1.2", nil),
		of(addressRow{Networks: networks}, addressOutside, "192.0.2.1", nil),
		of(addressRow{}, addressUnknown, "10.244.2.1", nil),
	} {
		out.WriteString(addressText(r, noon, false) + "\n")
	}
	checkWidth(t, out.String())
	golden.Compare(t, "ip.txt", out.String())
}

// What is not in this node's subnets is found in the fabric's records.
func TestAddressInTheFabric(t *testing.T) {
	snap := racks()
	snap.Spec = &fabric.Spec{Reserved: []netip.Prefix{prefix("10.244.200.0/24")}}
	snap.Spec.Network.IPv4, snap.Spec.Network.IPv6 = prefix("10.244.0.0/16"), prefix("fd00:10:244::/48")
	for addr, want := range map[string]string{
		"10.244.2.7":         "remote rack1-host2 10.244.2.0/24 true",
		"fd00:10:244:2::7":   "remote rack1-host2 fd00:10:244:2::/64 true",
		"fd00:10:244:2::1":   "gateway rack1-host2 fd00:10:244:2::/64 true",
		"10.244.3.1":         "gateway rack2-host1 10.244.3.0/24 false",
		"10.244.2.0":         "reserved rack1-host2 10.244.2.0/24 true",
		"10.244.2.255":       "reserved rack1-host2 10.244.2.0/24 true",
		"fd00:10:244:2::":    "reserved rack1-host2 fd00:10:244:2::/64 true",
		"2001:db8:1::2":      "underlay rack1-host2 invalid Prefix true",
		"10.244.9.200":       "set-aside rack2-host9 10.244.9.0/24",
		"10.244.200.1":       "excluded  10.244.200.0/24",
		"10.244.77.1":        "unleased  invalid Prefix",
		"fd00:10:244:ffff::": "unleased  invalid Prefix",
		"192.0.2.1":          "outside  invalid Prefix",
	} {
		r := addressRow{Address: netip.MustParseAddr(addr), State: addressUnknown}
		r.fabric(snap)
		got := fmt.Sprintf("%s %s %s", r.State, r.Node, r.Subnet)
		if r.AgentAlive != nil {
			got += fmt.Sprintf(" %v", *r.AgentAlive)
		}
		if got != want || (len(r.Networks) == 2) != (r.State == addressOutside) {
			t.Errorf("%s: got %s, want %s; networks %v", addr, got, want, r.Networks)
		}
	}
	// A pod here has it, although its subnet is another node's by now.
	r := addressRow{Address: netip.MustParseAddr("10.244.2.7"), State: addressInUse, GivenUp: true, Attachment: &podRow{}}
	if r.fabric(snap); r.State != addressInUse || r.Node != "rack1-host2" {
		t.Errorf("a pod that outlived the lease: %+v", r)
	}
}

// showIP runs `weft ip show`.
func showIP(t *testing.T, env []string, addr string) (addressRow, result) {
	t.Helper()
	r := command(t, env, "", "ip", "show", addr, "-o", "json")
	var row addressRow
	if r.out != "" {
		if err := json.Unmarshal([]byte(r.out), &row); err != nil {
			t.Fatalf("%v: %+v", err, r)
		}
	}
	return row, r
}

func runDirOf(env []string) string {
	for _, e := range env {
		if dir, ok := strings.CutPrefix(e, "WEFT_RUN_DIR="); ok {
			return dir
		}
	}
	return ""
}

func writeNodeFile(t *testing.T, runDir string) {
	t.Helper()
	file := nodefile.File{Version: nodefile.Version, Node: "self", NodeID: "id", Networks: []netip.Prefix{prefix("10.244.0.0/16")},
		Subnets: []netip.Prefix{prefix("10.244.1.0/24"), prefix("10.244.5.0/24")}, Draining: []netip.Prefix{prefix("10.244.5.0/24")}, Bridge: "weft0", MTU: 1450}
	if err := file.Write(runDir); err != nil {
		t.Fatal(err)
	}
}

// This node's own addresses are told with neither agent nor etcd, from the first
// allocation to what is left of the last.
func TestIPShowHere(t *testing.T) {
	dir := t.TempDir()
	env := []string{"WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + dir, "WEFT_ETCD_ENDPOINTS=http://127.0.0.1:1"}
	writeNodeFile(t, dir)
	g := attach(t, dir, "c1", record.Pod{Namespace: "default", Name: "web-0"}, map[string]string{"app": "web"})
	addr := g.Addrs[0].Addr().String()
	row, r := showIP(t, env, addr)
	if row.State != addressInUse || !row.Here || row.Node != "self" || r.code != exitDone || r.err != "" {
		t.Fatalf("in use: %+v", r)
	}
	if a := row.Attachment; a.name() != "default/web-0" || a.Container != "c1" || a.Labels["app"] != "web" || a.HostInterface != g.HostInterface() {
		t.Errorf("in use: %+v", a)
	}
	slots, err := readSlots(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slots.Release(t.Context(), g.Attachment); err != nil {
		t.Fatal(err)
	}
	if err := record.Remove(dir, g.Attachment); err != nil {
		t.Fatal(err)
	}
	row, r = showIP(t, env, "::ffff:"+addr)
	if a := row.Attachment; row.State != addressQuarantined || a == nil || a.name() != "default/web-0" || a.Container != "c1" {
		t.Errorf("freed: %+v", r)
	}
	if r := command(t, env, "", "ip", "show", addr); r.code != exitDone || !strings.Contains(r.out, "was of    pod default/web-0, container c1") {
		t.Errorf("freed: %+v", r)
	}
	for addr, want := range map[string]string{
		"10.244.1.77": addressUnused, "10.244.5.77": addressUnused, "10.244.1.1": addressGateway, "10.244.1.0": addressReserved, "10.244.1.255": addressReserved,
	} {
		row, r := showIP(t, env, addr)
		if row.State != want || !row.Here || row.Attachment != nil || r.code != exitDone || row.Draining != (addr == "10.244.5.77") {
			t.Errorf("%s: %+v", addr, r)
		}
	}
}

func TestQuarantineEnds(t *testing.T) {
	for age, want := range map[time.Duration]string{0: addressQuarantined, ipam.Quarantine - 1: addressQuarantined, ipam.Quarantine: addressFreed} {
		var r addressRow
		r.fromSlot(t.TempDir(), ipam.Slot{Attachment: ipam.Attachment{Container: "c", Interface: "eth0"}, Age: age}, noon)
		if r.State != want || !r.Since.Equal(noon.Add(-age)) {
			t.Errorf("freed %v ago: %s since %v, want %s", age, r.State, r.Since, want)
		}
	}
}

// Without etcd the command says what it knows, and fails where that is nothing.
func TestIPShowWithoutEtcd(t *testing.T) {
	dir := t.TempDir()
	env := []string{"WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + dir, "WEFT_ETCD_ENDPOINTS=http://127.0.0.1:1"}
	if row, r := showIP(t, env, "10.244.2.7"); row.State != addressUnknown || r.code != exitUnreachable {
		t.Errorf("no files: %+v", r)
	}
	writeNodeFile(t, dir)
	if row, r := showIP(t, env, "10.244.2.7"); row.State != addressUnknown || r.code != exitUnreachable {
		t.Errorf("another node's: %+v", r)
	}
	if row, r := showIP(t, env, "192.0.2.1"); row.State != addressOutside || len(row.Networks) != 1 || r.code != exitDone || !strings.HasPrefix(r.err, "note: the fabric could not be asked: ") {
		t.Errorf("outside: %+v", r)
	}
	// A pod that outlived the lease of its subnet (the node file knows it no more).
	slots, err := ipam.NewSlots(dir, ipam.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slots.Allocate(t.Context(), ipam.Claim{Attachment: ipam.Attachment{Container: "old", Interface: "eth0"}}, []netip.Prefix{prefix("10.244.7.0/24")}); err != nil {
		t.Fatal(err)
	}
	if row, r := showIP(t, env, "10.244.7.2"); row.State != addressInUse || !row.GivenUp || row.Attachment.Container != "old" || r.code != exitDone {
		t.Errorf("a subnet that was given up: %+v", r)
	}
	// Files that cannot be read fail what depends on them alone.
	path := filepath.Join(dir, "slots")
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, r := showIP(t, env, "10.244.1.7"); r.code != exitFailed || r.out != "" {
		t.Errorf("own address, no slots: %+v", r)
	}
	if row, r := showIP(t, env, "10.244.1.1"); row.State != addressGateway || r.code != exitDone {
		t.Errorf("gateway, no slots: %+v", r)
	}
}

func TestIPShowAsksEtcd(t *testing.T) {
	env := etcd(t)
	if _, r := showIP(t, env, "10.244.2.7"); r.code != exitFailed || !strings.Contains(r.err, "there is no Fabric yet") {
		t.Errorf("no fabric: %+v", r)
	}
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatalf("apply: %+v", r)
	}
	writeNodeFile(t, runDirOf(env))
	for addr, want := range map[string]string{"10.244.2.7": addressUnleased, "192.0.2.1": addressOutside, "10.244.1.7": addressUnused} {
		if row, r := showIP(t, env, addr); row.State != want || r.code != exitDone || r.err != "" {
			t.Errorf("%s: %+v", addr, r)
		}
	}
}
