package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

// peerHead and its like are objects whose spec may follow; the first lines of
// peerHead hold what is needed, so that most cases are about one thing.
const (
	peerOnly = "apiVersion: weft/v1\nkind: BGPPeer\nmetadata: {name: tors}\nspec:\n"
	peerHead = peerOnly + "  nodes: {}\n  peer: {gateways: all}\n  asn: external\n" // 7 lines
)

const fullPeer = peerOnly + `  description: top of rack
  nodes: {rack: r1, example.net/role: worker}
  peer: {address: 198.18.1.1}
  asn: 65101
  localASN: 65001
  sourceAddress: 198.18.1.9
  port: 1179
  passive: true
  gtsm: 1
  auth: {md5File: /etc/weft/bgp/tors}
  timers: {hold: 30s, keepalive: 10s, connectRetry: 2s}
  maxPrefixes: 1000
  allowOwnASN: 1
  families: [ipv4, ipv6]
  nextHopSelf: true
  import: [tors-in]
  export: [tors-out, more]
  communities: ['65000:100', no-export]
  largeCommunities: ['65000:1:2']
  med: 0
  localPreference: 200
  prepend: 2
`

func pointer[T any](v T) *T { return &v }

func TestParsePeer(t *testing.T) {
	got, _ := parseOne(t, fullPeer).Spec.(*fabric.BGPPeerSpec)
	want := &fabric.BGPPeerSpec{
		Description: "top of rack", Nodes: fabric.Selector{"rack": "r1", "example.net/role": "worker"},
		Peer: fabric.BGPTarget{Address: netip.MustParseAddr("198.18.1.1")}, ASN: "65101", LocalASN: 65001,
		SourceAddress: netip.MustParseAddr("198.18.1.9"), Port: 1179, Passive: true, GTSM: 1,
		Auth: fabric.BGPAuth{MD5File: "/etc/weft/bgp/tors"}, Timers: fabric.BGPTimers{Hold: 30e9, Keepalive: 10e9, ConnectRetry: 2e9},
		MaxPrefixes: 1000, AllowOwnASN: 1, Families: []string{"ipv4", "ipv6"}, NextHopSelf: true,
		Import: []string{"tors-in"}, Export: []string{"tors-out", "more"},
		BGPAttributes: fabric.BGPAttributes{
			Communities: []string{"65000:100", "no-export"}, LargeCommunities: []string{"65000:1:2"},
			MED: pointer(uint32(0)), LocalPreference: pointer(uint32(200)), Prepend: 2,
		},
	}
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	small, _ := parseOne(t, peerHead).Spec.(*fabric.BGPPeerSpec)
	if small.Nodes == nil || small.Timers != (fabric.BGPTimers{}) || small.MED != nil {
		t.Errorf("the smallest peer says more than it does: %+v", small)
	}
}

// TestStoredObjects: what is stored of each kind is read back as it was, and
// what a newer version added is ignored.
func TestStoredObjects(t *testing.T) {
	for _, text := range []string{
		fullPeer, peerHead, fullPolicy, fullPrefix, routed,
		peerOnly + "  nodes: {role: client}\n  peer: {nodes: {role: reflector}}\n  asn: internal\n  routeReflector: {clusterID: 192.0.2.1}\n",
		peerOnly + "  nodes: {}\n  peer: {nodes: {}}\n  asn: external\n",
		peerOnly + "  nodes: {}\n  peer: {range: 198.18.0.0/16}\n  asn: external\n  multihop: 255\n",
	} {
		o := parseOne(t, text)
		raw, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		newer := []byte(string(raw[:len(raw)-2]) + `,"quantum":{"on":true}},"status":{}}`)
		for _, stored := range [][]byte{raw, newer} {
			got, err := DecodeObject(stored)
			if err != nil {
				t.Errorf("%s: %v", stored, err)
				continue
			}
			got.Where = o.Where
			if diff := cmp.Diff(o, got, cmpAddrs); diff != "" {
				t.Errorf("%s\n-written +read:\n%s", stored, diff)
			}
			if got.Key() != o.Key() {
				t.Errorf("got key %s, want %s", got.Key(), o.Key())
			}
		}
	}
}

