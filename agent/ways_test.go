package agent

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// The whole life of a choice: the overlay until the routers told of the peer, BGP
// as long as they do and a session is up, the overlay at once when not, and BGP
// again when that has been stable; each for the price of one message.
func TestChoiceFollowsTheFacts(t *testing.T) {
	l, from, _, clock := anyPath(t, testPeer(2, "198.18.9.2"), testPeer(3, "198.18.9.3"))
	l.roundWant(t, true)
	l.pathsWant(t, "nobody told of anything", "peer-002 vxlan, peer-003 vxlan")
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	l.roundWant(t, true)
	l.pathsWant(t, "told of one", "peer-002 bgp, peer-003 vxlan")
	from.say("10.244.3.0/24", "198.18.1.1")
	before := l.roundWant(t, true).writes
	l.pathsWant(t, "told of both", "peer-002 bgp, peer-003 bgp")

	from.up = false
	s := l.round1(t)
	l.pathsWant(t, "the sessions are lost", "peer-002 vxlan, peer-003 vxlan")
	if n := s.writes - before; n != 2 {
		t.Errorf("two peers left BGP by %d messages", n)
	}
	from.up = true
	l.roundWant(t, true)
	l.pathsWant(t, "a session is back", "peer-002 vxlan, peer-003 vxlan")
	clock.pass(paths.Stable + time.Second)
	l.roundWant(t, true)
	l.pathsWant(t, "and stable", "peer-002 bgp, peer-003 bgp")

	from.say("10.244.3.0/24")
	l.roundWant(t, true)
	l.pathsWant(t, "one is withdrawn", "peer-002 bgp, peer-003 vxlan")
	l.in.setDown("peer-003", true)
	l.in.setDown("peer-002", true)
	l.roundWant(t, true)
	l.pathsWant(t, "both hosts are down", "peer-002 bgp, peer-003 unreachable")
	l.in.setDown("peer-003", false)
	l.roundWant(t, true)
	l.pathsWant(t, "one is back", "peer-002 bgp, peer-003 vxlan")
	l.in.setSnapshot(anyPathSnapshot(testPeer(3, "198.18.9.3")))
	s = l.roundWant(t, true)
	if routes := learntRoutes(t); !strings.Contains(routes, "10.244.2.0/24 nhid") {
		t.Errorf("a prefix that the routers tell of belongs to nobody, and has no route:\n%s", routes)
	}
	if s.paths[fabric.PathVXLAN] != 1 || s.paths[fabric.PathBGP] != 0 || s.switches != 7 {
		t.Errorf("paths %v, %d changes", s.paths, s.switches)
	}
}

// A thousand peers leave BGP in one round, by one message for each subnet.
func TestAllPeersFallBackTogether(t *testing.T) {
	const n = 200
	var peers []*fabric.Peer
	for i := range n {
		peers = append(peers, testPeer(20+i, fmt.Sprintf("198.18.9.%d", 20+i)))
	}
	l, from, _, _ := anyPath(t, peers...)
	for i := range n {
		from.say(fmt.Sprintf("10.244.%d.0/24", 20+i), "198.18.1.1", "198.18.2.1")
	}
	before := l.roundWant(t, true)
	if before.paths[fabric.PathBGP] != n {
		t.Fatalf("paths %v", before.paths)
	}
	from.up = false
	after := l.round1(t)
	if got := after.writes - before.writes; got != n || after.paths[fabric.PathVXLAN] != n || !after.report.InSync {
		t.Errorf("%d messages for %d peers; paths %v", got, n, after.paths)
	}
}

// A restart finds what it had chosen in the kernel and writes nothing, whichever
// way was in use, before and after the routers have told all again.
func TestRestartKeepsTheChoice(t *testing.T) {
	peers := []*fabric.Peer{testPeer(2, "198.18.9.2"), testPeer(3, "198.18.9.3"), testPeer(4, "198.18.1.24")}
	l, from, prober, clock := anyPath(t, peers...)
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	prober.found[probe.Key{Peer: "peer-002", Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathBGP}}] = probe.Verdict{State: probe.Answers, MTU: 1400}
	l.roundWant(t, true)
	const chosen = "peer-002 bgp, peer-003 vxlan, peer-004 direct"
	l.pathsWant(t, "before", chosen)
	have := learntRoutes(t)
	if !strings.Contains(have, "mtu 1400") {
		t.Errorf("routes do not tell what the path carries:\n%s", have)
	}

	silent := &told{status: from.status}
	again := anotherRouting(t, l.files.runDir, silent)
	unheard := &hearing{found: map[probe.Key]probe.Verdict{}}
	for _, p := range peers {
		for _, kind := range []fabric.PathKind{fabric.PathBGP, fabric.PathVXLAN, fabric.PathDirect} {
			unheard.found[probe.Key{Peer: p.ID, Family: fabric.IPv4, Path: fabric.Path{Kind: kind}}] = probe.Verdict{}
		}
	}
	watch(again, clock, unheard)
	again.in.now = l.in.take()
	if s := again.roundWant(t, false); s.writes != 0 || learntRoutes(t) != have {
		t.Errorf("%d messages while nobody has told anything; routes\n%s\nwere\n%s", s.writes, learntRoutes(t), have)
	}
	silent.up = true
	silent.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	silent.synced.IPv4 = true
	if s := again.roundWant(t, true); s.writes != 0 || learntRoutes(t) != have {
		t.Errorf("%d messages when all is told; routes\n%s\nwere\n%s", s.writes, learntRoutes(t), have)
	}
	again.pathsWant(t, "after", chosen)
	unheard.found[probe.Key{Peer: "peer-002", Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathBGP}}] = probe.Verdict{State: probe.Answers, MTU: 1450}
	clock.pass(time.Second)
	again.hear(t)
	if strings.Contains(learntRoutes(t), "mtu") {
		t.Errorf("the path carries all again, and the route does not say so:\n%s", learntRoutes(t))
	}
}

