package agent

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// prober is what probes paths: probe.Prober.
type prober interface {
	Watch([]probe.Target)
	Touch(fabric.NodeID, fabric.Family, []probe.Target)
	Verdict(probe.Key) probe.Verdict
	Reduced() []probe.Finding
}

// hearEvery is the least time between two rounds for the sake of verdicts.
const hearEvery = 20 * time.Millisecond

// watchCost is what it may cost to tell the prober all of its targets anew, or
// to compare its verdicts with those known: the time between two such looks is a
// hundred times as much.
const watchCost = time.Microsecond

// watching is what the loop and the prober have to tell each other.
type watching struct {
	prober  prober                 // nil: nobody probes
	stale   bool                   // all targets are to be told anew
	touched map[paths.Key]struct{} // or these
	told    time.Time              // when all were told last
	heard   atomic.Bool            // the prober has news; set by its goroutines
	asked   time.Time              // when its verdicts were looked at last
}

func (w *watching) touch(k paths.Key) {
	if w.prober == nil || w.stale {
		return
	}
	if w.touched == nil {
		w.touched = map[paths.Key]struct{}{}
	}
	w.touched[k] = struct{}{}
}

// again makes the loop tell all targets anew.
func (w *watching) again() { w.stale = w.prober != nil }

// pause is how long it must be between two looks at all peers.
func pause(peers int) time.Duration { return time.Duration(peers) * 100 * watchCost }

// tell gives the prober what is to be watched: the paths in use, and those that
// would be. The time is when to call it again, zero: when something changed.
func (w *ways) tell(peers []*fabric.Peer, now time.Time) (again time.Time) {
	if w.watch.prober == nil {
		return again
	}
	if w.watch.heard.Load() { // and was not listened to yet
		again = w.watch.asked.Add(pause(len(peers)))
	}
	switch due := w.watch.told.Add(pause(len(peers))); {
	case w.watch.stale && now.Before(due):
		if again.IsZero() || due.Before(again) {
			again = due
		}
	case w.watch.stale:
		w.watch.prober.Watch(w.targets(peers))
		w.watch.stale, w.watch.told = false, now
		clear(w.watch.touched)
	default:
		for k := range w.watch.touched {
			w.watch.prober.Touch(k.Peer, k.Family, w.targetsOf(w.snapshot.Peer(k.Peer), k.Family, nil))
		}
		clear(w.watch.touched)
	}
	return again
}

// asked are the ways to be probed: the one in use first.
func (t *routed) asked(yield func(way) bool) {
	if t.way > wayKept && !yield(t.way) {
		return
	}
	for at := wayKept + 1; at < wayCount; at++ {
		if at != t.way && (at == t.next || t.better>>at&1 != 0) && !yield(at) {
			return
		}
	}
}

// hearsay is what the probes say of the ways that are asked, in a form that is
// quick to compare.
func (w *ways) hearsay(id fabric.NodeID, f fabric.Family, t *routed) (sum uint32) {
	for at := range t.asked {
		v := w.ask(probe.Key{Peer: id, Family: f, Path: w.path(at)})
		sum = sum*31 + uint32(v.MTU)<<2 + uint32(v.State)
	}
	return sum
}

// targets are all that is to be watched. Every node begins with those that
// follow it, lest all ask the first at the same time.
func (w *ways) targets(peers []*fabric.Peer) []probe.Target {
	out := make([]probe.Target, 0, len(peers)*len(w.in.Spec.Networks()))
	at, _ := slices.BinarySearchFunc(peers, w.self.ID, func(p *fabric.Peer, id fabric.NodeID) int {
		if p.ID < id {
			return -1
		}
		return 1
	})
	for _, part := range [][]*fabric.Peer{peers[at:], peers[:at]} {
		for _, p := range part {
			for _, f := range fabric.Families {
				out = w.targetsOf(p, f, out)
			}
		}
	}
	return out
}

