package agent

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/agent/routing"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// takeAtOnce is how many learnt prefixes one round takes in: a link that goes
// down must not wait behind a hundred thousand routes.
const takeAtOnce = 4096

// takeEvery is the least time between two rounds for the sake of routes, so that
// each takes many of a flood: a round has costs of its own.
const takeEvery = 3 * time.Millisecond

// learner is where routes come from: routing.Task.
type learner interface {
	Take(most int) (changes []bgp.Change, more bool)
	Again() // makes Take hand out everything anew
	Synced(fabric.Family) bool
	Sessions() []bgp.SessionStatus
	Status() *routing.Status
}

// learnt is the loop's share of BGP: it makes kernel objects of what the speaker
// learnt. A nil one learns nothing.
type learnt struct {
	from learner
	host *kernel.Host
	took func(routes int) // told how many were taken at once; may be nil
	fib  *bgp.FIB         // nil: the fabric does not route

	// owners are the peers whose subnets these are: the loop makes the routes.
	owners map[netip.Prefix]fabric.NodeID
	// keeping: what an earlier life of the agent left is used still.
	keeping fabric.PerFamily[bool]
	began   time.Time // of routing
	ever    bool      // a session was established in this life
	lost    bool      // one was, and none is

	reach    uint64 // the version of the answers of Host.Reach in force
	asked    bool   // reach is set
	doubts   doubts
	networks []netip.Prefix
	own      []netip.Prefix
	more     bool // the speaker has more
	// uplinks are the devices by which next hops were reached in this life, and
	// which are there still.
	uplinks []string
}

// route begins or ends learning, as the fabric's plans ask.
func (l *learnt) route(on bool) {
	switch {
	case l == nil || on == (l.fib != nil):
	case on:
		l.fib, l.asked, l.doubts = bgp.NewFIB(), false, newDoubts()
		l.owners, l.began, l.ever, l.lost = map[netip.Prefix]fabric.NodeID{}, time.Now(), false, false
		for _, f := range fabric.Families {
			l.keeping.Set(f, !l.from.Synced(f))
		}
		l.from.Again() // the speaker need not have gone in between
	default:
		l.fib, l.owners, l.more, l.lost, l.uplinks = nil, nil, false, false, nil
		l.keeping = fabric.PerFamily[bool]{}
		for _, f := range fabric.Families {
			l.host.Retain(f, false)
		}
	}
}

// routing reports whether routes are learnt.
func (l *learnt) routing() bool { return l != nil && l.fib != nil }

// addTo adds what is wanted because of learnt routes.
func (l *learnt) addTo(objs *kernel.Objects) {
	if !l.routing() {
		return
	}
	all := l.fib.All()
	objs.Nexthops = append(objs.Nexthops, all.Nexthops...)
	objs.Routes = append(objs.Routes, all.Routes...)
}

// news is what the loop has to follow.
type news struct {
	gone, come kernel.Objects
	moved      []netip.Prefix // claimed prefixes that are reached otherwise now
}

// follow takes in what the peers told and what became of the host's own links.
// Whatever cannot be asked stays as it was.
func (l *learnt) follow(in backends.Input, now time.Time) (n news, err error) {
	if !l.routing() {
		return n, nil
	}
	if err := l.host.Observe(); err != nil {
		return n, fmt.Errorf("kernel's notifications: %w", err)
	}
	changes, more := l.from.Take(takeAtOnce)
	l.more = more
	if l.took != nil && len(changes) > 0 {
		l.took(len(changes))
	}
	l.fib.Learn(changes)
	err = l.resolve(in)
	n.gone, n.come, n.moved = l.fib.Take()
	l.look()
	l.retain(in.Spec, now)
	return n, err
}

// look sees whether the sessions are lost.
func (l *learnt) look() {
	up := slices.ContainsFunc(l.from.Sessions(), func(s bgp.SessionStatus) bool { return s.State == bgp.Established })
	l.ever = l.ever || up
	l.lost = l.ever && !up
}

// resolve asks the kernel where the next hops are: all of them after something
// happened to links, addresses or routes, else those that are new.
func (l *learnt) resolve(in backends.Input) error {
	version := l.host.ReachVersion()
	stale := !l.asked || version != l.reach
	networks := in.Spec.Networks()
	if stale || !slices.Equal(networks, l.networks) || !slices.Equal(in.Subnets, l.own) {
		l.networks, l.own = networks, in.Subnets
		l.fib.Guard(bgp.Guard{Networks: networks, Own: in.Subnets, Addrs: l.host.Addrs()})
	}
	ask := l.fib.Unresolved()
	if stale || l.doubts.any() {
		ask = l.fib.NextHops()
	}
	if len(ask) > 0 {
		sessions := l.from.Sessions()
		hops, err := l.host.Reach(farEnds(ask, sessions))
		if err != nil {
			return fmt.Errorf("look up next hops: %w", err)
		}
		l.doubts.judge(hops, sessions, time.Now())
		l.fib.Resolve(hops)
		l.follows(hops)
	}
	l.reach, l.asked = version, true
	return nil
}

// follows adds the devices of the hops to the uplinks: packets come back by all
// of them, so the host must not drop what arrives by another than it sends by.
func (l *learnt) follows(hops map[netip.Addr][]kernel.Hop) {
	links := slices.Clone(l.uplinks)
	for _, way := range hops {
		for _, h := range way {
			links = append(links, h.Link)
		}
	}
	slices.Sort(links)
	l.uplinks = slices.DeleteFunc(slices.Compact(links), func(name string) bool {
		_, err := net.InterfaceByName(name)
		return err != nil
	})
}

