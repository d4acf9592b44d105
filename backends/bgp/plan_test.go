package bgp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
)

func TestPlan(t *testing.T) {
	three := []*fabric.Peer{node(1), node(2), node(3)}
	racks := []*fabric.Peer{node(1, "role=reflector"), node(2, "role=reflector"), node(3), node(4)}
	tests := []struct {
		name, yaml string
		self       *fabric.Peer
		nodes      []*fabric.Peer
		change     func(*Facts)
	}{
		{"smallest", ipv4Only + tors, node(1), nil, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.1.254"), addr("198.18.0.254")}
		}},
		{"gateways-of-both-families", dualStack + tors, node(1), nil, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254"), addr("fe80::1%eth0")}
		}},
		{"gateways-of-one-family", dualStack + tors, node(1), nil, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254")}
		}},
		{"no-ipv6-underlay", dualStack + tors, node(1), nil, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254")}
			f.Underlay.Addrs.IPv6 = netip.Addr{}
		}},
		{"no-gateway", ipv4Only + tors, node(1), nil, nil},
		{"every-option", dualStack + everyOption, node(1, "rack=r1"), nil, func(f *Facts) {
			f.Secrets = map[string]Credential{"/etc/weft/bgp/a": {Secret: "abracadabra"}}
		}},
		{"mesh-from-the-middle", ipv4Only + mesh, three[1], three, nil},
		{"reflector", dualStack + reflectors, racks[0], racks, func(f *Facts) { f.Spec.BGP.ASN = "65000" }},
		{"reflector-client", dualStack + reflectors, racks[3], racks, func(f *Facts) { f.Spec.BGP.ASN = "65000" }},
		{"range", ipv4Only + ranges, node(1), nil, nil},
		{"policies", dualStack + policies, node(1), nil, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254"), addr("198.18.1.254")}
		}},
		{"prefixes", ipv4Only + tors + prefixes, node(1, "role=dns"), three, func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254")}
			f.Healthy = map[string]bool{"b-sick": false, "c-well": true}
		}},
		{"prefixes-within-the-as", ipv4Only + mesh + prefixes, node(1, "role=dns"), three, nil},
		{"faults", dualStack + faults, node(1), append(three, node(9)), func(f *Facts) {
			f.Gateways = []netip.Addr{addr("198.18.0.254"), addr("198.18.1.254")}
			f.Peers[3].Index = 0
			f.Secrets = map[string]Credential{"/etc/weft/bgp/gone": {Err: "no such file or directory"}}
		}},
		{"no-index", dualStack + tors, node(0), nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := factsOf(parsed(t, tt.yaml), tt.self, tt.nodes...)
			if tt.change != nil {
				tt.change(&f)
			}
			d, problems := Plan(f)
			golden.Compare(t, "plan-"+tt.name+".txt", describe(d, problems)+describeWithheld(WithheldBy(f)))
			again, _ := Plan(f)
			if describe(d, problems) != describe(again, problems) {
				t.Error("the same facts give another plan")
			}
		})
	}
}

// What a node does when it is drained, and when its host goes down: first the
// others are asked to move away, then it is withdrawn.
func TestLeaving(t *testing.T) {
	yaml := ipv4Only + tors + prefixes
	var text strings.Builder
	for _, tt := range []struct {
		name              string
		leaving, stopping Leaving
	}{
		{"as ever", Stay, Stay},
		{"drain: yielding", Yielding, Stay},
		{"drain: withdrawn", Withdrawn, Stay},
		{"drained, and the host begins to go down", Withdrawn, Yielding},
		{"the host goes down", Stay, Yielding},
		{"all withdrawn", Stay, Withdrawn},
	} {
		f := factsOf(parsed(t, yaml), node(1, "role=dns"))
		f.Gateways = []netip.Addr{addr("198.18.0.254")}
		f.Healthy = map[string]bool{"b-sick": true, "c-well": true, "d-unknown": true}
		f.Leaving, f.Stopping = tt.leaving, tt.stopping
		d, _ := Plan(f)
		if len(d.Sessions) != 1 {
			t.Errorf("%s: %d sessions", tt.name, len(d.Sessions))
		}
		d.Sessions = nil
		fmt.Fprintf(&text, "# %s\n%s%s\n", tt.name, describe(d, nil), describeWithheld(WithheldBy(f)))
	}
	golden.Compare(t, "leaving.txt", text.String())
}

