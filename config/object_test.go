package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

const head = "apiVersion: weft/v1\nkind: Fabric\nmetadata: {name: prod}\nspec:\n" // 4 lines

const full = `# The whole fabric.
apiVersion: weft/v1
kind: Fabric
metadata:
  name: prod
spec:
  network:
    ipv4: 10.244.0.0/16
    ipv6: fd00:10:244::/48
  subnetLength: {ipv4: 25, ipv6: 72}
  reserved: [10.244.0.0/20]
  backend: vxlan
  vxlan:
    vni: 77
    port: 8472
    directRouting: false
    mtu: 1400
    udpChecksum: true
  masquerade:
    enabled: false
    except:
      - 192.0.2.0/24
  lease:
    ttl: 48h
    liveness: 10s
  addresses: {minFree: 25, maxSubnets: 4, returnAfter: 1h}
`

const fullJSON = `{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"prod"},"spec":{` +
	`"network":{"ipv4":"10.244.0.0/16","ipv6":"fd00:10:244::/48"},"subnetLength":{"ipv4":25,"ipv6":72},` +
	`"reserved":["10.244.0.0/20"],"backend":"vxlan","vxlan":{"vni":77,"port":8472,"directRouting":false,"mtu":1400,"udpChecksum":true},"probe":{"port":7158},` +
	`"masquerade":{"enabled":false,"except":["192.0.2.0/24"]},"lease":{"ttl":"48h","liveness":"10s"},` +
	`"addresses":{"minFree":25,"maxSubnets":4,"returnAfter":"1h"}}}`

// parseOne parses a file that holds one object.
func parseOne(t *testing.T, text string) Object {
	t.Helper()
	list, err := ParseObjects("fabric.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if len(list) != 1 {
		t.Fatalf("got %d objects, want 1", len(list))
	}
	return list[0]
}

func TestParseObjectYAMLAndJSON(t *testing.T) {
	fromYAML, fromJSON := parseOne(t, full), parseOne(t, fullJSON)
	if diff := cmp.Diff(fromYAML.Fabric(), fromJSON.Fabric(), cmpAddrs); diff != "" {
		t.Errorf("JSON differs from YAML:\n%s", diff)
	}
	stored, err := fromYAML.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fullJSON, string(stored)); diff != "" {
		t.Errorf("stored form (-want +got):\n%s", diff)
	}
	if fromYAML.Key() != "fabric" || fromYAML.Metadata.Name != "prod" || fromYAML.Where != "fabric.yaml:2" {
		t.Errorf("got key %s, name %s, read at %s", fromYAML.Key(), fromYAML.Metadata.Name, fromYAML.Where)
	}
}

func TestObjectDefaults(t *testing.T) {
	got := parseOne(t, head+"  network: {ipv4: 10.0.0.0/8, ipv6: 'fd00::/32'}\n").Fabric()
	want := &fabric.Spec{
		SubnetLength: fabric.PerFamily[int]{IPv4: 24, IPv6: 64},
		Backend:      "vxlan",
		VXLAN:        fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true},
		BGP:          parseOne(t, routed).Fabric().BGP, // TestBGPDefaults has it
		Probe:        fabric.ProbeSpec{Port: 7158},
		Masquerade:   fabric.MasqueradeSpec{Enabled: true},
		Lease:        fabric.LeaseSpec{TTL: fabric.Duration(24 * time.Hour), Liveness: fabric.Duration(15 * time.Second)},
		Addresses:    fabric.AddressSpec{MinFree: 10, MaxSubnets: 8, ReturnAfter: fabric.Duration(30 * time.Minute)},
	}
	want.Network = got.Network
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	one := parseOne(t, head+"  network: {ipv6: 'fd00::/32'}\n").Fabric()
	if want := (fabric.PerFamily[int]{IPv6: 64}); one.SubnetLength != want {
		t.Errorf("a family without network has a subnet length: %+v", one.SubnetLength)
	}
}

