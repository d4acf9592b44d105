package agent

import (
	"net"
	"slices"
	"time"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// look takes in what was found out since the last round: what the peers told,
// the sessions, links, probes, and what time has brought. Choices that depend on
// it are made anew.
func (w *wanted) look(now time.Time) error {
	n, err := w.learnt.follow(w.input, now)
	all := w.uplinks()
	all = w.ways.facts.update(w.learnt) || all
	all = w.ways.keep(w.learnt) || all
	all = w.carrier() || all
	if len(n.come.Nexthops) > 0 {
		w.ways.watch.again() // a path may have other hops now
	}
	if all {
		for _, p := range w.peers {
			w.rechoose(&n, p, now)
		}
	} else {
		for id := range w.affected(&n, now) {
			w.rechoose(&n, w.ways.snapshot.Peer(id), now)
		}
	}
	w.host.Update(n.gone, n.come)
	w.resize(now)
	_, w.due = w.ways.chooser.Due(now)
	if again := w.ways.tell(w.peers, now); w.due.IsZero() || !again.IsZero() && again.Before(w.due) {
		w.due = again
	}
	return err
}

// uplinks follows the devices by which next hops are reached.
func (w *wanted) uplinks() (changed bool) {
	links := w.learnt.links()
	if slices.Equal(links, w.input.Uplinks) {
		return false
	}
	next := w.input
	next.Uplinks = links
	w.host.Update(base(w.input), base(next))
	w.input = next
	w.ways.by(next)
	return true
}

// update takes over what BGP says of all ways at once.
func (k *facts) update(l *learnt) (changed bool) {
	lost := l.routing() && l.lost
	changed = k.lost != lost
	k.fib, k.lost = l.table(), lost
	return changed
}

// keep takes over whether an earlier life's routes are used still.
func (w *ways) keep(l *learnt) (changed bool) {
	var keeping fabric.PerFamily[bool]
	if l.routing() {
		keeping = l.keeping
	}
	changed = w.keeping != keeping
	w.keeping = keeping
	if keeping == (fabric.PerFamily[bool]{}) {
		w.left = nil
	}
	return changed
}

// carrier looks whether the underlay's device can send, if something happened to
// links since.
func (w *wanted) carrier() (changed bool) {
	version, name := w.host.ReachVersion(), w.input.Underlay.Interface
	if w.seen == (linkSeen{version, name}) {
		return false
	}
	w.seen = linkSeen{version, name}
	cut := false
	if name != "" {
		link, err := net.InterfaceByName(name)
		cut = err != nil || link.Flags&net.FlagRunning == 0
	}
	changed = w.ways.cut != cut
	w.ways.cut = cut
	return changed
}

// linkSeen is when the underlay's device was looked at.
type linkSeen struct {
	version uint64 // kernel.Host.ReachVersion
	name    string
}

// affected are the peers of which a choice may be another now.
func (w *wanted) affected(n *news, now time.Time) map[fabric.NodeID]bool {
	ids := map[fabric.NodeID]bool{}
	for _, p := range n.moved {
		if id, ok := w.learnt.owners[p]; ok {
			ids[id] = true
		}
	}
	keys, _ := w.ways.chooser.Due(now)
	for _, k := range keys {
		ids[k.Peer] = true
	}
	if w.ways.listens(len(w.peers), now) {
		for id, t := range w.ways.to {
			for _, f := range fabric.Families {
				if to := t.family(f); to.way > wayKept && w.ways.hearsay(id, f, to) != to.heard {
					ids[id] = true
				}
			}
		}
	}
	return ids
}

// listens reports whether it is time to look at the prober's verdicts.
func (w *ways) listens(peers int, now time.Time) bool {
	if w.watch.prober == nil || now.Sub(w.watch.asked) < pause(peers) || !w.watch.heard.Swap(false) {
		return false
	}
	w.watch.asked = now
	return true
}

// rechoose makes the choice for a peer anew and appends what changes by it.
func (w *wanted) rechoose(n *news, p *fabric.Peer, now time.Time) {
	if p == nil || p.ID == w.input.Self {
		return
	}
	r := backends.Remote{Peer: p, Down: w.down[p.ID]}
	w.ways.spare = kernel.Objects{FDB: w.ways.spare.FDB[:0], Neighs: w.ways.spare.Neighs[:0], Nexthops: w.ways.spare.Nexthops[:0]}
	a := w.ways.arm(&w.ways.spare, r)
	next := w.ways.choose(r, &a, now)
	if was := w.ways.at(p.ID); !was.same(&next) {
		was.addTo(&n.gone, p)
		next.addTo(&n.come, p)
	}
	w.ways.set(p.ID, next)
}

// resize follows the choices of this round with the objects of BGP: routes of
// another MTU lead to objects of their own.
func (w *wanted) resize(now time.Time) {
	if !w.learnt.routing() {
		return
	}
	var n news
	n.gone, n.come, n.moved = w.learnt.fib.Take()
	for _, p := range n.moved { // most lead there already; an object may have had to change its id
		if id, ok := w.learnt.owners[p]; ok {
			w.rechoose(&n, w.ways.snapshot.Peer(id), now)
		}
	}
	w.host.Update(n.gone, n.come)
}

// unfinished reports whether there is more to do at once.
func (w *wanted) unfinished() bool {
	return w.learnt.unfinished() || w.host.ReachVersion() != w.seen.version
}
