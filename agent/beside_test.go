package agent

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// further is a peer with one subnet more.
func further(p *fabric.Peer, prefix string) *fabric.Peer {
	next := *p
	next.Subnets = append(next.Subnets[:len(p.Subnets):len(p.Subnets)], fabric.Subnet{Prefix: netip.MustParsePrefix(prefix), Owner: p.ID})
	return &next
}

// routeTo is the kernel's route to a peer's subnet, without what it is called by.
func routeTo(t *testing.T, prefix string) string {
	t.Helper()
	return strings.Join(strings.Fields(testns.Run(t, "ip", "route", "show", prefix, "metric", "158")), " ")
}

// The record of a further subnet of a peer is here before its route: the others
// stay where they are, and it takes another way as long as there is one.
func TestFurtherSubnetOfAPeer(t *testing.T) {
	const first, second = "10.244.2.0/24", "10.244.8.0/24"
	for _, tt := range []struct {
		name      string
		snapshot  func(...*fabric.Peer) *fabric.Snapshot
		meanwhile string // of the route to the second
	}{
		{"with an overlay", anyPathSnapshot, "dev weft.1"},
		{"without", routingSnapshot, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPeer(2, "198.18.9.2")
			l, from, prober, _ := anyPath(t, p)
			from.say(first, "198.18.1.1", "198.18.2.1")
			l.in.setSnapshot(tt.snapshot(p))
			switches := l.roundWant(t, true).switches
			before := routeTo(t, first)
			if !strings.Contains(before, "via 198.18.1.1") {
				t.Fatalf("route to the first subnet: %s", before)
			}
			p = further(p, second)
			l.in.setSnapshot(tt.snapshot(p))
			s := l.roundWant(t, true)
			if got := routeTo(t, first); got != before || s.switches != switches {
				t.Errorf("the route to the first subnet was %s\nand is %s; %d switches", before, got, s.switches-switches)
			}
			if got := routeTo(t, second); (got == "") != (tt.meanwhile == "") || !strings.Contains(got, tt.meanwhile) {
				t.Errorf("the route to the second subnet before it is announced: %q, want by %q", got, tt.meanwhile)
			}
			from.say(second, "198.18.1.1", "198.18.2.1")
			l.roundWant(t, true)
			if got := routeTo(t, second); !strings.Contains(got, "via 198.18.1.1") {
				t.Errorf("the route to the second subnet: %s", got)
			}
			// What is announced of it is enough, whichever goes; probes follow.
			from.say(first)
			l.roundWant(t, true)
			l.want.ways.watch.again()
			l.want.ways.tell(l.want.peers, l.want.ways.watch.told.AddDate(0, 0, 1))
			if got := routeTo(t, second); !strings.Contains(got, "via 198.18.1.1") {
				t.Errorf("the route to the second subnet, of which alone is told: %s", got)
			}
			k := probe.Key{Peer: p.ID, Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathBGP}}
			if got := prober.watched[k].To; got.String() != "10.244.8.1" {
				t.Errorf("BGP is probed to %v", got)
			}
			from.say(second)
			l.round1(t)
			if got := routeTo(t, second); strings.Contains(got, "via") && !strings.Contains(got, "weft.1") {
				t.Errorf("the route to the second subnet, of which nothing is told: %s", got)
			}
		})
	}
}

// BGP begins with all subnets of a peer or with none.
func TestBGPBeginsWithAllSubnets(t *testing.T) {
	p := further(testPeer(2, "198.18.9.2"), "10.244.8.0/24")
	l, from, _, _ := anyPath(t, p)
	from.say("10.244.2.0/24", "198.18.1.1")
	l.roundWant(t, true)
	l.pathsWant(t, "one is announced", "peer-002 vxlan")
	from.say("10.244.8.0/24", "198.18.1.1")
	l.roundWant(t, true)
	l.pathsWant(t, "both are", "peer-002 bgp")
}

// A subnet that a peer has leased while this agent was away has a route at once,
// while the other's stays as the life before left it.
func TestKeptWithAFurtherSubnet(t *testing.T) {
	const first, second = "10.244.2.0/24", "10.244.8.0/24"
	p := testPeer(2, "198.18.9.2")
	l, from, _, clock := anyPath(t, p)
	from.say(first, "198.18.1.1", "198.18.2.1")
	l.roundWant(t, true)
	before := routeTo(t, first)

	silent := &told{status: from.status}
	again := anotherRouting(t, l.files.runDir, silent)
	watch(again, clock, &hearing{})
	again.in.now = l.in.take()
	p = further(p, second)
	again.in.setSnapshot(anyPathSnapshot(p))
	again.round1(t)
	if got := routeTo(t, first); got != before {
		t.Errorf("the route to the first subnet was %s\nand is %s", before, got)
	}
	if got := routeTo(t, second); !strings.Contains(got, "dev weft.1") {
		t.Errorf("the route to the second subnet: %q", got)
	}
	third := "10.244.12.0/24" // leased just now
	again.in.setSnapshot(anyPathSnapshot(further(p, third)))
	silent.up = true
	silent.say(third, "198.18.1.1")
	again.round1(t)
	if got := routeTo(t, third); !strings.Contains(got, "via 198.18.1.1") {
		t.Errorf("the route to the third subnet: %q", got)
	}
	if got := routeTo(t, first); got != before {
		t.Errorf("the route to the first subnet was %s\nand is %s", before, got)
	}
	silent.say(first, "198.18.1.1", "198.18.2.1")
	again.round1(t)
	if again.want.ways.at(p.ID).IPv4.way == wayKept {
		t.Error("all that was left is told, and it waits for more")
	}
	silent.say(second, "198.18.1.1")
	silent.synced.IPv4 = true
	again.roundWant(t, true)
	again.pathsWant(t, "when all is told", "peer-002 bgp")
	if again.want.ways.left != nil {
		t.Error("it remembers what is over")
	}
}