func TestDecodeObjectRefuses(t *testing.T) {
	const peer = `{"apiVersion":"weft/v1","kind":"BGPPeer","metadata":{"name":"a"}`
	for _, c := range [][2]string{
		{"", "stored object: unexpected end of JSON input"},
		{"null", `stored object: kind: "" is not a kind that this version of weft knows`},
		{peer + "}", "stored BGPPeer: has no spec"},
		{peer + `,"spec":null}`, "stored BGPPeer: spec.nodes: is missing, want labels of nodes like {rack: r1}, or {} for every node"},
		{peer + `,"spec":{"nodes":{},"peer":{"gateways":"all"},"asn":"auto"}}`, `stored BGPPeer: spec.asn: "auto" is not an AS number (1 to 4294967294); want a number, external or internal`},
		{peer + `,"spec":{"nodes":[]}}`, "stored BGPPeer: json: cannot unmarshal array into Go struct field BGPPeerSpec.nodes of type fabric.Selector"},
		{`{"apiVersion":"weft/v2","kind":"BGPPeer","spec":{}}`, "stored object: apiVersion is \"weft/v2\", this version of weft knows weft/v1"},
		{`{"apiVersion":"weft/v1","kind":"Service"}`, `stored object: kind: "Service" is not a kind that this version of weft knows`},
	} {
		if _, err := DecodeObject([]byte(c[0])); errText(err) != c[1] {
			t.Errorf("%s\ngot:  %s\nwant: %s", c[0], errText(err), c[1])
		}
	}
	if _, err := DecodeObject(make([]byte, maxInput+1)); err == nil {
		t.Error("a huge object is read")
	}
	if kind, name := Head([]byte(peer + `,"spec":5}`)); kind != "BGPPeer" || name != "a" {
		t.Errorf("head: got %s %s", kind, name)
	}
	if kind, name := Head([]byte("{]")); kind != "" || name != "" {
		t.Errorf("head of garbage: got %s %s", kind, name)
	}
}

