package backends

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/kernel"
)

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// input is a host's in a dual-stack fabric with an overlay.
func input(changes ...func(*Input)) Input {
	spec := &fabric.Spec{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true}}
	spec.Network.IPv4 = netip.MustParsePrefix("10.244.0.0/16")
	spec.Network.IPv6 = netip.MustParsePrefix("fd00:244::/48")
	spec.Masquerade.Enabled = true
	in := Input{
		Spec: spec, Self: "node-a", Subnets: prefixes("10.244.1.0/24", "fd00:244:0:1::/64"),
		Underlay: kernel.Underlay{Interface: "eth0", MTU: 1500, Connected: prefixes("198.18.0.0/24", "2001:2:0:1::/64")},
	}
	in.Underlay.Addrs.IPv4 = netip.MustParseAddr("198.18.0.1")
	in.Underlay.Addrs.IPv6 = netip.MustParseAddr("2001:2:0:1::1")
	for _, change := range changes {
		change(&in)
	}
	return in
}

func routed(in *Input) { in.Spec.Backend = "bgp" }

func never(in *Input) { in.Spec.Backend, in.Spec.Overlay = "bgp", fabric.OverlayNever }

func jumbo(in *Input) { in.Underlay.MTU = 9000 }

func ipv6Underlay(in *Input) { in.Underlay.Addrs.IPv4 = netip.Addr{} }

func fixed(mtu int) func(*Input) { return func(in *Input) { in.Spec.VXLAN.MTU = mtu } }

// moves adds the plan of a migration.
func moves(change func(*Input)) func(*Input) {
	return func(in *Input) {
		to := input(change)
		in.Plans = []fabric.Plan{in.Spec.Plan(), to.Spec.Plan()}
	}
}

func TestBase(t *testing.T) {
	tests := []struct {
		name string
		in   Input
	}{
		{"overlay", input()},
		{"routed-two-uplinks", input(routed, func(in *Input) { in.Uplinks = []string{"eth1", "eth0"} })},
		{"from-overlay-to-routed", input(moves(never))},
		{"ipv4-only-never-overlay", input(never, func(in *Input) {
			in.Spec.Network.IPv6 = netip.Prefix{}
			in.Subnets = in.Subnets[:1]
			in.Spec.Masquerade.Except = prefixes("198.19.0.0/16", "198.18.0.0/16")
		})},
		{"ipv6-only-by-router-advertisements", input(ipv6Underlay, func(in *Input) {
			in.Spec.Network.IPv4, in.Subnets, in.Underlay.AcceptRA = netip.Prefix{}, in.Subnets[1:], true
		})},
		{"loopback-address-fixed-mtu-no-lease", input(fixed(1400), func(in *Input) {
			in.Underlay.Interface, in.Subnets = "", nil
			in.Spec.Masquerade.Enabled = false
		})},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			golden.Compare(t, "base-"+tt.name+".txt", Base(tt.in).String())
		})
	}
}

func remote(underlay string, mtu int) Remote {
	p := &fabric.Peer{Node: fabric.Node{
		Name: "b", ID: "node-b", Index: 2, MTU: mtu, Receives: []fabric.PathKind{fabric.PathDirect},
	}}
	if a := netip.MustParseAddr(underlay); a.Is4() {
		p.Underlay.IPv4 = a
	} else {
		p.Underlay.IPv6 = a
	}
	return Remote{Peer: p}
}

// Of each fabric: what pods have, what the bridge has, and what may be sent to
// the pods of a peer with an underlay of this MTU by the last of the plans.
func TestMTU(t *testing.T) {
	always := func(in *Input) { in.Spec.Overlay = fabric.OverlayAlways }
	ruled := func(in *Input) {
		in.Spec.PathRules = []fabric.PathRule{{Nodes: fabric.Selector{}, Overlay: fabric.OverlayAlways}}
	}
	tests := []struct {
		name               string
		in                 Input
		peer               int
		pods, device, most int
	}{
		{"overlay", input(), 1500, 1450, 1450, 1450},
		{"overlay over IPv6", input(ipv6Underlay), 1500, 1430, 1430, 1430},
		{"overlay as a fallback", input(routed), 1500, 1450, 1450, 1450},
		{"no overlay", input(never), 1500, 1500, 1500, 1500},
		{"overlay for some", input(never, ruled), 1500, 1450, 1450, 1450},
		{"large here, small there", input(jumbo), 1500, 8950, 8950, 1450},
		{"large here, small there, routed", input(never, jumbo), 1500, 9000, 9000, 1500},
		{"small here, large there", input(), 9000, 1450, 1450, 1450},
		{"large", input(jumbo), 9000, 8950, 8950, 8950},
		{"set by the operator", input(fixed(1400)), 1500, 1400, 1400, 1400},
		{"set to what this host cannot", input(fixed(8950)), 9000, 8950, 8950, 1450},
		{"set to what the peer cannot", input(fixed(8950), jumbo), 1500, 8950, 8950, 1450},
		{"nonsense", input(), 600, 1450, 1450, 1450},
		{"nothing known", input(), 0, 1450, 1450, 1450},
		{"from an overlay to none", input(moves(never)), 1500, 1450, 1500, 1450},
		{"from none to an overlay", input(never, moves(always)), 1500, 1500, 1500, 1450},
		{"from none to an overlay, large here", input(never, jumbo, moves(always)), 1500, 9000, 9000, 1450},
		{"to a smaller one", input(moves(fixed(1300))), 1500, 1450, 1450, 1300},
		{"to a larger one", input(fixed(1300), moves(func(*Input) {})), 1500, 1300, 1450, 1300},
	}
	for _, tt := range tests {
		r := remote("198.18.9.2", tt.peer)
		if tt.in.Underlay.Addrs.IPv4 == (netip.Addr{}) {
			r = remote("2001:2:0:9::2", tt.peer)
		}
		plans := tt.in.InForce()
		got := [3]int{PodMTU(tt.in), DeviceMTU(tt.in), PeerMTU(tt.in, plans[len(plans)-1], r.Peer)}
		if want := [3]int{tt.pods, tt.device, tt.most}; got != want {
			t.Errorf("%s: pods, devices and peer have %v, want %v", tt.name, got, want)
		}
	}
}