// A route of an earlier life that no session tells of is given up after a while
// where there is another way.
func TestKeptRoutesAreNotKeptForEver(t *testing.T) {
	l, from, _, clock := anyPath(t, testPeer(2, "198.18.9.2"))
	from.say("10.244.2.0/24", "198.18.1.1")
	l.roundWant(t, true)
	again := anotherRouting(t, l.files.runDir, &told{status: from.status})
	watch(again, clock, &hearing{})
	again.in.now = l.in.take()
	again.round1(t)
	again.pathsWant(t, "just started", "peer-002 bgp")
	clock.pass(2 * keepMost)
	again.round1(t)
	again.pathsWant(t, "no session came", "peer-002 vxlan")
}

// The operator's word about paths counts at once, for those it is about.
func TestPathsChangeLive(t *testing.T) {
	l, from, _, _ := anyPath(t, testPeer(2, "198.18.9.2"), testPeer(3, "198.18.1.23"))
	from.say("10.244.2.0/24", "198.18.1.1")
	from.say("10.244.3.0/24", "198.18.1.1")
	l.roundWant(t, true)
	l.pathsWant(t, "by default", "peer-002 bgp, peer-003 direct")
	for _, c := range []struct {
		name, want string
		change     func(*fabric.Spec)
	}{
		{"overlay always", "peer-002 vxlan, peer-003 vxlan", func(s *fabric.Spec) { s.Overlay = fabric.OverlayAlways }},
		{"no overlay", "peer-002 bgp, peer-003 direct", func(s *fabric.Spec) { s.Overlay = fabric.OverlayNever }},
		{"a rule for one", "peer-002 vxlan, peer-003 direct", func(s *fabric.Spec) {
			s.PathRules = []fabric.PathRule{{Nodes: fabric.Selector{}, Peers: fabric.Selector{"rack": "r2"}, Overlay: fabric.OverlayAlways}}
		}},
	} {
		two := testPeer(2, "198.18.9.2")
		two.Labels = map[string]string{"rack": "r2"}
		next := anyPathSnapshot(two, testPeer(3, "198.18.1.23"))
		two.Receives = append(two.Receives, fabric.PathBGP)
		c.change(next.Spec)
		l.in.setSnapshot(next)
		l.roundWant(t, true)
		l.pathsWant(t, c.name, c.want)
	}
}

// The segment is left when the link to it has no carrier.
func TestCarrierLostLeavesTheSegment(t *testing.T) {
	l, from, _, _ := anyPath(t, testPeer(3, "198.18.1.23"))
	from.say("10.244.3.0/24", "198.18.2.1")
	l.roundWant(t, true)
	l.pathsWant(t, "with carrier", "peer-003 direct")
	testns.Run(t, "ip", "link", "set", "far1", "down")
	poll(t, l, func() bool { return l.peers()[0].Path == "bgp" })
}

// What the probes find of a path becomes the MTU of its routes, and of no other.
func TestProbesSetTheMTU(t *testing.T) {
	l, _, prober, clock := anyPath(t, testPeer(2, "198.18.9.2"), testPeer(3, "198.18.9.3"))
	l.roundWant(t, true)
	clock.pass(time.Second) // the start first, then the probes
	l.roundWant(t, true)
	key := probe.Key{Peer: "peer-002", Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathVXLAN}}
	if target, ok := prober.watched[key]; !ok || target.Full != 1450 || target.To != netip.MustParseAddr("10.244.2.1") || target.From != netip.MustParseAddr("10.244.1.1") {
		t.Fatalf("watched: %+v", prober.watched)
	}
	prober.found[key] = probe.Verdict{State: probe.Answers, MTU: 1350}
	clock.pass(time.Second)
	before := l.summary.Load().writes
	s := l.hear(t)
	if have := routes(t); !strings.Contains(have, "10.244.2.0/24 nhid 1459617824 via 10.244.2.0 dev weft.1 metric 158 onlink mtu 1350") || strings.Count(have, "mtu") != 1 {
		t.Errorf("routes\n%s", have)
	}
	if s.writes != before+1 {
		t.Errorf("%d messages for one route", s.writes-before)
	}
	if r := l.want.reduced(); len(r) != 1 || r[0].Peer != "peer-002" || r[0].MTU != 1350 || r[0].Full != 1450 {
		t.Errorf("reduced %+v", r)
	}
	prober.found[key] = probe.Verdict{State: probe.Silent}
	clock.pass(time.Second)
	l.hear(t)
	if names := l.want.silent(); len(names) != 1 || names[0] != "peer-002" {
		t.Errorf("silent %v", names)
	}
}

// A path that answers no probe is left for one that does, and asked again.
func TestSilentPathIsLeft(t *testing.T) {
	l, from, prober, clock := anyPath(t, testPeer(2, "198.18.9.2"))
	from.say("10.244.2.0/24", "198.18.1.1")
	l.roundWant(t, true)
	l.pathsWant(t, "at first", "peer-002 bgp")
	key := probe.Key{Peer: "peer-002", Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathBGP}}
	prober.found[key] = probe.Verdict{State: probe.Silent}
	clock.pass(time.Second)
	l.hear(t)
	l.pathsWant(t, "silent", "peer-002 vxlan")
	if _, asked := prober.watched[key]; !asked {
		t.Errorf("nobody asks whether the silent path is back: %v", prober.watched)
	}
	delete(prober.found, key)
	clock.pass(time.Second)
	l.hear(t)
	clock.pass(paths.MostStable)
	l.roundWant(t, true)
	l.pathsWant(t, "back and stable", "peer-002 bgp")
}
