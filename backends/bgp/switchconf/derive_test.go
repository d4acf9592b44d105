package switchconf

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// sessions writes a switch's neighbours, one line each.
func sessions(s Switch) []string {
	var out []string
	for _, g := range s.Groups {
		for _, n := range g.Neighbors {
			far := n.Port
			if far == "" {
				far = n.Address.String()
			}
			out = append(out, g.Name+" "+far+" "+ASNRange{n.ASN, n.ASN}.String())
		}
		for _, r := range g.Ranges {
			out = append(out, g.Name+" "+r.Prefix.String())
		}
	}
	return out
}

// TestFor: which nodes have a session with a switch, and how it calls them.
func TestFor(t *testing.T) {
	one, two, far := node(1, 1), node(1, 2), node(2, 1)
	nodes := []Node{one, two, far}
	here := place("198.18.1.1/24")
	target := func(p fabric.BGPTarget, change func(*fabric.BGPPeerSpec)) *fabric.BGP {
		return objects(peer("p", func(s *fabric.BGPPeerSpec) {
			s.Peer = p
			if change != nil {
				change(s)
			}
		}))
	}
	addr := netip.MustParseAddr
	gateways := fabric.BGPTarget{Gateways: "all"}
	for _, c := range []struct {
		name   string
		asn    string // of the Fabric
		bgp    *fabric.BGP
		change func(*Place)
		want   []string
		note   string // a part of one of the notes
	}{
		{name: "gateways", bgp: target(gateways, nil), want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012"}, note: "198.18.1.0/24 is known of rack2-host1"},
		{name: "selector", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.Nodes = fabric.Selector{"rack": "r2"} }), note: "no BGPPeer object leads"},
		{name: "no selector", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.Nodes = nil }), note: "no BGPPeer object leads"},
		{name: "address", bgp: target(fabric.BGPTarget{Address: addr("198.18.1.1")}, nil), want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012"}},
		{name: "another's address", bgp: target(fabric.BGPTarget{Address: addr("198.18.1.2")}, nil), note: "no BGPPeer object leads"},
		{name: "in the nodes' range", bgp: target(fabric.BGPTarget{Range: netip.MustParsePrefix("198.18.0.0/16")}, nil), want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012"}},
		{name: "nodes among themselves", bgp: target(fabric.BGPTarget{Nodes: fabric.Selector{}}, nil), note: "no BGPPeer object leads"},
		{name: "several hops", bgp: target(fabric.BGPTarget{Address: addr("198.18.1.1")}, func(s *fabric.BGPPeerSpec) { s.Multihop = 3 }),
			want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012", "p 198.18.2.11 4200000021"}},
		{name: "source address", bgp: target(gateways, func(s *fabric.BGPPeerSpec) {
			s.Nodes, s.SourceAddress = fabric.Selector{"rack": "r2"}, addr("198.18.1.77")
		}), want: []string{"p 198.18.1.77 4200000021"}},
		{name: "AS by number", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.ASN = "65101" }), want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012"}},
		{name: "another AS", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.ASN = "65102" }), note: "expects AS 65102, this switch has 65101"},
		{name: "internal, but it is not", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.ASN = "internal" }), note: "expects this switch (AS 65101) to be so too"},
		{name: "external, but it is not", asn: "65101", bgp: target(gateways, nil), note: "expects this switch to be in another"},
		{name: "internal", asn: "65101", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.ASN = "internal" }), want: []string{"p 198.18.1.11 65101", "p 198.18.1.12 65101"}},
		{name: "local AS", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.LocalASN = 64999 }), want: []string{"p 198.18.1.11 64999", "p 198.18.1.12 64999"}},
		{name: "AS by label, one without", asn: fabric.ASNPerLabel, bgp: target(gateways, nil), note: "rack1-host1: "},
		{name: "listen", bgp: target(gateways, nil), change: func(p *Place) { p.Listen = true }, want: []string{"p 198.18.1.0/24"}},
		{name: "listen for those who wait", bgp: target(gateways, func(s *fabric.BGPPeerSpec) { s.Passive = true }), change: func(p *Place) { p.Listen = true },
			want: []string{"p 198.18.1.11 4200000011", "p 198.18.1.12 4200000012"}},
		{name: "ports", bgp: target(fabric.BGPTarget{Interface: "eth0"}, nil), change: func(p *Place) { p.Ports = []Port{{"swp1", "rack1-host1"}, {"swp9", ""}} },
			want: []string{"p swp1 4200000011", "p swp9 0"}},
		{name: "two objects, one far end", bgp: objects(peer("a", nil), peer("b", nil)), want: []string{"a 198.18.1.11 4200000011", "a 198.18.1.12 4200000012"}},
		{name: "two that differ", bgp: objects(peer("a", nil), peer("b", func(s *fabric.BGPPeerSpec) { s.GTSM = 1 })),
			want: []string{"a 198.18.1.11 4200000011", "a 198.18.1.12 4200000012"}, note: "BGPPeer b: 198.18.1.11 has what BGPPeer a asks for, which differs"},
		{name: "no objects", note: "no BGPPeer object leads"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, p := spec(), here
			if c.asn != "" {
				s.BGP.ASN = c.asn
			}
			if c.change != nil {
				c.change(&p)
			}
			sw, err := For(Fabric{s, c.bgp, nodes}, p)
			if err != nil {
				t.Fatal(err)
			}
			if got := sessions(sw); !slices.Equal(got, c.want) {
				t.Errorf("got %q, want %q", got, c.want)
			}
			if text := strings.Join(sw.Notes, "\n"); !strings.Contains(text, c.note) {
				t.Errorf("notes lack %q:\n%s", c.note, text)
			}
		})
	}
}

