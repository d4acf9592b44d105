package agent

import (
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

// told is a learner that is told by the test what its peers say.
type told struct {
	changes []bgp.Change
	said    []bgp.Change // all so far
	synced  fabric.PerFamily[bool]
	status  routing.Status
	up      bool
	tors    []bgp.SessionStatus // nil: one session as up says
}

func (f *told) Take(most int) ([]bgp.Change, bool) {
	n := min(most, len(f.changes))
	out := f.changes[:n]
	f.changes = f.changes[n:]
	return out, len(f.changes) > 0
}

func (f *told) Again() { f.changes = slices.Clone(f.said) }

func (f *told) Synced(family fabric.Family) bool { return f.synced.Get(family) }
func (f *told) Status() *routing.Status          { return &f.status }

func (f *told) Sessions() []bgp.SessionStatus {
	if f.tors != nil {
		return f.tors
	}
	s := bgp.SessionStatus{Key: "tors/198.18.1.1", State: "active", LastError: "connection refused"}
	if f.up {
		s.State, s.LastError = bgp.Established, ""
	}
	return []bgp.SessionStatus{s}
}

func (f *told) say(prefix string, via ...string) {
	c := bgp.Change{Prefix: netip.MustParsePrefix(prefix)}
	for _, a := range via {
		c.NextHops = append(c.NextHops, netip.MustParseAddr(a))
	}
	f.changes, f.said = append(f.changes, c), append(f.said, c)
}

// twoUplinks is a namespace of a host with a link to each of two switches, and a
// loop whose fabric routes.
func twoUplinks(t *testing.T) (*loop, *told) {
	t.Helper()
	testns.New(t)
	for i := 1; i <= 2; i++ {
		for _, line := range []string{
			"link add eth%d type veth peer name far%d", "link set eth%d up", "link set far%d up", "addr add 198.18.%d.10/24 dev eth%d",
		} {
			args := []any{i, i}[:strings.Count(line, "%d")]
			testns.Run(t, "ip", strings.Fields(fmt.Sprintf(line, args...))...)
		}
	}
	testns.Run(t, "ip", strings.Fields("route add default nexthop via 198.18.1.1 nexthop via 198.18.2.1")...)
	from := &told{up: true, status: routing.Status{Enabled: true, State: routing.Running, Sessions: 2}}
	l := anotherRouting(t, t.TempDir(), from)
	u, err := kernel.FindUnderlay(kernel.UnderlayQuery{})
	l.in.setUnderlay(u, err)
	l.in.setLease(leased("10.244.1.0/24"))
	l.in.setSnapshot(routingSnapshot(testPeer(2, "198.18.9.2"), testPeer(3, "198.18.9.3")))
	return l, from
}

func anotherRouting(t *testing.T, runDir string, from *told) *loop {
	l := anotherLoop(t, runDir)
	l.want.learnt = &learnt{from: from, host: l.host}
	return l
}

func routingSnapshot(peers ...*fabric.Peer) *fabric.Snapshot {
	s := snapshotOf(peers...)
	s.Spec.Backend, s.Spec.Paths = "bgp", []fabric.PathKind{fabric.PathBGP}
	for _, p := range peers {
		p.Receives = append(p.Receives, fabric.PathBGP)
	}
	return s
}

// learntRoutes are the routes of weft's own to other nodes, without what a
// restart may change.
func learntRoutes(t *testing.T) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(testns.Run(t, "ip", "-d", "route", "show", "proto", "158", "metric", "158")) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return strings.Join(out, "\n")
}