func TestBadObjects(t *testing.T) {
	v4 := head + "  network: {ipv4: 10.244.0.0/16}\n" // 5 lines
	for _, c := range []struct{ name, file, want string }{
		{"empty", "# nothing\n", "fabric.yaml: holds no object (want apiVersion, kind, metadata and spec)"},
		{"garbage", "\x00\x01", "fabric.yaml:1: is a single value, want a section of keys"},
		{"list", "- a\n", "fabric.yaml:1: is a single value, want a section of keys"},
		{"list of lists", "- - a\n", "fabric.yaml:1: is a list, want a section of keys"},
		{"empty list", "[]\n", "fabric.yaml: holds no object (want apiVersion, kind, metadata and spec)"},
		{"truncated JSON", fullJSON[:len(fullJSON)-1], "fabric.yaml:1: could not find flow mapping end token '}'"},
		{"no apiVersion", "kind: Fabric\n", "fabric.yaml:1: apiVersion: is missing, want weft/v1"},
		{"another apiVersion", "kind: Fabric\napiVersion: v1\n", `fabric.yaml:2: apiVersion: "v1" is not supported, want weft/v1`},
		{"no kind", "apiVersion: weft/v1\n", "fabric.yaml:1: kind: is missing, want Fabric, BGPPeer, BGPPolicy or BGPPrefix"},
		{"unknown kind", "apiVersion: weft/v1\nkind: fabric\n", `fabric.yaml:2: kind: "fabric" is not a kind that this version of weft knows (did you mean Fabric?)`},
		{"nearly a kind", "apiVersion: weft/v1\nkind: BGPpeers\n", `fabric.yaml:2: kind: "BGPpeers" is not a kind that this version of weft knows (did you mean BGPPeer?)`},
		{"no name", "apiVersion: weft/v1\nkind: Fabric\nspec: {}\n", "fabric.yaml:1: metadata.name: is missing"},
		{"name", "apiVersion: weft/v1\nkind: Fabric\nmetadata:\n  name: a/b\n", `fabric.yaml:4: metadata.name: "a/b" is not a name (lower-case letters, digits, dashes)`},
		{"no spec", "apiVersion: weft/v1\nkind: Fabric\nmetadata: {name: a}\n", "fabric.yaml:1: spec: is missing"},
		{"empty spec", head, "fabric.yaml:4: spec: is missing"},
		{"unknown key", v4 + "  vxlan:\n    vin: 3\n", "fabric.yaml:7: spec.vxlan.vin: unknown key (did you mean spec.vxlan.vni?)"},
		{"unknown top key", v4 + "spce: {}\n", "fabric.yaml:6: spce: unknown key (did you mean spec?)"},
		{"label", "metadata: {name: a, labels: {}}\n", "fabric.yaml:1: metadata.labels: unknown key"},
		{"text for a number", v4 + "  vxlan: {port: vxlan}\n", `fabric.yaml:6: spec.vxlan.port: "vxlan" is not a number from 0 to 65535`},
		{"quoted number", v4 + "  vxlan: {port: '4789'}\n", `fabric.yaml:6: spec.vxlan.port: "4789" is text, want a number from 0 to 65535 without quotes`},
		{"fraction", v4 + "  vxlan: {vni: 1.5}\n", `fabric.yaml:6: spec.vxlan.vni: "1.5" is not a number from 0 to 4294967295`},
		{"hexadecimal", v4 + "  vxlan: {vni: 0x10}\n", `fabric.yaml:6: spec.vxlan.vni: "0x10" is not a number from 0 to 4294967295`},
		{"negative", v4 + "  vxlan: {vni: -1}\n", `fabric.yaml:6: spec.vxlan.vni: "-1" is not a number from 0 to 4294967295`},
		{"overflow", v4 + "  vxlan: {port: 70000}\n", `fabric.yaml:6: spec.vxlan.port: "70000" is not a number from 0 to 65535`},
		{"text for a boolean", v4 + "  masquerade: {enabled: on}\n", `fabric.yaml:6: spec.masquerade.enabled: "on" is not true or false`},
		{"quoted boolean", v4 + "  masquerade: {enabled: 'true'}\n", `fabric.yaml:6: spec.masquerade.enabled: "true" is text, want true or false without quotes`},
		{"section for text", v4 + "  backend: {type: vxlan}\n", `fabric.yaml:6: spec.backend: is a section of keys, want a single value (a value with colons may need quotes)`},
		{"text for a list", v4 + "  reserved: 10.244.0.0/24\n", "fabric.yaml:6: spec.reserved: is a single value, want a list"},
		{"null", v4 + "  reserved: null\n", "fabric.yaml:6: spec.reserved: has no value (leave it out to get the default)"},
		{"no network", head + "  backend: vxlan\n", "fabric.yaml:4: spec.network: is missing, want ipv4, ipv6 or both (like {ipv4: 10.244.0.0/16})"},
		{"not a network", head + "  network:\n    ipv4: 10.244.0.0\n", `fabric.yaml:6: spec.network.ipv4: "10.244.0.0" is not a network (like 10.244.0.0/16 or fd00:10:244::/48)`},
		{"empty network", head + "  network: {ipv4: ''}\n", "fabric.yaml:5: spec.network.ipv4: is empty (leave it out to get the default)"},
		{"host bits", head + "  network: {ipv4: 10.244.1.0/16}\n", "fabric.yaml:5: spec.network.ipv4: 10.244.1.0/16 has host bits set (did you mean 10.244.0.0/16?)"},
		{"family", head + "  network: {ipv4: 'fd00::/48'}\n", "fabric.yaml:5: spec.network.ipv4: fd00::/48 is ipv6, it belongs under network.ipv6"},
		{"other family", head + "  network: {ipv6: 10.0.0.0/8}\n", "fabric.yaml:5: spec.network.ipv6: 10.0.0.0/8 is ipv4, it belongs under network.ipv4"},
		{"mapped", head + "  network: {ipv6: '::ffff:10.0.0.0/104'}\n", "fabric.yaml:5: spec.network.ipv6: is an IPv4 network written as IPv6 (did you mean 10.0.0.0/8?)"},
		{"multicast", head + "  network: {ipv4: 239.0.0.0/8}\n", "fabric.yaml:5: spec.network.ipv4: 239.0.0.0/8 holds 224.0.0.0/4 (multicast), which pods cannot have"},
		{"loopback", head + "  network: {ipv4: 127.1.0.0/16}\n", "fabric.yaml:5: spec.network.ipv4: 127.1.0.0/16 holds 127.0.0.0/8 (loopback), which pods cannot have"},
		{"link-local", head + "  network: {ipv6: 'fe80::/64'}\n", "fabric.yaml:5: spec.network.ipv6: fe80::/64 holds fe80::/10 (link-local), which pods cannot have"},
		{"everything", head + "  network: {ipv4: 0.0.0.0/0}\n", "fabric.yaml:5: spec.network.ipv4: 0.0.0.0/0 holds 0.0.0.0/8 (this network), which pods cannot have"},
		{"everything v6", head + "  network: {ipv6: '::/0'}\n", "fabric.yaml:5: spec.network.ipv6: ::/0 holds ::/8 (loopback and other special addresses), which pods cannot have"},
		{"no subnet", head + "  network: {ipv4: 10.0.0.0/25}\n", "fabric.yaml:4: spec.subnetLength.ipv4: 24 leaves no subnet: the network 10.0.0.0/25 is smaller than one node's /24"},
		{"no room", v4 + "  subnetLength:\n    ipv4: 31\n", "fabric.yaml:7: spec.subnetLength.ipv4: 31 leaves no room for pods, the longest is 30"},
		{"no room v6", head + "  network: {ipv6: 'fd00::/48'}\n  subnetLength: {ipv6: 127}\n", "fabric.yaml:6: spec.subnetLength.ipv6: 127 leaves no room for pods, the longest is 126"},
		{"negative length", v4 + "  subnetLength: {ipv4: -1}\n", "fabric.yaml:6: spec.subnetLength.ipv4: -1 leaves no subnet: the network 10.244.0.0/16 is smaller than one node's /-1"},
		{"tiny network", head + "  network: {ipv4: 10.0.0.0/31}\n", "fabric.yaml:5: spec.network.ipv4: 10.0.0.0/31 is too small, a node's subnet alone has a /30 or more"},
		{"length without network", v4 + "  subnetLength: {ipv6: 64}\n", "fabric.yaml:6: spec.subnetLength.ipv6: is set, but network.ipv6 is not"},
		{"reserved outside", v4 + "  reserved:\n  - 10.244.1.0/24\n  - 10.1.0.0/24\n", "fabric.yaml:8: spec.reserved[1]: 10.1.0.0/24 is not in the fabric's network, so nothing of it would be leased anyway"},
		{"reserved host bits", v4 + "  reserved: [10.244.1.1/24]\n", "fabric.yaml:6: spec.reserved[0]: 10.244.1.1/24 has host bits set (did you mean 10.244.1.0/24?)"},
		{"reserved twice", v4 + "  reserved:\n  - 10.244.0.0/20\n  - 10.244.3.0/24\n", "fabric.yaml:8: spec.reserved[1]: 10.244.3.0/24 overlaps 10.244.0.0/20, which is listed before it"},
		{"all reserved", v4 + "  reserved: [10.244.0.0/16]\n", "fabric.yaml:6: spec.reserved[0]: 10.244.0.0/16 leaves no subnet of 10.244.0.0/16"},
		{"backend", v4 + "  backend: geneve\n", `fabric.yaml:6: spec.backend: "geneve" is not a backend, want vxlan or bgp`},
		{"vni 0", v4 + "  vxlan: {vni: 0}\n", "fabric.yaml:6: spec.vxlan.vni: 0 is out of range (1 to 16777215)"},
		{"vni 2^24", v4 + "  vxlan: {vni: 16777216}\n", "fabric.yaml:6: spec.vxlan.vni: 16777216 is out of range (1 to 16777215)"},
		{"port 0", v4 + "  vxlan: {port: 0}\n", "fabric.yaml:6: spec.vxlan.port: 0 is not a UDP port (1 to 65535)"},
		{"mtu", v4 + "  vxlan: {mtu: 500}\n", "fabric.yaml:6: spec.vxlan.mtu: 500 is out of range for ipv4 (576 to 65465, or 0 to choose by the underlay's)"},
		{"mtu v6", head + "  network: {ipv6: 'fd00::/48'}\n  vxlan: {mtu: 1279}\n", "fabric.yaml:6: spec.vxlan.mtu: 1279 is out of range for ipv6 (1280 to 65465, or 0 to choose by the underlay's)"},
		{"mtu too large", v4 + "  vxlan: {mtu: 65500}\n", "fabric.yaml:6: spec.vxlan.mtu: 65500 is out of range for ipv4 (576 to 65465, or 0 to choose by the underlay's)"},
		{"except", v4 + "  masquerade: {except: [192.0.2.1/24]}\n", "fabric.yaml:6: spec.masquerade.except[0]: 192.0.2.1/24 has host bits set (did you mean 192.0.2.0/24?)"},
		{"liveness", v4 + "  lease: {liveness: 1s}\n", "fabric.yaml:6: spec.lease.liveness: 1s is too short, etcd keeps no lease under 2s"},
		{"liveness fraction", v4 + "  lease: {liveness: 2500ms}\n", "fabric.yaml:6: spec.lease.liveness: 2.5s is not whole seconds"},
		{"ttl", v4 + "  lease: {ttl: 15s}\n", "fabric.yaml:6: spec.lease.ttl: 15s is not longer than lease.liveness (15s): a node that stops would lose its subnet at once"},
		{"ttl fraction", v4 + "  lease: {ttl: 20500ms}\n", "fabric.yaml:6: spec.lease.ttl: 20.5s is not whole seconds"},
		{"ttl too long", v4 + "  lease: {ttl: 100000h}\n", "fabric.yaml:6: spec.lease.ttl: 100000h is more than 10 years"},
		{"ttl without unit", v4 + "  lease: {ttl: 24}\n", `fabric.yaml:6: spec.lease.ttl: "24" is not a duration (want a number with a unit, like 15s or 24h)`},
		{"same object twice", v4 + "---\n" + v4, "fabric.yaml:7: the same object is at fabric.yaml:1 already: a fabric has one Fabric"},
		{"error in a later document", "---\n" + v4 + "---\nkind: Fabric\n\nx: 1\n", "fabric.yaml:10: x: unknown key"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := ParseObjects("fabric.yaml", []byte(c.file))
			if errText(err) != c.want {
				t.Errorf("got:  %s\nwant: %s", errText(err), c.want)
			}
		})
	}
}

