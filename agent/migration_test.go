package agent

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// bgpTo is the way to a peer by BGP.
func bgpTo(p *fabric.Peer) probe.Key {
	return probe.Key{Peer: p.ID, Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathBGP}}
}

// A migration moves the peers up to the node's cursor, back again, and those that
// are not armed not at all.
func TestCursorMovesPeers(t *testing.T) {
	peers := []*fabric.Peer{testPeer(2, "198.18.9.2"), testPeer(3, "198.18.9.3"), testPeer(4, "198.18.9.4")}
	l, from, prober, clock := anyPath(t, peers...)
	for _, p := range peers { // volleys have asked, and the prober has not yet
		prober.found[bgpTo(p)] = probe.Verdict{}
	}
	at := func(change func(*fabric.Snapshot)) {
		t.Helper()
		s := snapshotOf(peers...)
		to := s.Spec.Plan()
		to.Backend, to.Paths = "bgp", []fabric.PathKind{fabric.PathBGP, fabric.PathVXLAN}
		s.Migration = &fabric.Migration{ID: "m", From: s.Spec.Plan(), To: to}
		s.Reports = map[string]fabric.MigrationReport{"self": {ID: "m", Armed: true}}
		for _, p := range peers {
			if p.Features == nil {
				p.Features = []string{fabric.FeatureMigrate}
			}
			s.Reports[p.Name] = fabric.MigrationReport{ID: "m", Armed: p.Name != "peer-003"}
		}
		if change != nil {
			change(s)
		}
		l.in.setSnapshot(s)
		l.roundWant(t, true)
		if l.summary.Load().programmed != s {
			t.Error("the summary does not say that the snapshot is carried out")
		}
	}
	cursor := func(id fabric.NodeID) func(*fabric.Snapshot) {
		return func(s *fabric.Snapshot) {
			s.Reports["self"] = fabric.MigrationReport{ID: "m", Armed: true, Cursor: id, Moving: true}
		}
	}
	for i := 2; i <= 4; i++ {
		from.say(fmt.Sprintf("10.244.%d.0/24", i), "198.18.1.1")
	}
	l.in.setSnapshot(snapshotOf(peers...))
	l.roundWant(t, true)
	at(nil)
	l.pathsWant(t, "both plans armed", "peer-002 vxlan, peer-003 vxlan, peer-004 vxlan")
	before := l.summary.Load().writes
	at(cursor("peer-002"))
	l.pathsWant(t, "one moved", "peer-002 bgp, peer-003 vxlan, peer-004 vxlan")
	if n := l.summary.Load().writes - before; n != 1 {
		t.Errorf("%d messages to move one peer", n)
	}
	at(cursor("peer-004"))
	l.pathsWant(t, "all moved but the one that is not armed", "peer-002 bgp, peer-003 vxlan, peer-004 bgp")
	at(cursor(""))
	l.pathsWant(t, "moved back", "peer-002 vxlan, peer-003 vxlan, peer-004 vxlan")
	at(cursor("peer-004"))
	clock.pass(time.Second)
	at(func(s *fabric.Snapshot) {
		s.Reports["self"] = fabric.MigrationReport{ID: "m", Armed: true, Done: true}
		s.Reports["peer-003"] = fabric.MigrationReport{ID: "m", Armed: true}
	})
	l.pathsWant(t, "one is armed late, which no volley has asked", "peer-002 bgp, peer-003 vxlan, peer-004 bgp")
	if _, asked := prober.watched[bgpTo(peers[1])]; !asked {
		t.Error("nobody asks by which way the late one would be reached")
	}
	prober.found[bgpTo(peers[1])] = probe.Verdict{State: probe.Answers}
	l.hear(t)
	l.pathsWant(t, "it has answered", "peer-002 bgp, peer-003 bgp, peer-004 bgp")
	before = l.summary.Load().writes
	finished := anyPathSnapshot(peers...)
	finished.Spec.Paths = []fabric.PathKind{fabric.PathBGP, fabric.PathVXLAN}
	l.in.setSnapshot(finished)
	l.roundWant(t, true)
	l.pathsWant(t, "finished", "peer-002 bgp, peer-003 bgp, peer-004 bgp")
	if n := l.summary.Load().writes - before; n != 0 {
		t.Errorf("%d messages to finish", n)
	}
	if target := l.want.targetsBy(finished.Spec.Plan(), peers[0]); len(target) != 1 || target[0].Path.Kind != fabric.PathBGP || len(target[0].Hops) != 1 || target[0].Hops[0] != (kernel.Hop{Link: "eth1", Gateway: netip.MustParseAddr("198.18.1.1")}) {
		t.Errorf("targets %+v", target)
	}
}
