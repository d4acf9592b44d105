package migrate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

const (
	// askMost bounds what a check waits for.
	askMost = 5 * time.Second
	// sample is how many peers are probed beforehand.
	sample = 16
)

func ok(name, format string, args ...any) fabric.Check {
	return fabric.Check{Name: name, Result: fabric.CheckOK, Text: fmt.Sprintf(format, args...)}
}

func warning(name, format string, args ...any) fabric.Check {
	return fabric.Check{Name: name, Result: fabric.CheckWarning, Text: fmt.Sprintf(format, args...)}
}

func failed(name, format string, args ...any) fabric.Check {
	return fabric.Check{Name: name, Result: fabric.CheckFailed, Text: fmt.Sprintf(format, args...)}
}

// look checks whether this host is fit for the new plan. Missing says what must
// be known first; nothing is checked then.
func (t *Task) look(ctx context.Context, st state) (checks []fabric.Check, missing string) {
	if st.in.Underlay.MTU == 0 {
		return nil, "the underlay is not known yet"
	}
	checks = []fabric.Check{
		ok("version", "weftd %s on Linux %s", st.self.Version, release()),
		checkPlans(st.snap.Spec, st.m.To),
		checkMTU(st),
		t.checkFilters(st),
		checkOverlay(st),
	}
	if st.snap.Spec.Network.IPv4.IsValid() {
		checks = append(checks, checkReversePath(st.in))
	}
	sessions, missing := t.checkSessions(ctx, st)
	if missing != "" {
		return nil, missing
	}
	return append(append(checks, sessions...), t.checkProbes(ctx, st)), ""
}

// checkPlans refuses what no node could carry out.
func checkPlans(spec *fabric.Spec, to fabric.Plan) fabric.Check {
	const name = "plan"
	from := spec.Plan()
	a, b := from.VXLAN, to.VXLAN
	both := from.Uses(spec.PathRules, fabric.PathVXLAN) && to.Uses(spec.PathRules, fabric.PathVXLAN)
	alike := a.VNI == b.VNI && a.Port == b.Port
	switch {
	case from.Equal(to):
		return failed(name, "the new plan is the one in force: there is nothing to move")
	case !both:
	case a.Generation == b.Generation && (!alike || a.UDPChecksum != b.UDPChecksum):
		return failed(name, "two overlays, of VNI %d and %d, have one generation (%d): they would be one device", a.VNI, b.VNI, a.Generation)
	case a.Generation != b.Generation && alike:
		return failed(name, "two overlays have VNI %d and port %d: the kernel tells them apart by these alone", a.VNI, a.Port)
	case a.Generation != b.Generation && (a.Generation-b.Generation)%2 == 0:
		return failed(name, "two overlays have generations %d and %d: only an even and an odd one can be beside each other", a.Generation, b.Generation)
	}
	return ok(name, "from %s to %s", planWords(from, from, to), planWords(to, from, to))
}

// planWords are the ways of a plan, told from those of another one.
func planWords(p fabric.Plan, both ...fabric.Plan) string {
	var kinds []string
	for _, k := range p.Default(false) {
		kinds = append(kinds, pathWord(fabric.Path{Kind: k, Generation: p.VXLAN.Generation}, both...))
	}
	return p.Backend + ": " + strings.Join(kinds, ", ")
}

// checkMTU compares what pods send with what the new plan's ways carry.
func checkMTU(st state) fabric.Check {
	const name = "mtu"
	spec, carried := st.m.To.Apply(st.snap.Spec), *st.m.To.Apply(st.snap.Spec)
	carried.VXLAN.MTU = 0
	now := backends.PodMTU(backends.Input{Spec: st.snap.Spec, Underlay: st.in.Underlay})
	then := backends.PodMTU(backends.Input{Spec: spec, Underlay: st.in.Underlay})
	most := backends.PodMTU(backends.Input{Spec: &carried, Underlay: st.in.Underlay})
	least := 576 // RFC 791, section 3.2
	if spec.Network.IPv6.IsValid() {
		least = 1280 // RFC 8200, section 5
	}
	switch {
	case then < least:
		return failed(name, "pods would have %d bytes, which is less than the %d that every host must accept: raise the MTU of %s (%d)", then, least, st.in.Underlay.Interface, st.in.Underlay.MTU)
	case then > most:
		return failed(name, "spec.vxlan.mtu is %d, but %s (MTU %d) carries %d: lower the one or raise the other", then, st.in.Underlay.Interface, st.in.Underlay.MTU, most)
	case then < now:
		return warning(name, "pods that run have %d bytes and new ones get %d: those that run are told by ICMP for each destination", now, then)
	}
	return ok(name, "pods have %d bytes, and %d then", now, then)
}

