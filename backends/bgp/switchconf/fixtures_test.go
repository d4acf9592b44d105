package switchconf

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
)

func spec() *fabric.Spec {
	s := &fabric.Spec{Backend: "bgp", BGP: fabric.BGPSpec{
		ASN: fabric.ASNPerNode, RouterID: fabric.RouterIDUnderlay, Port: 179, Multipath: 16,
		Timers:          fabric.BGPTimers{Hold: fabric.BGPHold, Keepalive: fabric.BGPKeepalive, ConnectRetry: fabric.Duration(5 * time.Second)},
		GracefulRestart: fabric.BGPRestart{Enabled: true, Time: fabric.BGPRestartTime},
	}}
	s.Network.IPv4, s.Network.IPv6 = netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix("fd00:10:244::/48")
	s.SubnetLength.IPv4, s.SubnetLength.IPv6 = 24, 64
	return s
}

// node is host number i of a rack, with the index 10*rack+i.
func node(rack, i int) Node {
	n := Node{Node: fabric.Node{
		Name: fmt.Sprintf("rack%d-host%d", rack, i), Index: uint32(10*rack + i), Labels: map[string]string{"rack": fmt.Sprintf("r%d", rack)},
	}}
	n.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 18, byte(rack), byte(10 + i)})
	return n
}

func peer(name string, change func(*fabric.BGPPeerSpec)) fabric.BGPPeer {
	p := fabric.BGPPeer{Name: name, Spec: fabric.BGPPeerSpec{Nodes: fabric.Selector{}, ASN: "external"}}
	p.Spec.Peer.Gateways = "all"
	if change != nil {
		change(&p.Spec)
	}
	return p
}

func objects(peers ...fabric.BGPPeer) *fabric.BGP { return &fabric.BGP{Peers: peers} }

func place(addrs ...string) Place {
	p := Place{Name: "rack1-tor1", ASN: 65101}
	for _, a := range addrs {
		p.Addrs = append(p.Addrs, netip.MustParsePrefix(a))
	}
	return p
}

// scenario is a fabric and one of its switches.
type scenario struct {
	name   string
	fabric Fabric
	place  Place
}

