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

// route begins or ends learning, as the fabric's backend asks.
func (l *learnt) route(on bool) {
	switch {
	case l == nil || on == (l.fib != nil):
	case on:
		l.fib, l.asked, l.doubts = bgp.NewFIB(), false, newDoubts()
		l.from.Again() // the speaker need not have gone in between
	default:
		l.fib, l.more, l.uplinks = nil, false, nil
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

// follow tells the Host what the peers' news and those of the host's own links
// change. Whatever cannot be asked stays as it was.
func (l *learnt) follow(in backends.Input) error {
	if !l.routing() {
		return nil
	}
	if err := l.host.Observe(); err != nil {
		return fmt.Errorf("kernel's notifications: %w", err)
	}
	changes, more := l.from.Take(takeAtOnce)
	l.more = more
	if l.took != nil && len(changes) > 0 {
		l.took(len(changes))
	}
	l.fib.Learn(changes)
	err := l.resolve(in)
	remove, add, _ := l.fib.Take() // nothing is claimed
	l.host.Update(remove, add)
	l.retain(in.Spec)
	return err
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

// retain keeps what an earlier life of the agent had learnt until the peers have
// told all again. A family that the fabric has not is done when the others are.
func (l *learnt) retain(spec *fabric.Spec) {
	all := true
	for _, f := range fabric.Families {
		all = all && (!spec.Network.Get(f).IsValid() || l.from.Synced(f))
	}
	for _, f := range fabric.Families {
		l.host.Retain(f, !all && !(spec.Network.Get(f).IsValid() && l.from.Synced(f)))
	}
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

// way says how a peer's subnets are reached, as a backend's Peer does.
func (l *learnt) way(p *fabric.Peer) backends.Way {
	if len(p.Subnets) == 0 {
		return backends.Way{Reason: "it has no subnet"}
	}
	var way backends.Way
	var texts []string
	for _, s := range p.Subnets {
		text, ok := l.hops(s.Prefix)
		if ok {
			way.Kind = fabric.PathBGP
		}
		if len(p.Subnets) > 1 {
			text = s.Prefix.String() + " " + text
		}
		texts = append(texts, text)
	}
	way.Reason = strings.Join(texts, "; ")
	return way
}

// kernelHas says what the kernel holds of a prefix. It runs in the loop's
// goroutine, as all of loop's reading does.
func (l *loop) kernelHas(p netip.Prefix, bad map[string]bool) (text string, ok bool) {
	if !l.want.learnt.routing() {
		return "the fabric does not route by BGP", false
	}
	name := kernel.RouteKey{Dst: p, Metric: metricOf(p)}.String()
	text, ok = l.want.learnt.hops(p)
	if ok && bad[name] {
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

// reasons says why a node that routes is not ready.
func (l *learnt) reasons(spec *fabric.Spec, others int) []string {
	if !l.routing() {
		return nil
	}
	switch s := l.from.Status(); {
	case s.State == routing.ShutDown || s.State == routing.ShuttingDown:
		return []string{"BGP is " + s.State + "; a new start of weftd undoes it"}
	case s.Reason != "":
		return []string{"BGP: " + s.Reason}
	case s.State != routing.Running:
		return []string{"BGP has not started yet"}
	case s.Sessions+s.Ranges == 0 && others == 0:
		return nil // alone
	case s.Sessions+s.Ranges == 0:
		return []string{"no BGPPeer object gives this node a session"}
	}
	if reason := noneEstablished(l.from.Sessions()); reason != "" {
		return []string{reason}
	}
	var out []string
	for _, f := range fabric.Families {
		if spec.Network.Get(f).IsValid() && !l.from.Synced(f) {
			out = append(out, "the BGP peers have not yet told all of their "+f.String()+" routes")
		}
	}
	return out
}

// noneEstablished says why no session is up; empty: one is.
func noneEstablished(sessions []bgp.SessionStatus) string {
	reason := ""
	for _, s := range sessions {
		if s.State == bgp.Established {
			return ""
		}
		if reason == "" || s.LastError != "" {
			reason = ": " + s.Key + " is " + string(s.State)
			if s.LastError != "" {
				reason += ", " + s.LastError
			}
		}
	}
	return "no BGP session is established" + reason
}
