package vxlan

import (
	"net/netip"
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
		Name: "b", ID: "node-b", Index: 2, VTEPMAC: VTEPMAC("node-b"), MTU: 1500, Receives: Receives(),
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

func TestBase(t *testing.T) {
	tests := []struct {
		name   string
		change func(*backends.Input)
	}{
		{"dual-stack", nil},
		{"ipv4-only", func(in *backends.Input) {
			in.Spec.Network.IPv6 = netip.Prefix{}
			in.Subnets = in.Subnets[:1]
			in.Spec.Masquerade.Except = []netip.Prefix{netip.MustParsePrefix("198.19.0.0/16"), netip.MustParsePrefix("198.18.0.0/16")}
		}},
		{"ipv6-underlay", func(in *backends.Input) {
			in.Underlay.Addrs.IPv4 = netip.Addr{}
			in.Underlay.AcceptRA = true
			in.Spec.VXLAN.UDPChecksum = true
		}},
		{"loopback-address-fixed-mtu-no-lease", func(in *backends.Input) {
			in.Underlay.Interface = ""
			in.Subnets = nil
			in.Spec.VXLAN.MTU = 1400
			in.Spec.Masquerade.Enabled = false
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden.Compare(t, "base-"+tt.name+".txt", Backend{}.Base(input(tt.change)).String())
		})
	}
}

func TestPeer(t *testing.T) {
	tests := []struct {
		name   string
		input  func(*backends.Input)
		remote backends.Remote
	}{
		{"same-segment", nil, remote("198.18.0.2", "2001:2:0:1::2", nil)},
		{"other-segment", nil, remote("198.18.9.2", "2001:2:0:9::2", nil)},
		{"same-segment-ipv4-underlay-only", nil, remote("198.18.0.2", "", nil)},
		{"direct-routing-off", func(in *backends.Input) { in.Spec.VXLAN.DirectRouting = false }, remote("198.18.0.2", "2001:2:0:1::2", nil)},
		{"peer-takes-no-direct", nil, remote("198.18.0.2", "", func(r *backends.Remote) { r.Receives = []fabric.PathKind{fabric.PathVXLAN} })},
		{"peer-takes-no-vxlan", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Receives = nil })},
		{"ipv6-underlay", func(in *backends.Input) { in.Underlay.Addrs.IPv4 = netip.Addr{} }, remote("", "2001:2:0:9::2", nil)},
		{"no-common-family", nil, remote("", "2001:2:0:9::2", nil)},
		{"no-vtep-mac", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.VTEPMAC = fabric.MAC{} })},
		{"smaller-mtu", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.MTU = 1400 })},
		{"mtu-of-nonsense", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.MTU = 60 })},
		{"larger-mtu", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.MTU = 9000 })},
		{"down", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Down = true })},
		{"no-subnets", nil, remote("198.18.9.2", "", func(r *backends.Remote) { r.Subnets = nil })},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var objs kernel.Objects
			way := Backend{}.Peer(&objs, input(tt.input), tt.remote)
			golden.Compare(t, "peer-"+tt.name+".txt", "way "+string(way.Kind)+": "+way.Reason+"\n"+objs.String())
		})
	}
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
