package config

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

// peerNamed is a BGPPeer of which only the spec matters, in one line.
func peerNamed(name, spec string) string {
	return "---\napiVersion: weft/v1\nkind: BGPPeer\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

func prefixNamed(name, spec string) string {
	return "---\napiVersion: weft/v1\nkind: BGPPrefix\nmetadata: {name: " + name + "}\nspec: {" + spec + "}\n"
}

// fabricWith is a Fabric whose spec.bgp is given, in one line.
func fabricWith(bgp string) string {
	return "---\n" + head + "  network: {ipv4: 10.244.0.0/16}\n  reserved: [10.244.0.0/24]\n  backend: bgp\n  bgp: {" + bgp + "}\n"
}

// labelled are nodes n1, n2, ... with these labels.
func labelled(labels ...map[string]string) []*fabric.Peer {
	var out []*fabric.Peer
	for i, l := range labels {
		out = append(out, &fabric.Peer{Node: fabric.Node{Name: "n" + string(rune('1'+i)), Labels: l}})
	}
	return out
}

type labels = map[string]string

func TestCheckObjects(t *testing.T) {
	const (
		all  = "nodes: {}, peer: {gateways: all}, asn: external"
		mesh = "nodes: {}, peer: {nodes: {}}, asn: "
	)
	for _, c := range []struct {
		name, file string
		nodes      []*fabric.Peer
		want       string // kind name: path: text, one each line
	}{
		{"fine", fabricWith("") + peerNamed("a", all+", import: [tors-in]") + peerNamed("b", mesh+"external") + "---\n" +
			policyHead + "  - {action: reject, match: {peers: [a, 192.0.2.1]}}\n" + prefixNamed("p", "nodes: {}, prefixes: [203.0.113.1/32, 10.244.0.7/32]"), nil, ""},
		{"no policy", peerNamed("a", all+", import: [tors-in], export: [x]") + "---\n" + policyHead + "  - {action: reject}\n", nil,
			"BGPPeer a: spec.export[0]: there is no BGPPolicy x"},
		{"mistyped policy", peerNamed("a", all+", import: [tors-im]") + "---\n" + policyHead + "  - {action: reject}\n", nil,
			"BGPPeer a: spec.import[0]: there is no BGPPolicy tors-im (did you mean tors-in?)"},
		{"no peer", policyHead + "  - {action: reject, match: {peers: [tors]}}\n", nil,
			"BGPPolicy tors-in: spec.rules[0].match.peers[0]: there is no BGPPeer tors"},
		{"family", fabricWith("") + peerNamed("a", all+", families: [ipv4, ipv6]"), nil,
			"BGPPeer a: spec.families[1]: ipv6 is not a family of the fabric: its network.ipv6 is not set"},
		{"internal in many", fabricWith("") + peerNamed("a", mesh+"internal"), nil,
			"BGPPeer a: spec.asn: is internal, but the Fabric's bgp.asn is perNode: nobody else has a node's AS"},
		{"internal by a local AS", fabricWith("") + peerNamed("a", mesh+"internal, localASN: 65001"), nil, ""},
		{"external in one", fabricWith("asn: 65000") + peerNamed("a", mesh+"external"), nil,
			"BGPPeer a: spec.asn: is external, but the nodes' is 65000, by the Fabric's bgp.asn"},
		{"another in one", fabricWith("asn: 65000") + peerNamed("a", mesh+"65001"), nil,
			"BGPPeer a: spec.asn: is 65001, but the nodes' is 65000, by the Fabric's bgp.asn"},
		{"one in many", fabricWith("") + peerNamed("a", mesh+"65001"), nil,
			"BGPPeer a: spec.asn: is 65001, but the nodes' is perNode, by the Fabric's bgp.asn"},
		{"the same in one", fabricWith("asn: 65000") + peerNamed("a", mesh+"65000"), nil, ""},
		{"another to a switch", fabricWith("asn: 65000") + peerNamed("a", "nodes: {}, peer: {address: 198.18.0.1}, asn: 65001"), nil, ""},
		{"reflecting to another AS", fabricWith("asn: 65000") + peerNamed("a", "nodes: {}, peer: {address: 198.18.0.1}, asn: 65001, routeReflector: {clusterID: 1.1.1.1}"), nil,
			"BGPPeer a: spec.routeReflector: is set, but the far end is not in the nodes' AS, within which alone routes are reflected"},
		{"racks", fabricWith("asn: perLabel, asns: {r1: 65001}") + peerNamed("a", mesh+"internal"), nil, ""},
		{"keepalive", fabricWith("timers: {hold: 6s}") + peerNamed("a", all+", timers: {keepalive: 3s}"), nil,
			"BGPPeer a: spec.timers.keepalive: 3s is more than a third of the Fabric's hold (6s)"},
		{"keepalive with its hold", fabricWith("timers: {hold: 6s}") + peerNamed("a", all+", timers: {hold: 9s, keepalive: 3s}"), nil, ""},
		{"gateways twice", peerNamed("a", all) + peerNamed("b", "nodes: {rack: r1}, peer: {gateways: all}, asn: 65001"), nil,
			"BGPPeer b: spec.peer: BGPPeer a has the session of every node that both select with its gateways too"},
		{"gateways of two racks", peerNamed("a", "nodes: {rack: r1}, peer: {gateways: all}, asn: 1") + peerNamed("b", "nodes: {rack: r2}, peer: {gateways: all}, asn: 1"), nil, ""},
		{"gateways of two groups", peerNamed("a", "nodes: {rack: r1}, peer: {gateways: all}, asn: 1") + peerNamed("b", "nodes: {role: w}, peer: {gateways: all}, asn: 1"),
			labelled(labels{"rack": "r1"}, labels{"role": "w"}), ""},
		{"a node in two groups", peerNamed("a", "nodes: {rack: r1}, peer: {gateways: all}, asn: 1") + peerNamed("b", "nodes: {role: w}, peer: {gateways: all}, asn: 1"),
			labelled(labels{"rack": "r1"}, labels{"role": "w", "rack": "r1"}),
			"BGPPeer b: spec.peer: BGPPeer a has the session of node n2 with its gateways too"},
		{"an address twice", peerNamed("a", "nodes: {}, peer: {address: 192.0.2.1}, asn: 1") + peerNamed("b", "nodes: {}, peer: {address: 192.0.2.1}, asn: 1") +
			peerNamed("c", "nodes: {}, peer: {address: 192.0.2.2}, asn: 1"), nil,
			"BGPPeer b: spec.peer: BGPPeer a has the session of every node that both select with 192.0.2.1 too"},
		{"an interface twice", peerNamed("a", "nodes: {}, peer: {interface: eth1}, asn: 1") + peerNamed("b", "nodes: {}, peer: {interface: eth1}, asn: 1"), nil,
			"BGPPeer b: spec.peer: BGPPeer a has the session of every node that both select with eth1 too"},
		{"ranges", peerNamed("a", "nodes: {}, peer: {range: 198.18.0.0/16}, asn: 1") + peerNamed("b", "nodes: {}, peer: {range: 198.18.7.0/24}, asn: 1"), nil,
			"BGPPeer b: spec.peer: BGPPeer a has the session of every node that both select with 198.18.0.0/16 too"},
		{"two meshes", peerNamed("a", mesh+"external") + peerNamed("b", "nodes: {rack: r1}, peer: {nodes: {rack: r1}}, asn: external"),
			labelled(labels{"rack": "r1"}, labels{"rack": "r1"}, labels{}),
			"BGPPeer b: spec.peer: BGPPeer a has the session of node n1 with node n2 too"},
		{"a mesh of one", peerNamed("a", mesh+"external") + peerNamed("b", "nodes: {rack: r1}, peer: {nodes: {rack: r1}}, asn: external"),
			labelled(labels{"rack": "r1"}, labels{}), ""},
		{"both ends say it", peerNamed("a", "nodes: {role: c}, peer: {nodes: {role: r}}, asn: internal") + peerNamed("b", "nodes: {role: r}, peer: {nodes: {role: c}}, asn: internal"),
			labelled(labels{"role": "c"}, labels{"role": "r"}),
			"BGPPeer b: spec.peer: BGPPeer a has the session of node n2 with node n1 too"},
		{"reflectors and their mesh", peerNamed("a", "nodes: {role: c}, peer: {nodes: {role: r}}, asn: internal") + peerNamed("b", "nodes: {role: r}, peer: {nodes: {role: r}}, asn: internal"),
			labelled(labels{"role": "c"}, labels{"role": "r"}, labels{"role": "r"}), ""},
		{"what nodes lease", fabricWith("") + prefixNamed("p", "nodes: {}, prefixes: [10.244.3.7/32]"), nil,
			"BGPPrefix p: spec.prefixes[0]: 10.244.3.7/32 overlaps the fabric's network 10.244.0.0/16, which nodes lease from (list it under reserved in the Fabric)"},
		{"around what nodes lease", fabricWith("") + prefixNamed("p", "nodes: {}, prefixes: [10.0.0.0/8]"), nil,
			"BGPPrefix p: spec.prefixes[0]: 10.0.0.0/8 overlaps the fabric's network 10.244.0.0/16, which nodes lease from (list it under reserved in the Fabric)"},
		{"announced twice", prefixNamed("p", "nodes: {}, prefixes: [203.0.113.1/32]") + prefixNamed("q", "nodes: {role: dns}, prefixes: [203.0.113.2/32, 203.0.113.1/32]"), nil,
			"BGPPrefix q: spec.prefixes[1]: BGPPrefix p announces 203.0.113.1/32 too, on every node that both select"},
		{"announced by others", prefixNamed("p", "nodes: {role: a}, prefixes: [203.0.113.1/32]") + prefixNamed("q", "nodes: {role: b}, prefixes: [203.0.113.1/32]"), nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			objects, err := ParseObjects("f.yaml", []byte(c.file))
			if err != nil {
				t.Fatal(err)
			}
			var spec *fabric.Spec
			for _, o := range objects {
				if o.Fabric() != nil {
					spec = o.Fabric()
				}
			}
			var got []string
			for _, c := range CheckObjects(BGPOf(objects), spec, c.nodes) {
				got = append(got, c.Kind+" "+c.Name+": "+c.Path+": "+c.Text)
				if c.Missing != strings.HasPrefix(c.Text, "there is no ") {
					t.Errorf("missing: %t for %s", c.Missing, c.Text)
				}
			}
			if diff := cmp.Diff(c.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
	if got := CheckObjects(nil, nil, nil); got != nil {
		t.Errorf("of nothing: %v", got)
	}
}

func TestParseBGPFile(t *testing.T) {
	got, err := ParseBGPFile("bgp.yaml", []byte(peerNamed("b", "nodes: {}, peer: {gateways: all}, asn: 1")+peerNamed("a", "nodes: {}, peer: {gateways: all}, asn: 2")+"---\n"+fullPolicy+"---\n"+fullPrefix))
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Peers) != 2 || got.Peers[0].Name != "a" || got.Peers[0].Spec.ASN != "2" || got.Policies[0].Name != "tors-in" || got.Prefixes[0].Name != "dns" {
		t.Errorf("got %+v", got)
	}
	if got, err := ParseBGPFile("bgp.yaml", []byte("# nothing\n")); err != nil || got == nil || len(got.Peers) != 0 {
		t.Errorf("an empty file: got %+v, %v", got, err)
	}
	for _, c := range [][2]string{
		{fabricWith(""), "bgp.yaml:2: kind: a Fabric is the same for all hosts, apply it with weft apply -f bgp.yaml"},
		{peerNamed("a", "nodes: {}"), "bgp.yaml:5: spec.peer: is missing, want one of gateways, address, interface, nodes, range (like {gateways: all})"},
		{peerNamed("a", "node: {}"), "bgp.yaml:5: spec.node: unknown key (did you mean spec.nodes?)"},
	} {
		if _, err := ParseBGPFile("bgp.yaml", []byte(c[0])); errText(err) != c[1] {
			t.Errorf("got:  %s\nwant: %s", errText(err), c[1])
		}
	}
}

func TestParseCommunities(t *testing.T) {
	for text, want := range map[string]uint32{
		"65000:100": 65000<<16 | 100, "0:0": 0, "65535:65535": 1<<32 - 1,
		"no-export": 0xffffff01, "graceful-shutdown": 0xffff0000, "65535:0": 0xffff0000,
	} {
		if got, err := ParseCommunity(text); err != nil || got != want {
			t.Errorf("%s: got %#x, %v; want %#x", text, got, err, want)
		}
	}
	for _, text := range []string{"", ":", "1", "1:", ":1", "65536:1", "1:2:3", "+1:2", "1: 2", "No-Export"} {
		if got, err := ParseCommunity(text); err == nil {
			t.Errorf("%q is taken for %#x", text, got)
		}
	}
	if got, err := ParseLargeCommunity("4294967295:0:7"); err != nil || got != [3]uint32{1<<32 - 1, 0, 7} {
		t.Errorf("got %v, %v", got, err)
	}
	for _, text := range []string{"", "1:2", "1:2:3:4", "1:2:4294967296", "a:1:2", "1::2"} {
		if got, err := ParseLargeCommunity(text); err == nil {
			t.Errorf("%q is taken for %v", text, got)
		}
	}
}

func TestParseASPath(t *testing.T) {
	for _, c := range []struct {
		re, path string
		want     bool
	}{
		{"^65001_", "65001 65002", true}, {"^65001_", "650010", false}, {"_65002$", "65001 65002", true},
		{"^$", "", true}, {"_65002_", "65001 {65002,65003}", true}, {"^65001$", "65001 65001", false},
	} {
		re, err := ParseASPath(c.re)
		if err != nil || re.MatchString(c.path) != c.want {
			t.Errorf("%s on %q: want %t (%v)", c.re, c.path, c.want, err)
		}
	}
	if _, err := ParseASPath(strings.Repeat("1", 1025)); err == nil {
		t.Error("a long expression is accepted")
	}
}
