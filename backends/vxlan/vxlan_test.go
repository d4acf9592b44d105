package vxlan

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/kernel"
)

func input(change func(*backends.Input)) backends.Input {
	spec := &fabric.Spec{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true}}
	spec.Network.IPv4 = netip.MustParsePrefix("10.244.0.0/16")
	spec.Network.IPv6 = netip.MustParsePrefix("fd00:244::/48")
	spec.Masquerade.Enabled = true
	in := backends.Input{
		Spec: spec, Self: "node-a",
		Underlay: kernel.Underlay{
			Interface: "eth0", MTU: 1500,
			Connected: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24"), netip.MustParsePrefix("2001:2:0:1::/64")},
		},
		Subnets: []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:0:1::/64")},
	}
	in.Underlay.Addrs.IPv4 = netip.MustParseAddr("198.18.0.1")
	in.Underlay.Addrs.IPv6 = netip.MustParseAddr("2001:2:0:1::1")
	if change != nil {
		in.Spec = spec
		change(&in)
	}
	return in
}

func remote(v4, v6 string, change func(*backends.Remote)) backends.Remote {
	p := &fabric.Peer{Alive: true, Node: fabric.Node{
		Name: "b", ID: "node-b", Index: 2, VTEPMAC: VTEPMAC("node-b"), MTU: 1500, Receives: []fabric.PathKind{fabric.PathVXLAN, fabric.PathDirect},
	}}
	for _, s := range []string{"10.244.2.0/24", "10.244.7.0/24", "fd00:244:0:2::/64"} {
		p.Subnets = append(p.Subnets, fabric.Subnet{Prefix: netip.MustParsePrefix(s), Owner: p.ID})
	}
	if v4 != "" {
		p.Underlay.IPv4 = netip.MustParseAddr(v4)
	}
	if v6 != "" {
		p.Underlay.IPv6 = netip.MustParseAddr(v6)
	}
	r := backends.Remote{Peer: p}
	if change != nil {
		change(&r)
	}
	return r
}

func TestDevices(t *testing.T) {
	newer := fabric.VXLANSpec{VNI: 1, Port: 8472, DirectRouting: true, Generation: 1}
	to := func(change func(*fabric.Plan)) func(*backends.Input) {
		return func(in *backends.Input) {
			plan := in.Spec.Plan()
			change(&plan)
			in.Plans = []fabric.Plan{in.Spec.Plan(), plan}
		}
	}
	tests := []struct {
		name   string
		change func(*backends.Input)
	}{
		{"dual-stack", nil},
		{"ipv4-only", func(in *backends.Input) {
			in.Spec.Network.IPv6 = netip.Prefix{}
			in.Subnets = in.Subnets[:1]
		}},
		{"ipv6-underlay", func(in *backends.Input) {
			in.Underlay.Addrs.IPv4 = netip.Addr{}
			in.Spec.VXLAN.UDPChecksum = true
		}},
		{"loopback-address-fixed-mtu-no-lease", func(in *backends.Input) {
			in.Underlay.Interface = ""
			in.Subnets = nil
			in.Spec.VXLAN.MTU = 1400
		}},
		{"not-used", func(in *backends.Input) { in.Spec.Backend, in.Spec.Overlay = "bgp", fabric.OverlayNever }},
		{"a-fallback", func(in *backends.Input) { in.Spec.Backend = "bgp" }},
		{"to-another-port", to(func(p *fabric.Plan) { p.VXLAN = newer })},
		{"from-another-port", func(in *backends.Input) { // the earlier one is gone
			in.Spec.VXLAN = newer
		}},
		{"to-a-generation-too-far", to(func(p *fabric.Plan) { p.VXLAN.VNI, p.VXLAN.Generation = 2, 2 })}, // no record of weft's
		{"to-a-smaller-mtu", to(func(p *fabric.Plan) { p.VXLAN.MTU = 1300 })},
		{"to-none", to(func(p *fabric.Plan) { p.Backend, p.Overlay = "bgp", fabric.OverlayNever })},
		{"from-none", func(in *backends.Input) {
			overlay := in.Spec.Plan()
			in.Spec.Backend, in.Spec.Overlay = "bgp", fabric.OverlayNever
			in.Plans = []fabric.Plan{in.Spec.Plan(), overlay}
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden.Compare(t, "devices-"+tt.name+".txt", Devices(input(tt.change)).String())
		})
	}
}

func TestArm(t *testing.T) {
	tests := []struct {
		name   string
		input  func(*backends.Input)
		remote backends.Remote
	}{
		{"dual-stack", nil, remote("198.18.9.2", "2001:2:0:9::2", nil)},
		{"on-the-same-segment", nil, remote("198.18.0.2", "2001:2:0:1::2", nil)},
		{"newer", func(in *backends.Input) { in.Spec.VXLAN.Generation = 1 }, remote("198.18.9.2", "", nil)},
		{"takes-no-vxlan", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Receives = nil })},
		{"ipv6-underlay", func(in *backends.Input) { in.Underlay.Addrs.IPv4 = netip.Addr{} }, remote("", "2001:2:0:9::2", nil)},
		{"no-common-family", nil, remote("", "2001:2:0:9::2", nil)},
		{"no-vtep-mac", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.VTEPMAC = fabric.MAC{} })},
		{"down", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Down = true })},
		{"one-family", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Subnets = r.Subnets[:2] })},
		{"no-subnets", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Subnets = nil })},
	}
	var text strings.Builder
	for _, tt := range tests {
		var objs kernel.Objects
		in := input(tt.input)
		via, reason := Arm(&objs, in, tt.remote, in.Spec.VXLAN)
		fmt.Fprintf(&text, "# %s: %s\nipv4 %#x, ipv6 %#x\n%s\n", tt.name, reason, via.IPv4, via.IPv6, objs)
	}
	golden.Compare(t, "arm.txt", text.String())
}

// A device that is made anew, on whatever machine, must be the one that peers
// know already.
func TestMACsAreStableAndDistinct(t *testing.T) {
	if got, want := VTEPMAC("node-a").String(), "46:63:93:ee:c7:57"; got != want {
		t.Errorf("VTEP MAC changed: got %s, want %s", got, want)
	}
	if VTEPMAC("node-a") == backends.BridgeMAC("node-a") || VTEPMAC("node-a") == VTEPMAC("node-b") {
		t.Error("two devices share an address")
	}
}