func TestLongestAndShortestAreAccepted(t *testing.T) {
	for _, text := range []string{
		"  network: {ipv4: 10.0.0.0/30}\n  subnetLength: {ipv4: 30}\n",
		"  network: {ipv6: 'fd00::/126'}\n  subnetLength: {ipv6: 126}\n",
		"  network: {ipv4: 10.0.0.0/24}\n", // one subnet, one node
		"  network: {ipv4: 10.0.0.0/8}\n  vxlan: {vni: 16777215, port: 65535, mtu: 576}\n",
		"  network: {ipv6: 'fd00::/48'}\n  vxlan: {mtu: 1280}\n  lease: {ttl: 3s, liveness: 2s}\n",
		"  network: {ipv4: 240.0.0.0/8}\n  masquerade: {except: [0.0.0.0/0]}\n",
	} {
		if _, err := ParseObjects("fabric.yaml", []byte(head+text)); err != nil {
			t.Errorf("%s%v", text, err)
		}
	}
}

func TestKindFor(t *testing.T) {
	for _, word := range []string{"fabric", "fabrics", "Fabric"} {
		if k, err := KindFor(word); err != nil || k.Name != "Fabric" {
			t.Errorf("%s: got %s, %v", word, k.Name, err)
		}
	}
	_, err := KindFor("fabrik")
	if want := `"fabrik" is not a kind of object (did you mean fabric?)`; errText(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
