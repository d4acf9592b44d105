package config

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

// routed is a Fabric that routes; `bgp:` and its keys may follow.
const routed = head + "  network: {ipv4: 10.244.0.0/16}\n  backend: bgp\n" // 6 lines

// refusals checks that each file is refused in these words.
func refusals(t *testing.T, base string, cases [][2]string) {
	t.Helper()
	for _, c := range cases {
		if _, err := ParseObjects("f.yaml", []byte(base+c[0])); errText(err) != "f.yaml:"+c[1] {
			t.Errorf("%s\ngot:  %s\nwant: f.yaml:%s", c[0], errText(err), c[1])
		}
	}
}

func TestBGPDefaults(t *testing.T) {
	want := fabric.BGPSpec{
		ASN: "perNode", RouterID: "underlay", Port: 179, Multipath: 16,
		Timers:          fabric.BGPTimers{Hold: 9e9, Keepalive: 3e9, ConnectRetry: 5e9},
		GracefulRestart: fabric.BGPRestart{Enabled: true, Time: 30e9},
		LongLived:       fabric.BGPRestart{Time: fabric.Duration(time.Hour)},
	}
	for _, text := range []string{routed, routed + "  bgp: {}\n", routed + "  bgp: {asn: perNode}\n"} {
		if diff := cmp.Diff(want, parseOne(t, text).Fabric().BGP, cmpAddrs); diff != "" {
			t.Errorf("%s-want +got:\n%s", text, diff)
		}
	}
	got := parseOne(t, routed+"  bgp: {asn: perLabel, asns: {r1: 65001}, timers: {hold: 4s}}\n").Fabric().BGP
	if got.ASNLabel != "rack" || got.Timers.Keepalive != 1e9 {
		t.Errorf("got label %s, keepalive %s; want rack, 1s", got.ASNLabel, got.Timers.Keepalive)
	}
}

// TestStoredVXLANFabricStaysAsItWas: what this version writes is what others
// read, and the other way round.
func TestStoredVXLANFabricStaysAsItWas(t *testing.T) {
	for _, text := range []string{"", "  bgp: {}\n", "  bgp: {asn: perNode, port: 179}\n"} {
		o := parseOne(t, head+"  network: {ipv4: 10.0.0.0/8}\n"+text)
		raw, err := o.Encode()
		if err != nil || strings.Contains(string(raw), "bgp") {
			t.Errorf("%s stored as %s, %v", text, raw, err)
		}
		if back, err := DecodeFabric(raw); err != nil || !cmp.Equal(back, o.Fabric(), cmpAddrs) {
			t.Errorf("%s read back as %+v, %v", text, back, err)
		}
	}
	// What was prepared for the day of the move is kept.
	o := parseOne(t, head+"  network: {ipv4: 10.0.0.0/8}\n  bgp: {asn: 65000}\n")
	raw, err := o.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeFabric(raw); err != nil || back.BGP.ASN != "65000" || back.BGP.Timers.Hold != fabric.BGPHold {
		t.Errorf("read back as %+v, %v", back, err)
	}
}

