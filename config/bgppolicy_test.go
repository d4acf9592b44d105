package config

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

const (
	policyHead = "apiVersion: weft/v1\nkind: BGPPolicy\nmetadata: {name: tors-in}\nspec:\n  rules:\n" // 5 lines
	prefixOnly = "apiVersion: weft/v1\nkind: BGPPrefix\nmetadata: {name: dns}\nspec:\n"
	prefixHead = prefixOnly + "  nodes: {role: dns}\n  prefixes: [203.0.113.53/32]\n" // 6 lines

	fullPolicy = policyHead + `  - match:
      prefixes:
      - {prefix: 10.0.0.0/8, max: 24}
      - {prefix: 10.0.0.0/8, min: 28}
      - {prefix: 'fd00::/8', min: 48, max: 64}
      - {prefix: 0.0.0.0/0}
      communities: ['65000:1', blackhole]
      largeCommunities: ['1:2:3']
      asPath: ^65001(_65002)*$
      peers: [tors, 198.18.1.1, 'FE80::0:1%eth0']
    set:
      removeCommunities: [no-export]
      communities: ['65000:2']
      largeCommunities: ['1:2:4']
      med: 10
      localPreference: 0
      prepend: 1
    action: next
  - {action: reject}
`
	fullPrefix = prefixHead + `  health: {http: 'http://192.0.2.1:8080/healthz?a=b', interval: 5s, timeout: 500ms, rise: 1, fall: 5}
  communities: ['65000:53']
  med: 5
`
)