// targetsOf appends what is to be watched of one family of a peer.
func (w *ways) targetsOf(p *fabric.Peer, f fabric.Family, out []probe.Target) []probe.Target {
	if p == nil || w.to[p.ID] == nil {
		return out
	}
	t := w.to[p.ID].family(f)
	for at := range t.asked {
		if target, ok := w.target(p, f, w.path(at), w.plan(p)); ok {
			target.Urgent = at != t.way
			out = append(out, target)
		}
	}
	return out
}

// target is what it takes to probe a path of the peer's, as far as it is known.
func (w *ways) target(p *fabric.Peer, f fabric.Family, path fabric.Path, plan fabric.Plan) (probe.Target, bool) {
	theirs, any := p.FirstSubnet(f)
	i := slices.IndexFunc(w.in.Subnets, func(s netip.Prefix) bool { return fabric.FamilyOf(s.Addr()) == f })
	if !any || i < 0 {
		return probe.Target{}, false
	}
	t := probe.Target{
		Key:  probe.Key{Peer: p.ID, Family: f, Path: path},
		From: w.in.Subnets[i].Addr().Next(), To: theirs.Addr().Next(),
		Underlay: p.Underlay.Get(f), Full: backends.PeerMTU(w.in, plan, p),
	}
	if had, ok := w.earlier[paths.Key{Peer: p.ID, Family: f}]; ok && had.path == path {
		t.Earlier = had.mtu
	}
	switch path.Kind {
	case fabric.PathDirect:
		t.Hops = []kernel.Hop{{Link: w.in.Underlay.Interface, Gateway: p.Underlay.Get(f)}}
	case fabric.PathBGP:
		t.To, t.Hops = w.learntHops(p, f, t.To)
	case fabric.PathVXLAN:
		outer := backends.Outer(w.in.Underlay.Addrs)
		t.Full = min(t.Full, w.in.Underlay.MTU-backends.Overhead(outer))
		t.MAC = p.VTEPMAC
		t.Hops = w.tunnel(path.Generation)
	}
	return t, len(t.Hops) > 0
}

// learntHops are those of BGP to the first subnet of a family that it knows, and
// the address there that answers probes.
func (w *ways) learntHops(p *fabric.Peer, f fabric.Family, to netip.Addr) (netip.Addr, []kernel.Hop) {
	if w.fib == nil {
		return to, nil
	}
	for prefix := range p.SubnetsOf(f) {
		if state, _ := w.fib.Route(prefix); len(state.Hops) > 0 {
			return prefix.Addr().Next(), state.Hops
		}
	}
	return to, nil
}

// tunnel is the hop into an overlay, the same for all peers: the far end is known
// by its MAC.
func (w *ways) tunnel(generation int) []kernel.Hop {
	for i, o := range w.overlays {
		if o.Generation == generation {
			return w.tunnels[i : i+1 : i+1]
		}
	}
	return nil
}

// silent lists the peers whose path in use answers no probe, by name.
func (w *wanted) silent() (names []string) {
	for _, p := range w.peers {
		if to := w.ways.to[p.ID]; to != nil && (w.ways.mute(p.ID, fabric.IPv4, to) || w.ways.mute(p.ID, fabric.IPv6, to)) {
			names = append(names, p.Name)
		}
	}
	slices.Sort(names)
	return names
}

func (w *ways) mute(id fabric.NodeID, f fabric.Family, to *toPeer) bool {
	t := to.family(f)
	return t.way > wayKept && w.ask(probe.Key{Peer: id, Family: f, Path: w.path(t.way)}).State == probe.Silent
}

// reduced are the paths in use that drop packets of full size.
func (w *wanted) reduced() (out []api.Reduced) {
	if w.ways.watch.prober == nil {
		return nil
	}
	for _, v := range w.ways.watch.prober.Reduced() {
		p := w.ways.snapshot.Peer(v.Peer)
		if to := w.ways.to[v.Peer]; p == nil || to == nil || to.family(v.Family).way != wayOf(v.Path) {
			continue
		}
		out = append(out, api.Reduced{Peer: p.Name, Family: v.Family.String(), Path: word(v.Path), MTU: v.MTU, Full: v.Full, Since: v.Since})
	}
	return out
}