// scenarios are the situations that differ in what is written.
func scenarios() []scenario {
	rack := []Node{node(1, 1), node(1, 2), node(2, 1)}
	dual := node(1, 3)
	dual.Underlay.IPv4 = netip.MustParseAddr("198.18.9.13") // towards the other switch
	dual.Addrs = []netip.Addr{netip.MustParseAddr("198.18.1.13")}
	var out []scenario
	add := func(name string, f Fabric, p Place) { out = append(out, scenario{name, f, p}) }

	add("rack", Fabric{spec(), objects(peer("tors", nil)), append(rack, dual)}, place("198.18.1.1/24"))

	// Everything that a session can have.
	s := spec()
	s.BGP.Port, s.BGP.LongLived = 1179, fabric.BGPRestart{Enabled: true, Time: fabric.BGPLongLivedTime}
	all := objects(peer("tors", func(p *fabric.BGPPeerSpec) {
		p.GTSM, p.Auth.MD5File, p.Description = 1, "/etc/weft/bgp/tors", "nodes of rack 1"
		p.Timers = fabric.BGPTimers{Hold: fabric.Duration(30 * time.Second), Keepalive: fabric.Duration(10 * time.Second)}
	}))
	all.Prefixes = []fabric.BGPPrefix{{Name: "dns", Spec: fabric.BGPPrefixSpec{
		Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32"), netip.MustParsePrefix("2001:db8::53/128")},
	}}}
	p := place("198.18.1.1/24")
	p.Default = true
	add("full", Fabric{s, all, rack}, p)

	p = place("198.18.1.1/24", "2001:db8:1::1/64")
	p.Listen = true
	add("listen", Fabric{spec(), objects(peer("tors", nil)), rack}, p)

	// Ports without addresses: IPv4 over IPv6 next hops.
	p = Place{Name: "rack1-tor1", ASN: 65101, RouterID: netip.MustParseAddr("198.18.255.1"), Ports: []Port{{"swp1", "rack1-host1"}, {"swp2", "rack1-host2"}}}
	add("unnumbered", Fabric{spec(), objects(peer("uplinks", func(p *fabric.BGPPeerSpec) {
		p.Peer = fabric.BGPTarget{Interface: "eth0"}
	})), rack}, p)
	p.Ports = []Port{{Name: "swp1"}, {Name: "swp2"}}
	add("unnumbered-any", Fabric{spec(), objects(peer("uplinks", func(p *fabric.BGPPeerSpec) {
		p.Peer = fabric.BGPTarget{Interface: "eth0"}
	})), nil}, p)

	// One AS for all nodes, over IPv6, IPv4 only in the network.
	s = spec()
	s.BGP.ASN, s.Network.IPv6 = "64512", netip.Prefix{}
	six := node(1, 1)
	six.Underlay = fabric.PerFamily[netip.Addr]{IPv6: netip.MustParseAddr("2001:db8:1::11")}
	six2 := node(1, 2)
	six2.Underlay = fabric.PerFamily[netip.Addr]{IPv6: netip.MustParseAddr("2001:db8:1::12")}
	p = place("2001:db8:1::1/64")
	p.RouterID = netip.MustParseAddr("198.18.255.1")
	add("same-as", Fabric{s, objects(peer("tors", nil)), []Node{six, six2}}, p)

	// A route reflector some hops away.
	s = spec()
	s.BGP.ASN = "65000"
	p = place("198.18.0.5/32")
	p.Name, p.ASN = "rr1", 65000
	add("reflector", Fabric{s, objects(peer("rr", func(p *fabric.BGPPeerSpec) {
		p.Peer, p.ASN, p.Multihop = fabric.BGPTarget{Address: netip.MustParseAddr("198.18.0.5")}, "internal", 4
	})), rack}, p)

	// The same on the nodes' own segment.
	p = place("198.18.1.5/24")
	p.Name, p.ASN, p.Listen = "rr2", 65000, true
	add("reflector-listen", Fabric{s, objects(peer("rr", func(p *fabric.BGPPeerSpec) {
		p.Peer, p.ASN = fabric.BGPTarget{Address: netip.MustParseAddr("198.18.1.5")}, "internal"
	})), nil}, p)

	add("names", Fabric{spec(), namesAlike(), nodesAlike()}, place("198.18.1.1/24", "198.18.2.1/24", "2001:db8:1::1/64"))
	return out
}

// namesAlike are objects whose groups would have one name: they differ in a
// sign, or one is like what is put behind another's, or is the template's own.
func namesAlike() *fabric.BGP {
	var peers []fabric.BGPPeer
	for i, name := range []string{"a-b", "a.b", "device", "x", "x-v6"} {
		peers = append(peers, peer(name, func(p *fabric.BGPPeerSpec) {
			p.Nodes = fabric.Selector{"of": fmt.Sprint(i)}
		}))
	}
	return objects(peers...)
}

// nodesAlike are nodes of namesAlike's objects: some have names that differ in a
// sign, one is at two segments of the switch.
func nodesAlike() []Node {
	var out []Node
	for i, of := range []string{"0", "1", "1", "2", "3", "4"} {
		n := node(1, i)
		n.Name, n.Labels = []string{"n.1", "n-1"}[i%2], map[string]string{"of": of}
		n.Addrs = []netip.Addr{netip.AddrFrom4([4]byte{198, 18, 2, byte(10 + i)})}
		if i > 3 {
			n.Underlay.IPv6 = netip.MustParseAddr(fmt.Sprintf("2001:db8:1::%d", 10+i))
		}
		out = append(out, n)
	}
	return out
}
