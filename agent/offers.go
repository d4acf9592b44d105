package agent

import (
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// facts are what decides, besides the peer itself, by which ways it can be
// reached. Their functions are pure.
type facts struct {
	in backends.Input
	// overlays are the different ones of the plans, at most one for each plan.
	overlays []fabric.VXLANSpec
	tunnels  []kernel.Hop // into them
	cut      bool         // the underlay's device cannot send
	fib      *bgp.FIB     // nil: the fabric does not route
	// lost: no session is established, and one was in this life.
	lost bool
	// proven: this node moves its peers in a migration and probes with volleys of
	// its own, so a way that the prober has not asked yet needs no answer. Peers
	// that are armed after that move without a volley: theirs needs one.
	proven  bool
	verdict func(probe.Key) probe.Verdict // nil: nobody probes
}

// with is what the facts are by another input.
func (k facts) with(in backends.Input) facts {
	k.in, k.overlays, k.tunnels = in, vxlan.Overlays(in), nil
	for _, o := range k.overlays {
		k.tunnels = append(k.tunnels, kernel.Hop{Link: vxlan.DeviceName(o)})
	}
	return k
}

// lead is a nexthop object of a peer's own; id 0: there is none, for a reason.
type lead struct {
	id     uint32
	reason backends.Reason
}

// armed is where a peer's own objects lead, whichever is in use.
type armed struct {
	overlay [2]struct { // as facts.overlays
		via    fabric.PerFamily[uint32]
		reason backends.Reason
	}
	direct fabric.PerFamily[lead]
	// routed: BGP leads to the family already. It goes on where a subnet is not
	// announced (yet), but it begins with all or none.
	routed fabric.PerFamily[bool]
	// asked: an operator wants the reasons. Choices are made without.
	asked bool
}

// arm appends the objects that the peer is reached by, but for the routes that
// choose among them.
func (k *facts) arm(objs *kernel.Objects, r backends.Remote) (a armed) {
	for i, o := range k.overlays {
		a.overlay[i].via, a.overlay[i].reason = vxlan.Arm(objs, k.in, r, o)
	}
	for _, f := range fabric.Families {
		id, reason := backends.Direct(objs, k.in, r, f)
		a.direct.Set(f, lead{id, reason})
	}
	return a
}

// isDown is why nothing that leads to a host itself is offered.
const isDown = "its agent is gone and its host answers no probe"

// offers appends the ways to a family of a peer to out, also those that there
// are not, with the reason where it is asked for.
func (k *facts) offers(out []paths.Offer, r backends.Remote, f fabric.Family, a *armed) []paths.Offer {
	own := func(p fabric.Path, id uint32, reason backends.Reason) {
		o := paths.Offer{Path: p, State: paths.Up}
		if a.asked {
			o.Reason = reason.String()
		}
		switch {
		case id == 0:
			o.State = paths.Gone
		case r.Down:
			o.State, o.Reason = paths.Gone, isDown
		case p.Kind == fabric.PathDirect && k.cut:
			o.State, o.Reason = paths.Gone, k.in.Underlay.Interface+" has no carrier"
		}
		out = append(out, o)
	}
	own(fabric.Path{Kind: fabric.PathDirect}, a.direct.Get(f).id, a.direct.Get(f).reason)
	if k.fib != nil {
		out = append(out, k.bgp(r, f, a.routed.Get(f)))
	}
	for i, o := range k.overlays {
		own(fabric.Path{Kind: fabric.PathVXLAN, Generation: o.Generation}, a.overlay[i].via.Get(f), a.overlay[i].reason)
	}
	for i := range out {
		out[i].Verdict = k.judged(probe.Key{Peer: r.ID, Family: f, Path: out[i].Path})
	}
	return out
}

// bgp is the way that the routers told. Down or not, the peer's prefix is in
// their tables for a reason. When a peer leases a further subnet, the record is
// here before the route, which is no reason to leave this way with the others.
func (k *facts) bgp(r backends.Remote, f fabric.Family, inUse bool) paths.Offer {
	o := paths.Offer{Path: fabric.Path{Kind: fabric.PathBGP}, Reason: "as the routers say"}
	switch some, all := k.told(r.Peer, f); {
	case !r.CanReceive(fabric.PathBGP):
		o.Reason = "it does not route yet"
	case !all && !(inUse && some):
		o.Reason = "no peer announces all of its subnets"
	case k.lost:
		o.State, o.Reason = paths.Doubtful, "no BGP session is established"
	default:
		o.State = paths.Up
	}
	return o
}

// told reports whether there are next hops for some subnets of a family, and
// for all.
func (k *facts) told(p *fabric.Peer, f fabric.Family) (some, all bool) {
	all = true
	for prefix := range p.SubnetsOf(f) {
		via := k.fib.Via(prefix) != 0
		some, all = some || via, all && via
	}
	return some, all
}

// judged is what probes found of a way.
func (k *facts) judged(key probe.Key) paths.Verdict {
	switch v := k.ask(key); {
	case v.State == probe.Silent:
		return paths.Silent
	case v.State == probe.Answers || k.proven:
		return paths.Answers
	}
	return paths.Unknown
}

// ask is what the probes of a path found.
func (k *facts) ask(key probe.Key) probe.Verdict {
	if k.verdict == nil {
		return probe.Verdict{}
	}
	return k.verdict(key)
}
