package agent

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// asked says what the prober was told to watch.
func (a *hearing) asked() string {
	var out []string
	for k, t := range a.watched {
		line := fmt.Sprintf("%s %s by %d", k.Peer, k.Path.Kind, len(t.Hops))
		if t.Urgent {
			line += " urgently"
		}
		out = append(out, line)
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

func (a *hearing) want(t *testing.T, when, want string) {
	t.Helper()
	if diff := cmp.Diff(want, a.asked()); diff != "" {
		t.Errorf("%s: -want +got:\n%s", when, diff)
	}
}

// What is probed is what is used and what would be, by the next hops of now.
func TestWatchedFollowsTheChoice(t *testing.T) {
	l, from, prober, clock := anyPath(t, testPeer(2, "198.18.9.2"), testPeer(3, "198.18.1.23"))
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	l.roundWant(t, true)
	clock.pass(time.Second)
	l.roundWant(t, true)
	prober.want(t, "two uplinks", "peer-002 bgp by 2, peer-003 direct by 1")
	clock.pass(time.Second)
	testns.Run(t, "ip", "link", "set", "far2", "down")
	poll(t, l, func() bool {
		clock.pass(time.Second)
		return strings.Contains(prober.asked(), "peer-002 bgp by 1")
	})
	from.up = false
	l.round1(t)
	prober.want(t, "the sessions are lost", "peer-002 vxlan by 1, peer-003 direct by 1")
	from.up = true
	l.roundWant(t, true)
	prober.want(t, "BGP must be stable first", "peer-002 bgp by 1 urgently, peer-002 vxlan by 1, peer-003 direct by 1")
	if l.want.due.IsZero() || l.want.due.After(clock.at.Add(2*paths.Stable)) {
		t.Errorf("the loop will look again at %v, now is %v", l.want.due, clock.at)
	}
	l.in.setSnapshot(anyPathSnapshot(testPeer(3, "198.18.1.23")))
	l.roundWant(t, true)
	prober.want(t, "one peer is gone", "peer-003 direct by 1")
	l.in.setLease(leased("10.244.9.0/24"))
	clock.pass(time.Second)
	l.roundWant(t, true)
	for _, target := range prober.watched {
		if target.From.String() != "10.244.9.1" {
			t.Errorf("another subnet of ours, and it is asked from %s", target.From)
		}
	}
}

// Where several ways are preferred to the one in use, all of them are asked: one
// that is silent would else be forgotten to be while another is looked at.
func TestAllThatIsSilentIsWatched(t *testing.T) {
	near := testPeer(2, "198.18.1.22")
	l, from, prober, clock := anyPath(t, near)
	direct := probe.Key{Peer: near.ID, Family: fabric.IPv4, Path: fabric.Path{Kind: fabric.PathDirect}}
	from.say("10.244.2.0/24", "198.18.1.1")
	l.roundWant(t, true)
	clock.pass(time.Second)
	prober.found[direct], prober.found[bgpTo(near)] = probe.Verdict{State: probe.Silent}, probe.Verdict{State: probe.Silent}
	l.hear(t)
	l.pathsWant(t, "plain packets are dropped", "peer-002 vxlan")
	clock.pass(time.Second)
	l.hear(t)
	prober.want(t, "both are silent", "peer-002 bgp by 1 urgently, peer-002 direct by 1 urgently, peer-002 vxlan by 1")

	delete(prober.found, direct)
	delete(prober.found, bgpTo(near))
	clock.pass(time.Second)
	l.hear(t)
	clock.pass(paths.Stable + time.Second)
	l.roundWant(t, true)
	if way := l.peers()[0].Path; way == "vxlan" {
		t.Error("both answer again, and it is still reached by vxlan")
	}
}

// A prefix that the routers told of before its owner was known: the FIB's route
// is not left behind where the owner is not to be reached by it.
func TestClaimTakesTheRouteAlong(t *testing.T) {
	l, from, _, _ := anyPath(t)
	from.say("10.244.2.0/24", "198.18.1.1")
	l.roundWant(t, true)
	if have := learntRoutes(t); !strings.Contains(have, "10.244.2.0/24") {
		t.Fatalf("nobody's prefix has no route:\n%s", have)
	}
	p := testPeer(2, "198.18.9.2")
	next := anyPathSnapshot(p)
	p.Receives = nil
	l.in.setSnapshot(next)
	l.roundWant(t, true)
	l.pathsWant(t, "an owner that takes nothing", "peer-002 none")
	if s := l.summary.Load(); s.pathless != 1 || s.paths[""] != 1 {
		t.Errorf("paths %v, %d peers without", s.paths, s.pathless)
	}
	changed := anyPathSnapshot()
	changed.Spec.Overlay = fabric.OverlayNever
	l.in.setSnapshot(changed)
	if s := l.roundWant(t, true); s.pathless != 0 || s.paths[""] != 0 {
		t.Errorf("the peer went with a change of the specification: paths %v, %d without", s.paths, s.pathless)
	}
}