// Two nodes that make a session of one object must agree: who dials, which
// addresses, which numbers; whatever the nodes and selectors.
func TestBothEndsAgree(t *testing.T) {
	nodes := []*fabric.Peer{node(1, "role=reflector"), node(2, "role=reflector"), node(3), node(4), node(5)}
	nodes[3].Underlay.IPv4 = netip.Addr{}
	nodes[4].Underlay.IPv6 = netip.Addr{}
	for name, yaml := range map[string]string{"mesh": mesh, "reflectors": reflectors} {
		for _, numbers := range []string{"65000", "perNode"} {
			type half struct{ local, remote netip.Addr }
			sessions := make(map[half]Session)
			objects := parsed(t, dualStack+yaml)
			objects.Spec.BGP.ASN = numbers
			if numbers == fabric.ASNPerNode {
				objects.BGP.Peers[0].Spec.LocalASN = 65099
			}
			for _, n := range nodes {
				d, _ := Plan(factsOf(objects, n, nodes...))
				for _, s := range d.Sessions {
					f := fabric.FamilyOf(s.Address)
					sessions[half{n.Underlay.Get(f), s.Address}] = s
				}
			}
			if len(sessions) < 6 {
				t.Errorf("%s: %d sessions", name, len(sessions))
			}
			for h, s := range sessions {
				other, ok := sessions[half{h.remote, h.local}]
				switch {
				case !ok:
					t.Errorf("%s: %s makes a session with %s, which makes none", name, h.local, h.remote)
				case s.Passive == other.Passive:
					t.Errorf("%s: %s and %s: passive is %t at both", name, h.local, h.remote, s.Passive)
				case s.ReflectorClient && (other.ReflectorClient || other.ClusterID.IsValid()):
					t.Errorf("%s: %s and %s reflect to each other", name, h.local, h.remote)
				case s.LocalASN != other.LocalASN || s.RemoteASN != other.RemoteASN:
					t.Errorf("%s: %s and %s do not agree on numbers", name, h.local, h.remote)
				}
			}
		}
	}
}

// manyNodes are n nodes, each 200th of them a reflector.
func manyNodes(n int) []*fabric.Peer {
	var nodes []*fabric.Peer
	for i := range n {
		p := node(i%200+1, []string{"role=client", "role=reflector"}[i/2%100/99])
		p.Name, p.ID, p.Index = fmt.Sprintf("n%d", i+1), fabric.NodeID(fmt.Sprintf("id-%05d", i)), uint32(i+1)
		p.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})
		nodes = append(nodes, p)
	}
	return nodes
}

// BenchmarkPlan is a reflector of many clients, one node of a large mesh, and
// one of a large fabric that peers with its switches.
func BenchmarkPlan(b *testing.B) {
	nodes := manyNodes(10000)
	oneAS := strings.ReplaceAll(dualStack, "perNode", `"65000"`)
	for _, bb := range []struct {
		name, yaml string
		nodes      []*fabric.Peer
	}{
		{"reflector-of-200", oneAS + reflectors, nodes[:202]},
		{"mesh-of-1000", oneAS + mesh + policies + prefixes, nodes[:1000]},
		{"tors-in-10000", dualStack + tors + prefixes, nodes},
	} {
		b.Run(bb.name, func(b *testing.B) {
			f := factsOf(parsed(b, bb.yaml), bb.nodes[198], bb.nodes...)
			f.Gateways = []netip.Addr{addr("198.19.0.1"), addr("198.19.0.2")}
			b.ReportAllocs()
			for b.Loop() {
				d, _ := Plan(f)
				b.ReportMetric(float64(len(d.Sessions)), "sessions")
			}
		})
	}
}

// BenchmarkDiffResets is a change that resets every session of a large mesh,
// and one that resets none.
func BenchmarkDiffResets(b *testing.B) {
	nodes := manyNodes(1000)
	yaml := strings.ReplaceAll(dualStack, "perNode", `"65000"`) + mesh
	before := parsed(b, yaml)
	for name, after := range map[string]string{"none": yaml + "  description: new\n", "all": yaml + "  gtsm: 1\n"} {
		b.Run(name, func(b *testing.B) {
			after := parsed(b, after)
			for b.Loop() {
				b.ReportMetric(float64(len(DiffResets(before, after, nodes))), "lines")
			}
		})
	}
}