func TestLearntRoutesReachTheKernel(t *testing.T) {
	l, from := twoUplinks(t)
	from.up = false
	s := l.roundWant(t, false)
	if !strings.Contains(strings.Join(s.reasons, ";"), "no BGP session is established: tors/198.18.1.1 is active, connection refused") {
		t.Errorf("reasons %v", s.reasons)
	}
	from.up = true
	s = l.roundWant(t, false)
	if !strings.Contains(strings.Join(s.reasons, ";"), "not yet told all of their ipv4 routes") {
		t.Errorf("reasons %v", s.reasons)
	}
	from.synced.IPv4 = true
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	from.say("10.244.3.0/24", "198.18.1.1")
	from.say("10.244.1.0/24", "198.18.1.1")  // our own
	from.say("10.244.4.0/24", "198.18.1.10") // by ourselves
	s = l.roundWant(t, true)
	have := learntRoutes(t)
	for _, want := range []string{"10.244.2.0/24 nhid", "10.244.3.0/24 nhid"} {
		if !strings.Contains(have, want) {
			t.Errorf("lacks %q:\n%s", want, have)
		}
	}
	for _, not := range []string{"10.244.1.0/24 nhid", "10.244.4.0/24"} {
		if strings.Contains(have, not) {
			t.Errorf("has %q:\n%s", not, have)
		}
	}
	if s.fib.Routes != 2 || s.fib.Groups != 1 || s.fib.Refused != 2 || s.fib.Lacking != 0 || s.pathless != 0 {
		t.Errorf("%+v, %d peers without a route", s.fib, s.pathless)
	}
	for _, link := range []string{"eth1", "eth2"} { // packets come back by either
		if v, err := os.ReadFile("/proc/sys/net/ipv4/conf/" + link + "/rp_filter"); err != nil || strings.TrimSpace(string(v)) != "2" {
			t.Errorf("rp_filter of %s: %q, %v", link, v, err)
		}
	}
	for _, p := range l.peers() {
		if want := map[string]string{"peer-002": "via 198.18.1.1 on eth1, 198.18.2.1 on eth2", "peer-003": "via 198.18.1.1 on eth1"}[p.Name]; p.Path != "bgp" || p.Reason != want || !p.Programmed {
			t.Errorf("%s: path %s, reason %q, programmed %t; want %q", p.Name, p.Path, p.Reason, p.Programmed, want)
		}
	}
	from.say("10.244.3.0/24")
	s = l.roundWant(t, true)
	if strings.Contains(learntRoutes(t), "10.244.3.0/24") || s.pathless != 1 {
		t.Errorf("a withdrawn route stays, or %d != 1 peers without a route:\n%s", s.pathless, learntRoutes(t))
	}
	for _, p := range l.peers() {
		if p.Name == "peer-003" && (p.Path != "none" || !strings.Contains(p.Reason, "no peer announces it")) {
			t.Errorf("path %s, reason %q", p.Path, p.Reason)
		}
	}
	foreign := strings.Fields("10.244.3.0/24 via 198.18.1.7 metric 158 proto static")
	testns.Run(t, "ip", append([]string{"route", "add"}, foreign...)...)
	from.say("10.244.3.0/24", "198.18.1.1")
	s = l.roundWant(t, false)
	if s.fib.Lacking != 1 || len(s.report.Conflicts) != 1 {
		t.Errorf("%+v, conflicts %v; want the foreign route left alone", s.fib, s.report.Conflicts)
	}
	if text, ok := l.kernelHas(netip.MustParsePrefix("10.244.3.0/24"), l.bad()); ok || !strings.Contains(text, "lacks route 10.244.3.0/24") {
		t.Errorf("kernel: %q %t", text, ok)
	}
}

// A link that goes down is one message, whatever the number of routes, in the
// first round after the event.
func TestLinkDownMovesAllRoutesAtOnce(t *testing.T) {
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	for i := range 500 {
		from.say(fmt.Sprintf("10.244.%d.%d/28", 4+i/16, i%16*16), "198.18.1.1", "198.18.2.1")
	}
	before := l.roundWant(t, true).writes
	if group := groups(t); !strings.Contains(group, "/") {
		t.Fatalf("there was no group:\n%s", group)
	}
	testns.Run(t, "ip", "link", "set", "far2", "down")
	// The kernel drops the lost member by itself and says so before it says that
	// the link is down: there may be rounds in between, see kernel.Host.Reach.
	poll(t, l, func() bool {
		text, _ := l.want.learnt.hops(netip.MustParsePrefix("10.244.4.0/28"))
		return text == "via 198.18.1.1 on eth1" && l.summary.Load().ready
	})
	if n := l.wrote - before; n > 20 {
		t.Errorf("%d messages, want a few for the group and none for its 500 routes", n)
	}
	if group := groups(t); strings.Contains(group, "/") || !strings.Contains(group, "group") {
		t.Errorf("group %q, want one member left", group)
	}
	testns.Run(t, "ip", "link", "set", "far2", "up")
	poll(t, l, func() bool { return strings.Contains(groups(t), "/") })
	if n := strings.Count(learntRoutes(t), "10.244."); n != 500 {
		t.Errorf("%d routes, want 500", n)
	}
}

