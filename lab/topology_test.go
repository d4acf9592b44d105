package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParseTopology(t *testing.T) {
	both := []string{"ipv4", "ipv6"}
	got, err := ParseTopology([]byte(`
racks: [{name: a}, {name: b, mtu: 9000}]
hosts:
  - {name: h1}
  - {name: h2, rack: b, families: [ipv6]}
  - {name: h3, rack: b, mtu: 1400}
pods: [{name: p1, host: h2}]
etcd: {members: 3, tls: true}
fabric: {backend: vxlan, vxlan: {vni: 7}}
`))
	if err != nil {
		t.Fatal(err)
	}
	want := Topology{
		Racks: []Rack{
			{Name: "a", MTU: 1500, ToRs: []SwitchSpec{{"a", KindNone, 64901}}},
			{Name: "b", MTU: 9000, ToRs: []SwitchSpec{{"b", KindNone, 64902}}},
		},
		Spines:   []SwitchSpec{{"spine", KindNone, 64900}},
		Underlay: UnderlayStatic,
		Hosts: []HostSpec{
			{Name: "h1", Rack: "a", Families: both, MTU: 1500},
			{Name: "h2", Rack: "b", Families: []string{"ipv6"}, MTU: 9000},
			{Name: "h3", Rack: "b", Families: both, MTU: 1400},
		},
		Pods:   []PodSpec{{"p1", "h2"}},
		Etcd:   EtcdSpec{Server: "auto", Members: 3, TLS: true},
		Fabric: map[string]any{"backend": "vxlan", "vxlan": map[string]any{"vni": uint64(7)}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

// TestLabelsOfHosts: BGP objects select nodes by the rack.
func TestLabelsOfHosts(t *testing.T) {
	got, err := ParseTopology([]byte("hosts: [{name: h1, labels: {role: x}}, {name: h2}, {name: h3, labels: {rack: own}}]\nbgp: [{kind: BGPPeer}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := []map[string]string{{"role": "x", "rack": "r1"}, {"rack": "r1"}, {"rack": "own"}}
	for i, h := range got.Hosts {
		if d := cmp.Diff(want[i], h.Labels); d != "" {
			t.Errorf("%s: -want +got\n%s", h.Name, d)
		}
	}
}

func TestTopologyDefault(t *testing.T) {
	var got Topology
	if err := got.Complete(); err != nil {
		t.Fatal(err)
	}
	var racks []string
	for _, h := range got.Hosts {
		racks = append(racks, h.Name+" in "+h.Rack)
	}
	if d := cmp.Diff([]string{"h1 in r1", "h2 in r1", "h3 in r2"}, racks); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func TestTopologyRefuses(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"unknown key", "hosts:\n- name: h1\n  colour: red\n", `[3:3] unknown field "colour"`},
		{"not YAML", "hosts: [", "[1:8]"},
		{"unknown rack", "racks: [{name: a}]\nhosts: [{name: h1, rack: b}]", `host h1: there is no rack "b"`},
		{"name twice", "hosts: [{name: h1}, {name: h1}]", `host "h1": the name is taken`},
		{"host named as a rack", "hosts: [{name: a, rack: a}]", `host "a": the name is taken`},
		{"reserved name", "hosts: [{name: spine}]", `host "spine": the name is taken`},
		{"long name", "hosts: [{name: abcdefghijklm}]", "at most 12"},
		{"capital", "hosts: [{name: H1}]", "lower-case"},
		{"family", "hosts: [{name: h1, families: [ipx]}]", `family "ipx"`},
		{"mtu", "hosts: [{name: h1, mtu: 500}]", "mtu 500 is not between 1280 and 65535"},
		{"pod without host", "pods: [{name: p, host: x}]", `pod p: there is no host "x"`},
		{"etcd server", "etcd: {server: consul}", `etcd server "consul"`},
		{"etcd members", "etcd: {members: 4}", "want 1 to 3"},
		{"kind", "racks: [{name: a, tors: [{name: t, kind: ios}]}]\nhosts: [{name: h}]", `switch t: kind "ios"`},
		{"three ToRs", "racks: [{name: a, tors: [{name: t}, {name: u}, {name: v}]}]\nhosts: [{name: h}]", "3 ToRs are more than 2"},
		{"two static spines", "spines: [{name: s}, {name: t}]", "2 spines: want one"},
		{"switch without daemon", "underlay: bgp", "switch spine: with underlay: bgp it needs a kind"},
		{"underlay", "underlay: ospf", `underlay "ospf": want static, bgp or mixed`},
		{"switch named as a host", "spines: [{name: h1, kind: frr}]", `host "h1": the name is taken`},
	} {
		_, err := ParseTopology([]byte(tt.in))
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\n") {
			t.Errorf("%s: got %v, want one line with %q", tt.name, err, tt.want)
		}
	}
}