func TestBadBGPSpec(t *testing.T) {
	refusals(t, routed, [][2]string{
		{"  bgp: {as: 65000}\n", "7: spec.bgp.as: unknown key (did you mean spec.bgp.asn?)"},
		{"  bgp: {asn: pernode}\n", `7: spec.bgp.asn: "pernode" is not an AS number (1 to 4294967294); want a number, perNode or perLabel (did you mean perNode?)`},
		{"  bgp: {asn: 0}\n", "7: spec.bgp.asn: AS 0 belongs to nobody (RFC 7607); want a number, perNode or perLabel"},
		{"  bgp: {asn: 23456}\n", "7: spec.bgp.asn: AS 23456 stands for numbers that an old speaker cannot write (AS_TRANS, RFC 6793); want a number, perNode or perLabel"},
		{"  bgp: {asn: 4294967295}\n", "7: spec.bgp.asn: AS 4294967295 is reserved (RFC 7300); want a number, perNode or perLabel"},
		{"  bgp: {asn: 4294967296}\n", `7: spec.bgp.asn: "4294967296" is not an AS number (1 to 4294967294); want a number, perNode or perLabel`},
		{"  bgp: {asn: 65000.1}\n", `7: spec.bgp.asn: "65000.1" is not an AS number in decimal (did you mean 4259840001?); want a number, perNode or perLabel`},
		{"  bgp: {asn: perLabel}\n", "7: spec.bgp.asns: is missing, asn: perLabel needs the number of each value of the label (like {r1: 65001, r2: 65002})"},
		{"  bgp:\n    asns: {r1: 65001}\n", "8: spec.bgp.asns: is set, but asn is not perLabel"},
		{"  bgp: {asnLabel: rack}\n", "7: spec.bgp.asnLabel: is set, but asn is not perLabel"},
		{"  bgp:\n    asn: perLabel\n    asns:\n      r1: 65001\n      r2: 65535\n", "11: spec.bgp.asns.r2: AS 65535 is reserved (RFC 7300)"},
		{"  bgp:\n    asn: perLabel\n    asns: {r1: ten}\n", `9: spec.bgp.asns.r1: "ten" is not a number from 0 to 4294967295`},
		{"  bgp:\n    asn: perLabel\n    asns: {r1: }\n", "9: spec.bgp.asns.r1: has no value (leave it out to get the default)"},
		{"  bgp:\n    asn: perLabel\n    asns: [65001]\n", "9: spec.bgp.asns: is a list, want pairs like {rack: r1}"},
		{"  bgp:\n    asn: perLabel\n    asns: {r1/x: 65001}\n", `9: spec.bgp.asns.r1/x: "r1/x" is not the value of a label (up to 63 letters, digits, dashes, dots, underscores)`},
		{"  bgp: {asn: perLabel, asnLabel: a b, asns: {r1: 65001}}\n", `7: spec.bgp.asnLabel: "a b" is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)`},
		{"  bgp: {routerID: 192.0.2.1}\n", `7: spec.bgp.routerID: "192.0.2.1" is not a way to choose it, want underlay or index`},
		{"  bgp: {routerID: underlai}\n", `7: spec.bgp.routerID: "underlai" is not a way to choose it, want underlay or index (did you mean underlay?)`},
		{"  bgp: {listen: [eth0]}\n", `7: spec.bgp.listen[0]: "eth0" is not an IP address (like 192.0.2.1 or 2001:db8::1)`},
		{"  bgp: {listen: [192.0.2.1, 192.0.2.1]}\n", "7: spec.bgp.listen[1]: 192.0.2.1 is listed twice"},
		{"  bgp: {listen: [224.0.0.1]}\n", "7: spec.bgp.listen[0]: 224.0.0.1 is not an address of a host"},
		{"  bgp: {port: 0}\n", "7: spec.bgp.port: 0 is not a TCP port (1 to 65535)"},
		{"  bgp: {timers: {hold: 0s}}\n", "7: spec.bgp.timers.hold: 0s has no meaning (leave it out to get the default)"},
		{"  bgp: {timers: {hold: 2s}}\n", "7: spec.bgp.timers.hold: 2s is out of range (3s to 18h12m15s)"},
		{"  bgp: {timers: {hold: 9500ms}}\n", "7: spec.bgp.timers.hold: 9.5s is not whole seconds"},
		{"  bgp: {timers: {hold: 9}}\n", `7: spec.bgp.timers.hold: "9" is not a duration (want a number with a unit, like 15s or 24h)`},
		{"  bgp: {timers: {keepalive: 4s}}\n", "7: spec.bgp.timers.keepalive: 4s is more than a third of hold (9s): one that is late would end the session"},
		{"  bgp: {timers: {connectRetry: 1s}}\n", "7: spec.bgp.timers.connectRetry: 1s is out of range (2s to 1h)"},
		{"  bgp: {gracefulRestart: {time: 2h}}\n", "7: spec.bgp.gracefulRestart.time: 2h is out of range (1s to 1h8m15s)"},
		{"  bgp: {gracefulRestart: {time: 0s}}\n", "7: spec.bgp.gracefulRestart.time: 0s has no meaning (leave it out to get the default)"},
		{"  bgp: {longLivedGracefulRestart: {time: 1500ms}}\n", "7: spec.bgp.longLivedGracefulRestart.time: 1.5s is not whole seconds"},
		{"  bgp: {gracefulRestart: {enabled: false}, longLivedGracefulRestart: {enabled: true}}\n",
			"7: spec.bgp.longLivedGracefulRestart.enabled: is true, but gracefulRestart is not enabled, which it builds upon (RFC 9494, section 4.1)"},
		{"  bgp: {multipath: 0}\n", "7: spec.bgp.multipath: 0 is out of range (1 to 64)"},
		{"  bgp: {multipath: 65}\n", "7: spec.bgp.multipath: 65 is out of range (1 to 64)"},
		{"  bgp: {bmp: [192.0.2.1]}\n", `7: spec.bgp.bmp[0]: "192.0.2.1" is not host:port (like 192.0.2.1:8080)`},
		{"  bgp: {bmp: ['192.0.2.1:11019', '192.0.2.1:11019']}\n", "7: spec.bgp.bmp[1]: 192.0.2.1:11019 is listed twice"},
	})
	// What is prepared before the backend changes is checked as well.
	refusals(t, head+"  network: {ipv4: 10.0.0.0/8}\n", [][2]string{
		{"  bgp: {asn: 0}\n", "6: spec.bgp.asn: AS 0 belongs to nobody (RFC 7607); want a number, perNode or perLabel"},
	})
}

func TestBGPMayChangeWhileTheFabricRuns(t *testing.T) {
	some := leases("10.244.1.0/24")
	before := parseOne(t, routed).Fabric()
	for text, want := range map[string]string{
		"  bgp: {asn: 65000, routerID: index, port: 1790, timers: {hold: 30s}, gracefulRestart: {enabled: false}, multipath: 2}\n": "",
		"  overlay: never\n  vxlan: {vni: 9, port: 8472}\n":                                                                        "", // there will be no device
	} {
		if got := strings.Join(CheckChange(before, parseOne(t, routed+text).Fabric(), some), "\n"); got != want {
			t.Errorf("%s: got %s", text, got)
		}
	}
	vxlan := parseOne(t, head+"  network: {ipv4: 10.244.0.0/16}\n").Fabric()
	want := "spec.backend: bgp -> vxlan would cut nodes off from each other while subnets are leased; `weft migrate bgp-to-vxlan` moves them one after the other"
	if got := strings.Join(CheckChange(before, vxlan, some), "\n"); got != want {
		t.Errorf("got:  %s\nwant: %s", got, want)
	}
}