// checkSessions has the routing task plan for the new specification.
func (t *Task) checkSessions(ctx context.Context, st state) (checks []fabric.Check, missing string) {
	const name = "sessions"
	if !st.m.To.Routes(st.snap.Spec.PathRules) {
		return []fabric.Check{ok(name, "the new plan does not route")}, ""
	}
	ctx, cancel := context.WithTimeout(ctx, askMost)
	defer cancel()
	f, err := t.opt.Router.Foresee(ctx, st.m.To.Apply(st.snap.Spec))
	switch {
	case err != nil:
		return nil, "the routing task does not answer: " + err.Error()
	case f.Reason != "":
		return nil, f.Reason
	}
	for _, p := range f.Problems {
		checks = append(checks, failed(name, "%s: %s", p.Key, p.Reason))
	}
	if f.Sessions+f.Ranges == 0 && len(f.Problems) == 0 {
		checks = append(checks, failed(name, "no BGPPeer object is for this node, so nobody would learn its routes: "+
			"write one (kind: BGPPeer, spec.nodes: a selector of its labels, spec.peer: its switch or {gateways: all}, spec.asn: external) and `weft apply` it"))
	}
	if len(checks) == 0 {
		checks = append(checks, ok(name, "%d, and %d prefixes to announce", f.Sessions+f.Ranges, len(f.Announced)))
	}
	return checks, ""
}

// unarmed says why this node does not receive by both plans yet.
func (t *Task) unarmed(st state) string {
	held, reason := t.opt.Ways.Programmed()
	if held == nil || held.Migration == nil || held.Migration.ID != st.m.ID {
		if reason == "" {
			reason = "the loop has not got to it yet"
		}
		return "the kernel does not hold the ways of the new plan yet: " + reason
	}
	if !st.m.To.Routes(st.snap.Spec.PathRules) {
		return ""
	}
	sessions := t.opt.Router.Sessions()
	if !slices.ContainsFunc(sessions, func(s bgp.SessionStatus) bool { return s.State == bgp.Established }) {
		why := "there is none"
		if len(sessions) > 0 {
			why = sessions[0].Key + " is " + string(sessions[0].State)
			if sessions[0].LastError != "" {
				why += ": " + sessions[0].LastError
			}
		}
		return "no BGP session is established: " + why
	}
	for _, n := range st.snap.Spec.Networks() {
		if f := fabric.FamilyOf(n.Addr()); !t.opt.Router.Synced(f) {
			return fmt.Sprintf("the BGP neighbours have not told all of their %s routes yet", f)
		}
	}
	return ""
}

// checkProbes probes some peers by the ways of both plans that there are already.
func (t *Task) checkProbes(ctx context.Context, st state) fabric.Check {
	const name = "probes"
	peers := t.neighbours(st)
	if len(peers) == 0 {
		return ok(name, "there is nobody to probe")
	}
	s := step{peers: peers, plan: st.m.To, other: st.snap.Spec.Plan()}
	pairs, err := t.pairs(ctx, s)
	if err != nil {
		return failed(name, "%v", err)
	}
	pairs = slices.DeleteFunc(pairs, func(p *pair) bool { return !p.other.there })
	t.probe(ctx, pairs, (*pair).byOther)
	if i := slices.IndexFunc(pairs, func(p *pair) bool { return !p.other.unsent() }); i < 0 && len(pairs) > 0 {
		return failed(name, "none can be sent to %s by %s: %s", pairs[0].peer.Name, pairs[0].other.word, pairs[0].other.result.Err)
	}
	var silent []string
	for _, p := range pairs {
		if p.other.result.Answered == 0 {
			silent = append(silent, p.peer.Name+" ("+p.family.String()+")")
		}
	}
	s.peers = nil // those with a way by the new plan already
	for _, p := range pairs {
		opened := p.plan.target.Path.Kind != fabric.PathVXLAN || st.snap.Report(p.peer.Name).Armed
		if p.plan.there && opened && !slices.Contains(s.peers, p.peer) {
			s.peers = append(s.peers, p.peer)
		}
	}
	if f, err := t.compare(ctx, s); err == nil && f != nil {
		return failed(name, "%s", *f)
	}
	if len(silent) > 0 {
		return warning(name, "no answer by the plan in force from %s", strings.Join(silent, ", "))
	}
	return ok(name, "%d of %d peers were asked, and answer", len(peers), len(st.snap.Peers)-1)
}

// neighbours are the living peers that follow this node by their ids, so that
// every peer is probed by some and none by all.
func (t *Task) neighbours(st state) []*fabric.Peer {
	var before, after []*fabric.Peer
	for _, p := range st.snap.Peers {
		switch {
		case !p.Alive || p.ID == st.self.ID:
		case p.ID < st.self.ID:
			before = append(before, p)
		default:
			after = append(after, p)
		}
	}
	all := append(after, before...)
	return all[:min(len(all), sample)]
}