func TestParsePolicy(t *testing.T) {
	got, _ := parseOne(t, fullPolicy).Spec.(*fabric.BGPPolicySpec)
	p := netip.MustParsePrefix
	want := &fabric.BGPPolicySpec{Rules: []fabric.BGPRule{
		{
			Match: fabric.BGPMatch{
				// An open end of a range of lengths is written out.
				Prefixes: []fabric.BGPPrefixRange{
					{Prefix: p("10.0.0.0/8"), Min: 8, Max: 24}, {Prefix: p("10.0.0.0/8"), Min: 28, Max: 32},
					{Prefix: p("fd00::/8"), Min: 48, Max: 64}, {Prefix: p("0.0.0.0/0")},
				},
				Communities: []string{"65000:1", "blackhole"}, LargeCommunities: []string{"1:2:3"},
				ASPath: "^65001(_65002)*$", Peers: []string{"tors", "198.18.1.1", "fe80::1%eth0"},
			},
			Set: fabric.BGPSet{
				RemoveCommunities: []string{"no-export"},
				BGPAttributes: fabric.BGPAttributes{
					Communities: []string{"65000:2"}, LargeCommunities: []string{"1:2:4"},
					MED: pointer(uint32(10)), LocalPreference: pointer(uint32(0)), Prepend: 1,
				},
			},
			Action: "next",
		},
		{Action: "reject"},
	}}
	if diff := cmp.Diff(want, got, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestBadPolicies(t *testing.T) {
	const rule = "6: spec.rules[0]."
	refusals(t, policyHead, [][2]string{
		{"  []\n", "5: spec.rules: is missing, want at least one (like {match: {communities: [no-export]}, action: reject})"},
		{"  - {match: {}}\n", rule + "action: is missing, want accept, reject or next"},
		{"  - {action: rejct}\n", rule + `action: "rejct" is not one of accept, reject, next (did you mean reject?)`},
		{"  - {action: next}\n", rule + "action: next does nothing where set is empty"},
		{"  - {action: reject, set: {med: 0}}\n", rule + "set: changes what the rule rejects"},
		{"  - {action: accept, mach: {}}\n", rule + "mach: unknown key (did you mean spec.rules[0].match?)"},
		{"  - action: accept\n    match: {prefixes: [10.0.0.0/8]}\n", "7: spec.rules[0].match.prefixes[0]: is a single value, want a section of keys"},
		{"  - {action: accept, match: {prefixes: [{}]}}\n", rule + "match.prefixes[0].prefix: is not a network (like 10.244.0.0/16 or fd00:10:244::/48)"},
		{"  - {action: accept, match: {prefixes: [{prefix: 10.1.0.0/8}]}}\n", rule + "match.prefixes[0].prefix: 10.1.0.0/8 has host bits set (did you mean 10.0.0.0/8?)"},
		{"  - {action: accept, match: {prefixes: [{prefix: 10.0.0.0/8, min: 7}]}}\n", rule + "match.prefixes[0].min: 7 is shorter than 10.0.0.0/8 itself (8 to 32)"},
		{"  - {action: accept, match: {prefixes: [{prefix: 10.0.0.0/8, max: 33}]}}\n", rule + "match.prefixes[0].max: 33 is out of range (8 to 32)"},
		{"  - {action: accept, match: {prefixes: [{prefix: 10.0.0.0/8, min: 24, max: 16}]}}\n", rule + "match.prefixes[0].max: 16 is less than min (24)"},
		{"  - {action: accept, match: {prefixes: [{prefix: 10.0.0.0/8, min: -1, max: 16}]}}\n", rule + "match.prefixes[0].min: -1 is shorter than 10.0.0.0/8 itself (8 to 32)"},
		{"  - {action: accept, match: {communities: [x]}}\n", rule + `match.communities[0]: "x" is not a community (like 65000:100 or no-export)`},
		{"  - {action: accept, match: {largeCommunities: [x]}}\n", rule + `match.largeCommunities[0]: "x" is not a large community (three numbers, like 65000:1:2)`},
		{"  - {action: accept, match: {asPath: '^(65001'}}\n", rule + `match.asPath: "^(65001" is not a regular expression on AS paths (like ^65001_ or _65010$; _ is a boundary)`},
		{"  - {action: accept, match: {asPath: '[_0-9]'}}\n", rule + `match.asPath: "[_0-9]" is not a regular expression on AS paths (like ^65001_ or _65010$; _ is a boundary)`},
		{"  - {action: accept, match: {peers: [A]}}\n", rule + `match.peers[0]: "A" is neither the name of a BGPPeer nor an address`},
		{"  - {action: accept, match: {peers: ['::']}}\n", rule + "match.peers[0]: :: is not an address that a neighbour has"},
		{"  - {action: accept, set: {removeCommunities: [x]}}\n", rule + `set.removeCommunities[0]: "x" is not a community (like 65000:100 or no-export)`},
		{"  - {action: accept, set: {prepend: 99}}\n", rule + "set.prepend: 99 is out of range (0 to 32)"},
	})
}

func TestParsePrefix(t *testing.T) {
	got, _ := parseOne(t, prefixHead+"  health: {tcp: '127.0.0.1:53'}\n").Spec.(*fabric.BGPPrefixSpec)
	want := &fabric.BGPHealth{TCP: "127.0.0.1:53", Interval: 2e9, Timeout: 1e9, Rise: 2, Fall: 3}
	if diff := cmp.Diff(want, got.Health); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	got, _ = parseOne(t, prefixHead+"  health: {interface: lo, interval: 200ms}\n").Spec.(*fabric.BGPPrefixSpec)
	if got.Health.Timeout != got.Health.Interval {
		t.Errorf("the default timeout %s is longer than the interval", got.Health.Timeout)
	}
	if got, _ = parseOne(t, prefixHead).Spec.(*fabric.BGPPrefixSpec); got.Health != nil {
		t.Errorf("health that nobody asked for: %+v", got.Health)
	}
}

func TestBadPrefixes(t *testing.T) {
	refusals(t, prefixOnly, [][2]string{
		{"  prefixes: [203.0.113.53/32]\n", "4: spec.nodes: is missing, want labels of nodes like {rack: r1}, or {} for every node"},
		{"  nodes: {}\n", "4: spec.prefixes: is missing, want at least one (like [203.0.113.7/32])"},
		{"  nodes: {}\n  prefixes: [203.0.113.53]\n", `6: spec.prefixes[0]: "203.0.113.53" is not a network (like 10.244.0.0/16 or fd00:10:244::/48)`},
		{"  nodes: {}\n  prefixes: [203.0.113.53/24]\n", "6: spec.prefixes[0]: 203.0.113.53/24 has host bits set (did you mean 203.0.113.0/24?)"},
		{"  nodes: {}\n  prefixes: [0.0.0.0/0]\n", "6: spec.prefixes[0]: 0.0.0.0/0 would draw all of the network's traffic to these nodes"},
		{"  nodes: {}\n  prefixes: [127.0.0.1/32]\n", "6: spec.prefixes[0]: 127.0.0.1/32 is loopback, which is not announced"},
		{"  nodes: {}\n  prefixes: [203.0.113.53/32, 203.0.113.53/32]\n", "6: spec.prefixes[1]: 203.0.113.53/32 is listed twice"},
	})
	refusals(t, prefixHead, [][2]string{
		{"  health: {}\n", "7: spec.health: has no condition, want one of tcp, http, interface"},
		{"  health: {tcp: ':53', interface: lo}\n", `7: spec.health.tcp: ":53" is not host:port (like 192.0.2.1:8080)`},
		{"  health: {tcp: '127.0.0.1:53', interface: lo}\n", "7: spec.health.interface: health.tcp is set too, want one of them"},
		{"  health: {tcp: '127.0.0.1:0'}\n", `7: spec.health.tcp: "127.0.0.1:0" is not host:port (like 192.0.2.1:8080)`},
		{"  health: {http: 'ftp://a'}\n", "7: spec.health.http: is not a URL (like http://192.0.2.1:8080/healthz)"},
		{"  health: {http: 'http://u:hunter2@a/'}\n", "7: spec.health.http: holds a user, want a URL that needs no secret"},
		{"  health: {interface: a/b}\n", `7: spec.health.interface: "a/b" is not the name of an interface (up to 15 characters, like eth0)`},
		{"  health: {interface: lo, interval: 1s, timeout: 2s}\n", "7: spec.health.timeout: 2s is longer than interval (1s)"},
		{"  health: {interface: lo, interval: 50ms}\n", "7: spec.health.interval: 50ms is out of range (100ms to 1h)"},
		{"  health: {interface: lo, timeout: 1ms}\n", "7: spec.health.timeout: 1ms is out of range (10ms to 1h)"},
		{"  health: {interface: lo, rise: -1}\n", "7: spec.health.rise: -1 is out of range (1 to 100)"},
		{"  health: {interface: lo, fall: 101}\n", "7: spec.health.fall: 101 is out of range (1 to 100)"},
		{"  prepend: 33\n", "7: spec.prepend: 33 is out of range (0 to 32)"},
	})
}