// poll goes round as the loop does, at the kernel's word, until it is so.
func poll(t *testing.T, l *loop, so func() bool) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		l.round()
		if so() {
			return
		}
		select {
		case <-l.host.Changed():
		case <-deadline:
			t.Fatal("it never comes to be so")
		}
	}
}

func groups(t *testing.T) string {
	t.Helper()
	var out []string
	for line := range strings.Lines(testns.Run(t, "ip", "nexthop", "show", "proto", "158")) {
		if strings.Contains(line, "group") {
			out = append(out, line)
		}
	}
	return strings.Join(out, "")
}

// A restarted agent purges nothing before the peers have told all, and writes
// nothing when they tell the same.
func TestNothingIsPurgedBeforeThePeersHaveToldAll(t *testing.T) {
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	from.say("10.244.3.0/24", "198.18.2.1")
	l.roundWant(t, true)
	have := learntRoutes(t)

	silent := &told{status: from.status}
	again := anotherRouting(t, l.files.runDir, silent)
	again.in.now = l.in.take()
	s := again.roundWant(t, false)
	if s.writes != 0 || s.fib.Retained != 2 || learntRoutes(t) != have {
		t.Errorf("%d messages, %d retained, routes\n%s\nwant all as it was:\n%s", s.writes, s.fib.Retained, learntRoutes(t), have)
	}
	silent.up = true
	silent.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	s = again.roundWant(t, false)
	if s.writes != 0 || s.fib.Retained != 1 {
		t.Errorf("%d messages, %d retained after the peers told the same", s.writes, s.fib.Retained)
	}
	silent.synced.IPv4 = true
	s = again.roundWant(t, true)
	if now := learntRoutes(t); strings.Contains(now, "10.244.3.0/24") || !strings.Contains(now, "10.244.2.0/24") || s.fib.Retained != 0 {
		t.Errorf("%d retained after all was told, routes\n%s", s.fib.Retained, now)
	}
}

// A hundred thousand routes do not keep a link event from the kernel: they come
// in slices, and the loop goes round between them unasked.
func TestRoutesComeInSlices(t *testing.T) {
	l, from := twoUplinks(t)
	l.roundWant(t, false)
	<-l.in.kick
	for i := range takeAtOnce + 1 {
		from.say(fmt.Sprintf("10.244.%d.%d/30", 4+i/64, i%64*4), "198.18.1.1")
	}
	if s := l.roundWant(t, false); s.fib.Routes != takeAtOnce {
		t.Errorf("%d routes after one round, want %d", s.fib.Routes, takeAtOnce)
	}
	select {
	case <-l.in.kick:
	default:
		t.Fatal("nothing makes the loop take the rest")
	}
	if s := l.roundWant(t, false); s.fib.Routes != takeAtOnce+1 {
		t.Errorf("%d routes after two rounds", s.fib.Routes)
	}
}

// A change of the underlay or of this node's subnets costs the routes nothing,
// and so does a specification that says another thing about something else.
func TestLearntRoutesStayWhenTheFabricChanges(t *testing.T) {
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	l.roundWant(t, true)
	have := learntRoutes(t)
	u := l.in.take().underlay
	u.Connected, u.Gateways, u.Interface = nil, nil, "eth1"
	l.in.setUnderlay(u, nil)
	l.roundWant(t, true)
	l.in.setLease(leased("10.244.1.0/24", "10.244.9.0/24"))
	l.roundWant(t, true)
	next := routingSnapshot()
	next.Spec.Masquerade.Enabled = true
	l.in.setSnapshot(next)
	l.roundWant(t, true)
	if now := learntRoutes(t); !strings.Contains(now, have) {
		t.Errorf("routes\n%s\nwant\n%s", now, have)
	}
}

// The fabric stops routing and routes again before the speaker has noticed: what
// the loop had taken from it must come once more.
func TestRoutingComesBackBeforeTheSpeakerGoes(t *testing.T) {
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	l.roundWant(t, true)
	have := learntRoutes(t)
	l.in.setSnapshot(snapshotOf())
	l.round()
	if now := learntRoutes(t); strings.Contains(now, have) {
		t.Fatalf("the overlay keeps learnt routes:\n%s", now)
	}
	l.in.setSnapshot(routingSnapshot())
	l.roundWant(t, true)
	if now := learntRoutes(t); !strings.Contains(now, have) {
		t.Errorf("routes\n%s\nwant\n%s", now, have)
	}
}
