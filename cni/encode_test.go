package cni

import (
	"encoding/json"
	"net"
	"testing"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/google/go-cmp/cmp"
)

// TestEncodeResult: what is written by hand is what the library writes.
func TestEncodeResult(t *testing.T) {
	_, network, err := net.ParseCIDR("10.1.2.0/24")
	if err != nil {
		t.Fatal(err)
	}
	_, six, err := net.ParseCIDR("fd00::/64")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []current.Result{
		{CNIVersion: "1.1.0"},
		{
			CNIVersion: "1.0.0",
			Interfaces: []*current.Interface{{Name: "a<b"}, {Name: "eth0", Mac: "0a:58:0a:01:02:03", Mtu: 1400, Sandbox: "/run/netns/x y", SocketPath: "/s", PciID: "0000:01"}},
			IPs: []*current.IPConfig{
				{Address: net.IPNet{IP: net.IPv4(10, 1, 2, 3), Mask: network.Mask}},
				{Address: *six, Interface: current.Int(0), Gateway: net.ParseIP("fd00::1")},
			},
			Routes: []*types.Route{
				{Dst: *network},
				{Dst: *six, GW: net.ParseIP("fd00::1"), MTU: 1280, AdvMSS: 1220, Priority: 5, Table: current.Int(0), Scope: current.Int(253)},
			},
			DNS: types.DNS{Nameservers: []string{"10.1.0.10"}, Search: []string{"a.example"}},
		},
	} {
		got, err := appendResult(nil, &r)
		if err != nil {
			t.Fatal(err)
		}
		want, err := json.Marshal(&r)
		if err != nil {
			t.Fatal(err)
		}
		var a, b any
		if err := json.Unmarshal(got, &a); err != nil {
			t.Fatalf("%v: %s", err, got)
		}
		if err := json.Unmarshal(want, &b); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(b, a); diff != "" {
			t.Errorf("-library +own:\n%s", diff)
		}
	}
}