func TestBadPeers(t *testing.T) {
	refusals(t, peerOnly, [][2]string{
		{"  peer: {gateways: all}\n", "4: spec.nodes: is missing, want labels of nodes like {rack: r1}, or {} for every node"},
		{"  nodes: r1\n", "5: spec.nodes: is a single value, want pairs like {rack: r1}"},
		{"  nodes: [r1]\n", "5: spec.nodes: is a list, want pairs like {rack: r1}"},
		{"  nodes:\n    rack: [r1]\n", "6: spec.nodes.rack: is a list, want a single value"},
		{"  nodes:\n    rack: r/1\n", `6: spec.nodes.rack: "r/1" is not the value of a label (up to 63 letters, digits, dashes, dots, underscores)`},
		{"  nodes:\n    -rack: r1\n", `5: spec.nodes: "-rack" is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)`},
		{"  nodes: {}\n", "4: spec.peer: is missing, want one of gateways, address, interface, nodes, range (like {gateways: all})"},
		{"  nodes: {}\n  peer: {}\n", "6: spec.peer: is missing, want one of gateways, address, interface, nodes, range (like {gateways: all})"},
		{"  nodes: {}\n  peer:\n    gateways: all\n    interface: eth0\n", "8: spec.peer.interface: peer.gateways is set too, want one of them (an object each)"},
		{"  nodes: {}\n  peer: {nodes: {}, address: 192.0.2.1}\n", "6: spec.peer.nodes: peer.address is set too, want one of them (an object each)"},
		{"  nodes: {}\n  peer: {gateways: ipv4}\n", `6: spec.peer.gateways: "ipv4" is not supported, want all`},
		{"  nodes: {}\n  peer: {address: 198.18.1}\n", `6: spec.peer.address: "198.18.1" is not an IP address (like 192.0.2.1 or 2001:db8::1)`},
		{"  nodes: {}\n  peer: {address: 'fe80::1'}\n", "6: spec.peer.address: fe80::1 is link-local, which needs the interface (set interface instead)"},
		{"  nodes: {}\n  peer: {address: 0.0.0.0}\n", "6: spec.peer.address: 0.0.0.0 is not an address that a neighbour has"},
		{"  nodes: {}\n  peer: {address: '::ffff:192.0.2.1'}\n", "6: spec.peer.address: ::ffff:192.0.2.1 is an IPv4 address written as IPv6 (did you mean 192.0.2.1?)"},
		{"  nodes: {}\n  peer: {interface: a/b}\n", `6: spec.peer.interface: "a/b" is not the name of an interface (up to 15 characters, like eth0)`},
		{"  nodes: {}\n  peer: {range: 198.18.0.1/16}\n", "6: spec.peer.range: 198.18.0.1/16 has host bits set (did you mean 198.18.0.0/16?)"},
		{"  nodes: {}\n  peer: {nodes: {a b: c}}\n", `6: spec.peer.nodes: "a b" is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)`},
		{"  nodes: {}\n  peer: {gateways: all}\n", "4: spec.asn: is missing, want the number of the far end, external or internal"},
		{"  nodes: {}\n  peer: {gateways: all}\n  asn: extern\n", `7: spec.asn: "extern" is not an AS number (1 to 4294967294); want a number, external or internal (did you mean external?)`},
		{"  nodes: {}\n  peer: {gateways: all}\n  asn: 0\n", "7: spec.asn: AS 0 belongs to nobody (RFC 7607); want a number, external or internal"},
		{"  nodes: {}\n  peer: {range: 198.18.0.0/16}\n  asn: external\n  port: 1179\n", "8: spec.port: is set, but sessions of peer.range are started by the far end"},
		{"  nodes: {}\n  peer: {range: 198.18.0.0/16}\n  asn: external\n  timers: {connectRetry: 5s}\n", "8: spec.timers.connectRetry: is set, but sessions of peer.range are started by the far end"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: external\n  passive: true\n", "8: spec.passive: is set, but nodes settle among themselves who starts a session"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: external\n  localASN: 65001\n", "7: spec.asn: is external, but localASN holds for both ends of sessions between nodes, want internal"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: external\n  routeReflector: {clusterID: 192.0.2.1}\n", "7: spec.asn: is external, but routes are only reflected within an AS (RFC 4456), want internal"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: internal\n  routeReflector: {}\n", "8: spec.routeReflector.clusterID: is missing, want a number in the form of an IPv4 address, the same for all reflectors of these nodes (like 192.0.2.1)"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: internal\n  routeReflector:\n    clusterID: 'fd00::1'\n", "9: spec.routeReflector.clusterID: fd00::1 is not a cluster id (in the form of an IPv4 address, like 192.0.2.1)"},
		{"  nodes: {}\n  peer: {nodes: {}}\n  asn: internal\n  routeReflector: {clusterID: 0.0.0.0}\n", "8: spec.routeReflector.clusterID: 0.0.0.0 is not a cluster id (in the form of an IPv4 address, like 192.0.2.1)"},
		{"  nodes: {}\n  peer: {interface: eth0}\n  asn: external\n  multihop: 2\n", "8: spec.multihop: is set, but the neighbour at peer.interface is on the same link"},
		{"  nodes: {}\n  peer: {interface: eth0}\n  asn: external\n  sourceInterface: eth1\n", "8: spec.sourceInterface: is set, but peer.interface says it already"},
		{"  nodes: {}\n  peer: {address: 198.18.1.1}\n  asn: external\n  sourceAddress: 'fd00::1'\n", "8: spec.sourceAddress: fd00::1 and peer.address 198.18.1.1 are not of one family"},
	})
	refusals(t, peerHead, [][2]string{
		{"  password: hunter2\n", "8: spec.password: unknown key"},
		{"  auth: {password: hunter2}\n", "8: spec.auth.password: unknown key"},
		{"  auth: {md5File: hunter2}\n", "8: spec.auth.md5File: is not an absolute path, want the file on the nodes that holds the password"},
		{"  localAsn: 65001\n", "8: spec.localAsn: unknown key (did you mean spec.localASN?)"},
		{"  localASN: 23456\n", "8: spec.localASN: AS 23456 stands for numbers that an old speaker cannot write (AS_TRANS, RFC 6793)"},
		{"  comunities: []\n", "8: spec.comunities: unknown key (did you mean spec.communities?)"}, // of the embedded struct
		{"  sourceAddress: 192.0.2.1\n  sourceInterface: eth0\n", "9: spec.sourceInterface: sourceAddress is set too, want one of them"},
		{"  sourceAddress: 224.0.0.1\n", "8: spec.sourceAddress: 224.0.0.1 is not an address that a neighbour has"},
		{"  sourceInterface: a/b\n", `8: spec.sourceInterface: "a/b" is not the name of an interface (up to 15 characters, like eth0)`},
		{"  multihop: 2\n  gtsm: 1\n", "9: spec.gtsm: multihop is set too, want one of them (gtsm: 3 accepts what is up to 3 hops away)"},
		{"  multihop: 1\n", "8: spec.multihop: 1 is what a session has anyway (2 to 255, or leave it out)"},
		{"  multihop: 256\n", `8: spec.multihop: "256" is not a number from 0 to 255`},
		{"  gtsm: 255\n", "8: spec.gtsm: 255 is out of range (1 for a neighbour on the same link, up to 254)"},
		{"  allowOwnASN: 11\n", "8: spec.allowOwnASN: 11 is out of range (0 to 10)"},
		{"  families: [ipv4, ipv5]\n", `8: spec.families[1]: "ipv5" is not a family, want ipv4 or ipv6`},
		{"  families: [ipv4, ipv4]\n", "8: spec.families[1]: ipv4 is listed twice"},
		{"  routeReflector: {clusterID: 192.0.2.1}\n", "8: spec.routeReflector: is set, but peer has neither nodes, which picks the reflectors, nor an address or range of clients"},
		{"  import: [A]\n", `8: spec.import[0]: "A" is not the name of a BGPPolicy`},
		{"  import: tors-in\n", "8: spec.import: is a single value, want a list"},
		{"  export: [a, b, a]\n", "8: spec.export[2]: a is listed twice"},
		{"  description: \"a\\nb\"\n", "8: spec.description: is not one line of up to 255 bytes"},
		{"  timers: {hold: 0s}\n", "8: spec.timers.hold: 0s has no meaning (leave it out to get the default)"},
		{"  timers: {hold: 6s, keepalive: 3s}\n", "8: spec.timers.keepalive: 3s is more than a third of hold (6s): one that is late would end the session"},
		{"  localPreference: 100\n", "8: spec.localPreference: is not sent to another AS (RFC 4271, section 5.1.5)"},
		{"  med: -1\n", `8: spec.med: "-1" is not a number from 0 to 4294967295`},
		{"  med: {}\n", "8: spec.med: is a section of keys, want a single value"},
		{"  med:\n", "8: spec.med: has no value (leave it out to get the default)"},
		{"  prepend: 33\n", "8: spec.prepend: 33 is out of range (0 to 32)"},
		{"  communities:\n  - '65000:1'\n  - 65000:65536\n", `10: spec.communities[1]: "65000:65536" is not a community (like 65000:100 or no-export)`},
		{"  communities: [no-exprot]\n", `8: spec.communities[0]: "no-exprot" is not a community (like 65000:100 or no-export) (did you mean no-export?)`},
		{"  communities: ['65535:0', graceful-shutdown]\n", "8: spec.communities[1]: graceful-shutdown is listed twice"},
		{"  largeCommunities: ['1:2']\n", `8: spec.largeCommunities[0]: "1:2" is not a large community (three numbers, like 65000:1:2)`},
		{"---\n" + peerHead, "9: the same object is at f.yaml:1 already: a fabric has one BGPPeer tors"},
	})
}
