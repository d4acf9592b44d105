package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

func TestMerge(t *testing.T) {
	base := parsed(t, ipv4Only+tors+policies[len(tors):]).BGP
	own := parsed(t, `
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec: {nodes: {}, peer: {address: 198.18.0.254}, asn: external}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: another}
spec: {nodes: {}, peer: {address: 198.18.0.253}, asn: external}
`).BGP
	got := Merge(base, own)
	var names []string
	for _, p := range got.Peers {
		names = append(names, p.Name+" "+p.Spec.Peer.Address.String())
	}
	if want := []string{"another 198.18.0.253", "tors 198.18.0.254"}; !slices.Equal(names, want) {
		t.Errorf("got %v, want %v", names, want)
	}
	if len(got.Policies) != len(base.Policies) || len(base.Peers) != 1 || base.Peers[0].Spec.Peer.Gateways != "all" {
		t.Errorf("got %+v of base %+v", got, base)
	}
	if Merge(base, nil) != base || Merge(nil, own) != own || Merge(nil, nil) != nil {
		t.Error("what is merged with nothing changes")
	}
}

func TestASNOf(t *testing.T) {
	n := node(7, "rack=r1", "zone=z").Node
	unknown := n
	unknown.Index = 0
	racks := map[string]uint32{"r1": 65101}
	for _, tt := range []struct {
		spec fabric.BGPSpec
		node fabric.Node
		want uint32
		err  string
	}{
		{fabric.BGPSpec{ASN: "65000"}, n, 65000, ""},
		{fabric.BGPSpec{ASN: "4200000007"}, unknown, 4200000007, ""},
		{fabric.BGPSpec{ASN: fabric.ASNPerNode}, n, 4200000007, ""},
		{fabric.BGPSpec{}, n, 4200000007, ""},
		{fabric.BGPSpec{ASN: fabric.ASNPerNode}, unknown, 0, "AS number of node n7: its index is not known yet"},
		{fabric.BGPSpec{ASN: fabric.ASNPerLabel, ASNs: racks}, n, 65101, ""},
		{fabric.BGPSpec{ASN: fabric.ASNPerLabel, ASNs: racks, ASNLabel: "zone"}, n, 0, "AS number of node n7: spec.bgp.asns has none for zone=z"},
		{fabric.BGPSpec{ASN: fabric.ASNPerLabel, ASNs: racks, ASNLabel: "hall"}, n, 0, "AS number of node n7: it has no label hall"},
		{fabric.BGPSpec{ASN: "0"}, n, 0, "AS number of the fabric: AS 0 belongs to nobody (RFC 7607)"},
	} {
		got, err := ASNOf(&tt.spec, &tt.node)
		if text := fmt.Sprint(err); got != tt.want || tt.err == "" && err != nil || tt.err != "" && text != tt.err {
			t.Errorf("%+v: got %d, %v; want %d, %s", tt.spec, got, err, tt.want, tt.err)
		}
	}
}

func TestRouterIDOf(t *testing.T) {
	n, six := node(7).Node, node(7).Node
	six.Index = 300
	six.Underlay.IPv4 = netip.Addr{}
	none := six
	none.Index = 0
	for _, tt := range []struct {
		rule string
		node fabric.Node
		want netip.Addr
	}{
		{fabric.RouterIDUnderlay, n, addr("198.18.0.7")},
		{fabric.RouterIDIndex, n, addr("0.0.0.7")},
		{fabric.RouterIDUnderlay, six, addr("0.0.1.44")},
		{fabric.RouterIDUnderlay, none, netip.Addr{}},
	} {
		if got := RouterIDOf(&fabric.BGPSpec{RouterID: tt.rule}, &tt.node); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.rule, got, tt.want)
		}
	}
}

func TestTimers(t *testing.T) {
	second := fabric.Duration(time.Second)
	for _, tt := range []struct {
		name          string
		all, own      fabric.BGPTimers
		hold, keep, c time.Duration
	}{
		{"nothing set", fabric.BGPTimers{}, fabric.BGPTimers{}, 9 * time.Second, 3 * time.Second, 5 * time.Second},
		{"the fabric's", fabric.BGPTimers{Hold: 30 * second, Keepalive: 5 * second, ConnectRetry: second}, fabric.BGPTimers{}, 30 * time.Second, 5 * time.Second, time.Second},
		{"the object's", fabric.BGPTimers{Hold: 30 * second}, fabric.BGPTimers{Hold: 60 * second, Keepalive: 20 * second}, 60 * time.Second, 20 * time.Second, 5 * time.Second},
		{"a shorter hold than the fabric's keepalive", fabric.BGPTimers{Hold: 90 * second, Keepalive: 30 * second}, fabric.BGPTimers{Hold: 4 * second}, 4 * time.Second, time.Second, 5 * time.Second},
	} {
		p := newPlanner(Facts{Spec: &fabric.Spec{BGP: fabric.BGPSpec{Timers: tt.all}}})
		var s Session
		p.timers(tt.own, &s)
		if s.Hold != tt.hold || s.Keepalive != tt.keep || s.ConnectRetry != tt.c {
			t.Errorf("%s: got %v %v %v, want %v %v %v", tt.name, s.Hold, s.Keepalive, s.ConnectRetry, tt.hold, tt.keep, tt.c)
		}
	}
}

func TestSecrets(t *testing.T) {
	p := newPlanner(Facts{Secrets: map[string]Credential{
		"/ok": {Secret: "s"}, "/empty": {}, "/bad": {Err: "permission denied"},
		"/long": {Secret: Secret(strings.Repeat("x", 81))}, "/longest": {Secret: Secret(strings.Repeat("x", 80))},
	}})
	for path, want := range map[string]string{
		"": "", "/ok": "", "/longest": "",
		"/empty":   "password file /empty is empty",
		"/bad":     "password file /bad: permission denied",
		"/long":    "password file /long holds more than 80 bytes",
		"/missing": "password file /missing has not been read yet",
	} {
		secret, got := p.secret(path)
		if got != want || (secret == "") != (want != "" || path == "") {
			t.Errorf("%s: got %q, a secret: %t; want %q", path, got, secret != "", want)
		}
	}
}