// A small claim counts where it can be true: IPv6 knows no link of less than
// 1280 bytes, IPv4 does.
func TestSmallMTU(t *testing.T) {
	for _, tt := range []struct {
		networks string
		peer     int
		want     int
	}{{"both", 1400, 1350}, {"both", 1329, 1450}, {"both", 1330, 1280}, {"ipv4", 1329, 1279}, {"ipv4", 626, 576}, {"ipv4", 625, 1450}} {
		in := input(func(in *Input) {
			if tt.networks == "ipv4" {
				in.Spec.Network.IPv6 = netip.Prefix{}
			}
		})
		if got := PeerMTU(in, in.Spec.Plan(), remote("198.18.9.2", tt.peer).Peer); got != tt.want {
			t.Errorf("%s, underlay of %d: got %d, want %d", tt.networks, tt.peer, got, tt.want)
		}
	}
}

func TestRouteMTU(t *testing.T) {
	in := input()
	for _, tt := range []struct {
		family     fabric.Family
		most, want int
	}{{4, 1450, 0}, {4, 8950, 0}, {4, 1449, 1449}, {6, 1449, 1449}, {6, 1000, 1280}, {4, 1000, 1000}, {4, 60, 576}} {
		if got := RouteMTU(in, tt.family, tt.most); got != tt.want {
			t.Errorf("%s %d: got %d, want %d", tt.family, tt.most, got, tt.want)
		}
	}
}

func TestDirect(t *testing.T) {
	const here, there, via6 = "198.18.0.2", "198.18.9.2", "2001:2:0:1::2"
	tests := []struct {
		name   string
		in     Input
		remote Remote
		family fabric.Family
		want   string // the object, or why there is none
	}{
		{"here", input(), remote(here, 1500), 4, "nexthop 0x57000022 via 198.18.0.2 dev eth0\n"},
		{"here in IPv6", input(), remote(via6, 1500), 6, "nexthop 0x57000023 via 2001:2:0:1::2 dev eth0\n"},
		{"whatever the overlay is for", input(never), remote(here, 1500), 4, "nexthop 0x57000022 via 198.18.0.2 dev eth0\n"},
		{"elsewhere", input(), remote(there, 1500), 4, "198.18.9.2 is on no segment of this host"},
		{"in the other family", input(), remote(here, 1500), 6, "it has no ipv6 underlay address"},
		{"on a loopback", input(func(in *Input) { in.Underlay.Interface = "" }), remote(here, 1500), 4, "this host's underlay address is on no segment"},
		{"not accepted", input(), func() Remote {
			r := remote(here, 1500)
			r.Receives = []fabric.PathKind{fabric.PathVXLAN}
			return r
		}(), 4, "it accepts no packets from the segment"},
	}
	for _, tt := range tests {
		var objs kernel.Objects
		id, reason := Direct(&objs, tt.in, tt.remote, tt.family)
		got := reason.String()
		if id != 0 {
			got = objs.String()
		}
		if got != tt.want || id == 0 && objs.String() != "" || id != 0 && id != objs.Nexthops[0].ID {
			t.Errorf("%s: got %q (%#x) and %q, want %q", tt.name, got, id, objs, tt.want)
		}
	}
}

// All ways to a peer have objects at the same time, and none two of one id.
func TestWaysHaveIDsOfTheirOwn(t *testing.T) {
	seen := map[uint32]string{}
	for _, index := range []uint32{1, 2, 1<<20 - 1} {
		for _, f := range fabric.Families {
			for _, p := range []fabric.Path{{Kind: fabric.PathDirect}, {Kind: fabric.PathVXLAN}, {Kind: fabric.PathVXLAN, Generation: 1}} {
				id := NexthopID(index, f, p)
				if other, taken := seen[id]; taken || id == 0 {
					t.Errorf("%d %s %v has the id %#x, as has %q", index, f, p, id, other)
				}
				seen[id] = fmt.Sprint(index, f, p)
			}
		}
	}
	if NexthopID(1, 4, fabric.Path{Kind: fabric.PathVXLAN, Generation: 2}) != NexthopID(1, 4, fabric.Path{Kind: fabric.PathVXLAN}) {
		t.Error("the overlay after the next has an id of its own")
	}
	if id := NexthopID(1, 4, fabric.Path{Kind: fabric.PathBGP}); id != 0 {
		t.Errorf("BGP has the id %#x of a peer", id)
	}
}

func TestRoute(t *testing.T) {
	p := netip.MustParsePrefix("10.244.2.0/24")
	for _, tt := range []struct {
		via  Via
		want string
	}{
		{Via{Nexthop: 0x57000020}, "route 10.244.2.0/24 metric 158 nhid 0x57000020"},
		{Via{Nexthop: 0x57000020, MTU: 1400}, "route 10.244.2.0/24 metric 158 nhid 0x57000020 mtu 1400"},
		{Via{Nexthop: 0x57000020, MTU: 1400, Unreachable: true}, "route 10.244.2.0/24 metric 158 unreachable"},
		{Via{MTU: 1400}, ""},
	} {
		got := ""
		if r, ok := Route(p, tt.via); ok {
			got = r.String()
		}
		if got != tt.want {
			t.Errorf("%+v: got %q, want %q", tt.via, got, tt.want)
		}
	}
}