// TestReflectors: a switch that nodes reflect to does not reflect, and they may
// tell it of the whole fabric.
func TestReflectors(t *testing.T) {
	s := spec()
	s.BGP.ASN = "65101"
	for _, nodesReflect := range []bool{false, true} {
		objs := objects(peer("rr", func(p *fabric.BGPPeerSpec) {
			p.ASN, p.Peer = "internal", fabric.BGPTarget{Address: netip.MustParseAddr("198.18.1.1")}
			if nodesReflect {
				p.RouteReflector = &fabric.BGPReflector{ClusterID: netip.MustParseAddr("0.0.0.1")}
			}
		}))
		sw, err := For(Fabric{s, objs, []Node{node(1, 1)}}, place("198.18.1.1/24"))
		if err != nil || len(sw.Groups) != 1 {
			t.Fatalf("%d groups, %v", len(sw.Groups), err)
		}
		if g := sw.Groups[0]; !g.Internal || g.Reflects == nodesReflect || g.MaxPrefixes > 1000 != nodesReflect {
			t.Errorf("nodes reflect: %t, got %+v", nodesReflect, g)
		}
	}
}

// TestSharedASNs: whose AS is taken out of paths.
func TestSharedASNs(t *testing.T) {
	nodes := []Node{node(1, 1), node(1, 2), node(2, 1), node(2, 2)}
	byRack := map[string]uint32{"r1": 64601, "r2": 64602}
	for _, c := range []struct {
		name  string
		asn   string
		allow uint8
		want  []uint32
	}{
		{name: "each has its own", asn: fabric.ASNPerNode},
		{name: "one for all", asn: "64512", want: []uint32{64512}},
		{name: "one for all, which they accept", asn: "64512", allow: 1},
		{name: "one for a rack", asn: fabric.ASNPerLabel, want: []uint32{64601}},
	} {
		s := spec()
		s.BGP.ASN, s.BGP.ASNLabel, s.BGP.ASNs = c.asn, "rack", byRack
		sw, err := For(Fabric{s, objects(peer("tors", func(p *fabric.BGPPeerSpec) { p.AllowOwnASN = c.allow })), nodes}, place("198.18.1.1/24"))
		if err != nil {
			t.Fatal(err)
		}
		if got := sw.Groups[0].SharedASNs; !slices.Equal(got, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, got, c.want)
		}
	}
}

// TestBadPlace: what cannot be computed is refused in words.
func TestBadPlace(t *testing.T) {
	for _, c := range []struct {
		change func(*Fabric, *Place)
		want   string
	}{
		{func(f *Fabric, _ *Place) { f.Spec = nil }, "no Fabric"},
		{func(_ *Fabric, p *Place) { p.ASN = 0 }, "AS number is missing"},
		{func(_ *Fabric, p *Place) { p.Addrs = nil }, "neither an address nor a port"},
		{func(_ *Fabric, p *Place) { p.Addrs = []netip.Prefix{netip.MustParsePrefix("2001:db8::1/64")} }, "router id"},
		{func(_ *Fabric, p *Place) { p.RouterID = netip.MustParseAddr("::1") }, "not in IPv4 form"},
	} {
		f, p := Fabric{Spec: spec()}, place("198.18.1.1/24")
		c.change(&f, &p)
		if _, err := For(f, p); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("got %v, want %q", err, c.want)
		}
	}
}

// TestNothingGetsOutOfATextField: what operators write cannot become
// configuration.
func TestNothingGetsOutOfATextField(t *testing.T) {
	const evil = "x\n no router bgp\r\"; } ! # ünï\tcode`$(id)"
	sw, err := For(Fabric{spec(), objects(peer("a.b\"", func(p *fabric.BGPPeerSpec) { p.Description = evil })), []Node{node(1, 1)}}, place("198.18.1.1/24"))
	if err != nil {
		t.Fatal(err)
	}
	if g := sw.Groups[0]; g.Description != "x no router bgp n code (id)" || g.Name != "a-b-" {
		t.Errorf("got %q, %q", g.Description, g.Name)
	}
}
