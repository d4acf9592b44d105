package config

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

func TestDecodeFabricReadsWhatIsStored(t *testing.T) {
	for _, text := range []string{full, head + "  network: {ipv4: 10.0.0.0/8}\n"} {
		o := parseOne(t, text)
		stored, err := o.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := DecodeFabric(stored)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(o.Fabric(), got, cmpAddrs); diff != "" {
			t.Errorf("-written +read:\n%s", diff)
		}
		again, err := DecodeObject(stored)
		if err != nil {
			t.Fatal(err)
		}
		o.Where = ""
		if diff := cmp.Diff(o, again, cmpAddrs); diff != "" {
			t.Errorf("-written +read as object:\n%s", diff)
		}
	}
}

// stored wraps a spec as it might be stored by another version.
func stored(spec string) string {
	return `{"apiVersion":"weft/v1","kind":"Fabric","metadata":{"name":"a","labels":{"x":"y"}},"spec":` + spec + `,"status":{}}`
}

func TestDecodeFabricIgnoresWhatANewerVersionWrote(t *testing.T) {
	got, err := DecodeFabric([]byte(stored(`{"network":{"ipv4":"10.0.0.0/8","ipv9":"x"},"quantum":true,"vxlan":{"vni":7,"gbp":true}}`)))
	if err != nil {
		t.Fatal(err)
	}
	want := parseOne(t, head+"  network: {ipv4: 10.0.0.0/8}\n  vxlan: {vni: 7}\n").Fabric()
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestDecodeFabricRefuses(t *testing.T) {
	for _, c := range []struct{ name, data, want string }{
		{"empty", "", "fabric: not a JSON object: unexpected end of JSON input"},
		{"garbage", "\x00\xff", `fabric: not a JSON object: invalid character '\x00' looking for beginning of value`},
		{"null", "null", `fabric: kind is "", want Fabric`},
		{"list", "[]", "fabric: not a JSON object: json: cannot unmarshal array into Go value of type struct"},
		{"truncated", stored("{}")[:50], "fabric: not a JSON object: unexpected end of JSON input"},
		{"kind", `{"apiVersion":"weft/v1","kind":"BGPPeer"}`, `fabric: kind is "BGPPeer", want Fabric`},
		{"version", `{"apiVersion":"weft/v2","kind":"Fabric"}`, `fabric: apiVersion is "weft/v2", this version of weft knows weft/v1`},
		{"no spec", `{"apiVersion":"weft/v1","kind":"Fabric"}`, "fabric: has no spec"},
		{"null spec", stored("null"), "fabric: spec.network: is missing, want ipv4, ipv6 or both (like {ipv4: 10.244.0.0/16})"},
		{"type", stored(`{"vxlan":{"vni":"7"}}`), "fabric: spec: json: cannot unmarshal string into Go struct field VXLANSpec.vxlan.vni of type uint32"},
		{"default route", stored(`{"network":{"ipv4":"0.0.0.0/0"}}`), "fabric: spec.network.ipv4: 0.0.0.0/0 holds 0.0.0.0/8 (this network), which pods cannot have"},
		{"host bits", stored(`{"network":{"ipv4":"10.0.0.1/8"}}`), "fabric: spec.network.ipv4: 10.0.0.1/8 has host bits set (did you mean 10.0.0.0/8?)"},
		{"backend of a newer version", stored(`{"network":{"ipv4":"10.0.0.0/8"},"backend":"geneve"}`), `fabric: spec.backend: "geneve" is not a backend, want vxlan or bgp`},
		{"vni", stored(`{"network":{"ipv4":"10.0.0.0/8"},"vxlan":{"vni":0}}`), "fabric: spec.vxlan.vni: 0 is out of range (1 to 16777215)"},
		{"liveness", stored(`{"network":{"ipv4":"10.0.0.0/8"},"lease":{"liveness":"0s"}}`), "fabric: spec.lease.liveness: 0s is too short, etcd keeps no lease under 2s"},
		{"free share", stored(`{"network":{"ipv4":"10.0.0.0/8"},"addresses":{"minFree":91}}`), "fabric: spec.addresses.minFree: 91 is out of range (0 to 90 percent)"},
		{"negative share", stored(`{"network":{"ipv4":"10.0.0.0/8"},"addresses":{"minFree":-1}}`), "fabric: spec.addresses.minFree: -1 is out of range (0 to 90 percent)"},
		{"no subnet", stored(`{"network":{"ipv4":"10.0.0.0/8"},"addresses":{"maxSubnets":0}}`), "fabric: spec.addresses.maxSubnets: 0 is out of range (1 to 64)"},
		{"too many subnets", stored(`{"network":{"ipv4":"10.0.0.0/8"},"addresses":{"maxSubnets":65}}`), "fabric: spec.addresses.maxSubnets: 65 is out of range (1 to 64)"},
		{"given back too soon", stored(`{"network":{"ipv4":"10.0.0.0/8"},"addresses":{"returnAfter":"119s"}}`), "fabric: spec.addresses.returnAfter: 1m59s is too short, a freed address rests for 2m before another pod may have it"},
		{"huge", strings.Repeat(" ", maxInput+1), "fabric: larger than 1024 KiB, this is no Fabric object"},
	} {
		_, err := DecodeFabric([]byte(c.data))
		if got := errText(err); !strings.HasPrefix(got, c.want) || strings.Contains(got, "\n") {
			t.Errorf("%s:\ngot:  %s\nwant: %s", c.name, got, c.want)
		}
	}
}

func leases(prefixes ...string) []fabric.Subnet {
	var out []fabric.Subnet
	for _, p := range prefixes {
		out = append(out, fabric.Subnet{Prefix: netip.MustParsePrefix(p)})
	}
	return out
}

func TestCheckChange(t *testing.T) {
	const old = "  network: {ipv4: 10.244.0.0/16, ipv6: 'fd00:10::/48'}\n  reserved: [10.244.9.0/24]\n"
	some := leases("10.244.1.0/24", "10.244.2.0/24", "fd00:10:0:1::/64")
	for _, c := range []struct {
		name, new string
		leases    []fabric.Subnet
		want      string // one reason each line
	}{
		{"nothing", old, some, ""},
		{"larger network", "  network: {ipv4: 10.240.0.0/12, ipv6: 'fd00:10::/32'}\n", some, ""},
		{"another network, no leases", "  network: {ipv4: 10.1.0.0/16}\n  vxlan: {vni: 9}\n", nil, ""},
		{"another network", "  network: {ipv4: 10.1.0.0/16, ipv6: 'fd00:10::/48'}\n", some,
			"spec.network.ipv4: 10.1.0.0/16 leaves out what is leased: 10.244.1.0/24, 10.244.2.0/24; remove the nodes first"},
		{"smaller network", "  network: {ipv4: 10.244.0.0/23, ipv6: 'fd00:10::/48'}\n", some,
			"spec.network.ipv4: 10.244.0.0/23 leaves out what is leased: 10.244.2.0/24; remove the nodes first"},
		{"smaller network that cuts a subnet", "  network: {ipv4: 10.244.1.0/25, ipv6: 'fd00:10::/48'}\n  subnetLength: {ipv4: 26}\n", some[:1],
			"spec.network.ipv4: 10.244.1.0/25 leaves out what is leased: 10.244.1.0/24; remove the nodes first"},
		{"family removed", "  network: {ipv4: 10.244.0.0/16}\n", some,
			"spec.network.ipv6: without it goes what is leased: fd00:10:0:1::/64; remove the nodes first"},
		{"family without leases removed", "  network: {ipv4: 10.244.0.0/16}\n", some[:2], ""},
		{"subnet length", old + "  subnetLength: {ipv4: 26}\n", some, ""},
		{"lifetimes, masquerade, mtu, direct routing", old + "  lease: {ttl: 1h, liveness: 5s}\n  masquerade: {enabled: false}\n  vxlan: {mtu: 1400, directRouting: false}\n", some, ""},
		{"vni and port", old + "  vxlan: {vni: 2, port: 8472}\n", some,
			"spec.vxlan.vni: 1 -> 2 would cut nodes off from each other while subnets are leased; `weft migrate vxlan --vni 2` moves them one after the other\n" +
				"spec.vxlan.port: 4789 -> 8472 would cut nodes off from each other while subnets are leased; `weft migrate vxlan --port 8472` moves them one after the other"},
		{"checksum", old + "  vxlan: {udpChecksum: true}\n", some[:1],
			"spec.vxlan.udpChecksum: false -> true would cut nodes off from each other while subnets are leased; `weft migrate vxlan --udp-checksum` does it, together with another --port or --vni"},
		{"overlay that nobody uses any more", old + "  paths: [direct]\n  vxlan: {vni: 2}\n", some, ""},
		{"routes instead of an overlay", old + "  overlay: never\n", some,
			"spec.paths: the overlay would go before any BGP session is there; keep both for a while (overlay: fallback), or have all on one segment and say paths: [direct]"},
		{"routes beside an overlay", old + "  overlay: fallback\n", some, ""},
		{"overlay that some use", old + "  overlay: never\n  pathRules: [{nodes: {a: b}, overlay: always}]\n  vxlan: {vni: 2}\n", some,
			"spec.vxlan.vni: 1 -> 2 would cut nodes off from each other while subnets are leased; `weft migrate vxlan --vni 2` moves them one after the other"},
		{"paths, rules, probes", old + "  paths: [vxlan]\n  pathRules: [{nodes: {}, paths: [direct, vxlan]}]\n  probe: {port: 7000}\n", some, ""},
		{"generation", old + "  vxlan: {generation: 1}\n", some, "spec.vxlan.generation: 0 -> 1: only `weft migrate` counts it; leave it out of the file"},
		{"reserved", "  network: {ipv4: 10.244.0.0/16, ipv6: 'fd00:10::/48'}\n  reserved: [10.244.0.0/22]\n", some,
			"spec.reserved: 10.244.0.0/22 overlaps what is leased: 10.244.1.0/24, 10.244.2.0/24; remove the nodes first"},
		{"further subnets", old + "  addresses: {minFree: 0, maxSubnets: 1, returnAfter: 2m}\n", some, ""},
		{"reserved as before", old, leases("10.244.9.0/24"), ""},
	} {
		o, n := parseOne(t, head+old).Fabric(), parseOne(t, head+c.new).Fabric()
		if got := strings.Join(CheckChange(o, n, c.leases), "\n"); got != c.want {
			t.Errorf("%s:\ngot:\n%s\nwant:\n%s", c.name, got, c.want)
		}
	}
}

func TestCheckChangeOfANewFabricOverOldLeases(t *testing.T) {
	n := parseOne(t, head+"  network: {ipv4: 10.1.0.0/16}\n").Fabric()
	var many []string
	for i := range 5 {
		many = append(many, fmt.Sprintf("10.244.%d.0/24", i))
	}
	got := strings.Join(CheckChange(nil, n, leases(many...)), "\n")
	want := "spec.network.ipv4: 10.1.0.0/16 leaves out what is leased: 10.244.0.0/24, 10.244.1.0/24, 10.244.2.0/24 and 2 more; remove the nodes first"
	if got != want {
		t.Errorf("got:  %s\nwant: %s", got, want)
	}
}

func TestCheckUnderlay(t *testing.T) {
	s := parseOne(t, head+"  network: {ipv4: 10.0.0.0/8, ipv6: 'fd00::/16'}\n").Fabric()
	node := func(name, v4, v6 string) *fabric.Peer {
		p := &fabric.Peer{Node: fabric.Node{Name: name}}
		if v4 != "" {
			p.Underlay.IPv4 = netip.MustParseAddr(v4)
		}
		if v6 != "" {
			p.Underlay.IPv6 = netip.MustParseAddr(v6)
		}
		return p
	}
	nodes := []*fabric.Peer{node("a", "192.0.2.1", "2001:db8::1"), node("b", "10.1.2.3", ""), node("c", "", "fd00::7")}
	want := "spec.network.ipv4: 10.0.0.0/8 holds 10.1.2.3, the underlay address of node b\n" +
		"spec.network.ipv6: fd00::/16 holds fd00::7, the underlay address of node c"
	if got := strings.Join(CheckUnderlay(s, nodes), "\n"); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}