// keepMost is how long the routes of an earlier life stay in use without a
// session of this one, where there is another way. A session takes seconds to
// come back; what is not back by then may be gone for long.
const keepMost = 30 * time.Second

// retain keeps what an earlier life of the agent had learnt until the peers have
// told all again. A family that the fabric has not is done when the others are.
func (l *learnt) retain(spec *fabric.Spec, now time.Time) {
	all := true
	for _, f := range fabric.Families {
		all = all && (!spec.Network.Get(f).IsValid() || l.from.Synced(f))
	}
	for _, f := range fabric.Families {
		on := !all && !(spec.Network.Get(f).IsValid() && l.from.Synced(f))
		l.host.Retain(f, on)
		l.keeping.Set(f, on && (l.ever && !l.lost || now.Sub(l.began) < keepMost))
	}
}

// table is what was learnt; nil: the fabric does not route.
func (l *learnt) table() *bgp.FIB {
	if l == nil {
		return nil
	}
	return l.fib
}

// claim takes over the routes to the peers' subnets: the loop makes them, as it
// chooses between BGP and other ways. What the FIB had made of them is returned.
func (l *learnt) claim(self fabric.NodeID, was, is []*fabric.Peer) (given []kernel.Route) {
	if !l.routing() {
		return nil
	}
	if len(l.owners) == 0 {
		was = nil // it has begun just now
	}
	var touched []netip.Prefix
	walk(was, is, func(a, b *fabric.Peer) {
		if a != b && a != nil {
			for _, s := range a.Subnets {
				if l.owners[s.Prefix] == a.ID {
					delete(l.owners, s.Prefix)
					touched = append(touched, s.Prefix)
				}
			}
		}
	})
	walk(was, is, func(a, b *fabric.Peer) {
		if a != b && b != nil && b.ID != self {
			for _, s := range b.Subnets {
				l.owners[s.Prefix] = b.ID
				touched = append(touched, s.Prefix)
			}
		}
	})
	for _, p := range touched {
		_, on := l.owners[p]
		if r, had := l.fib.Claim(p, on); had {
			given = append(given, r)
		}
	}
	return given
}

// links are the devices by which next hops are reached.
func (l *learnt) links() []string {
	if !l.routing() {
		return nil
	}
	return l.uplinks
}

// unfinished reports whether there is more to do at once: the speaker has more
// news, or a link changed after the next hops were looked up.
func (l *learnt) unfinished() bool {
	return l.routing() && (l.more || l.asked && l.host.ReachVersion() != l.reach)
}

// count is how far the kernel is with what was learnt.
func (l *learnt) count(r kernel.Report) (out api.BGPFIB) {
	if !l.routing() {
		return out
	}
	out.Routes, out.Groups, out.Refused = l.fib.Len()
	out.Retained = l.host.Retained()
	for name := range broken(r) {
		if l.wants(name) {
			out.Lacking++
		}
	}
	return out
}

// wants reports whether an object, by its name in a report, is a learnt route.
func (l *learnt) wants(name string) bool {
	words := strings.Fields(name) // as kernel.RouteKey.String puts it
	if len(words) < 2 || words[0] != "route" {
		return false
	}
	p, err := netip.ParsePrefix(words[1])
	if err != nil || (kernel.RouteKey{Dst: p, Metric: metricOf(p)}).String() != name {
		return false
	}
	state, known := l.fib.Route(p)
	return known && state.Refused == ""
}

// way says by which next hops BGP reaches a family of a peer, or why it does not.
func (l *learnt) way(p *fabric.Peer, f fabric.Family) string {
	var texts []string
	alike := true
	for prefix := range p.SubnetsOf(f) {
		text, _ := l.hops(prefix)
		alike = alike && (len(texts) == 0 || strings.HasSuffix(texts[0], " "+text))
		texts = append(texts, prefix.String()+" "+text)
	}
	if alike {
		_, text, _ := strings.Cut(texts[0], " ")
		return text
	}
	return strings.Join(texts, "; ")
}

// kernelHas says what the kernel holds of a prefix. It runs in the loop's
// goroutine, as all of loop's reading does.
func (l *loop) kernelHas(p netip.Prefix, bad map[string]bool) (text string, ok bool) {
	if !l.want.learnt.routing() {
		return "the fabric does not route by BGP", false
	}
	text, ok = l.want.learnt.hops(p)
	if owner := l.want.ways.snapshot.Peer(l.want.learnt.owners[p]); owner != nil {
		if at := l.want.wayTo(owner, fabric.FamilyOf(p.Addr())); at.kind != fabric.PathBGP {
			return "packets take another path (" + at.reason + "); BGP: " + text, ok && at.kind != ""
		}
	}
	if name := (kernel.RouteKey{Dst: p, Metric: metricOf(p)}).String(); ok && bad[name] {
		return "the kernel lacks " + name, false
	}
	return text, ok
}

// bad are the objects that the last round could not put in place.
func (l *loop) bad() map[string]bool {
	if s := l.summary.Load(); s != nil {
		return broken(s.report)
	}
	return nil
}

// metricOf is that of a learnt route: a default route is behind any that the
// administrator set.
func metricOf(p netip.Prefix) uint32 {
	if p.Bits() == 0 {
		return bgp.DefaultMetric
	}
	return kernel.Metric
}

// hops are the next hops of a route in words, or why there is none.
func (l *learnt) hops(p netip.Prefix) (text string, ok bool) {
	state, known := l.fib.Route(p)
	switch {
	case !known:
		return "no peer announces it", false
	case state.Refused != "":
		return state.Refused, false
	}
	var out []string
	for _, h := range state.Hops {
		out = append(out, h.Gateway.String()+" on "+h.Link)
	}
	return "via " + strings.Join(out, ", "), len(out) > 0
}
