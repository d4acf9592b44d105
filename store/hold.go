package store

import (
	"fmt"
	"maps"
	"time"

	"github.com/weft-net/weft/fabric"
)

// holdWindow is the time within which removals are counted together.
const holdWindow = 30 * time.Second

// hold keeps peers whose records went in a mass disappearance. Few removals
// are applied at once. None of a batch is applied when
//   - more than max(2, half) of the known peers would go within holdWindow, or
//   - the Fabric object is gone as well (a wiped prefix, an empty etcd), or
//   - they are missing in a list of an etcd that was replaced or restored from
//     an older copy, where absence proves nothing, or
//   - one revision deleted the records of two nodes or more: weft itself never
//     does that, a deletion by prefix does.
//
// What is held is given back by the peer's return (live agents put their own
// records back), by `weft node remove` (which leaves a mark, so that the
// removal is a fact), by another node's record that claims the same, or by
// the operator. There is no time limit: losing routes to a fabric whose etcd
// was lost over a weekend is worse than routes to hosts that are no more.
type hold struct {
	held     map[fabric.NodeID]*fabric.Peer
	since    time.Time
	reason   string
	applied  []time.Time // removals within the window
	released bool        // by the operator, until the next snapshot
	letGo    map[fabric.NodeID]bool
}

// describe is the hold as the snapshot shows it, nil if there is none.
func (h *hold) describe() *fabric.Hold {
	if len(h.held) == 0 {
		return nil
	}
	return &fabric.Hold{Since: h.since, Peers: len(h.held), Reason: h.reason}
}

// disappearance is what one batch of events takes away.
type disappearance struct {
	vanished    int // peers
	known       int // peers before
	oneRevision int // the most nodes, this one included, that one revision deleted
	fabricGone  bool
	rewound     bool // the list is of another history than the one known
}

// judge decides whether the removals of a batch are held back, and why.
func (h *hold) judge(d disappearance, now time.Time) (why string) {
	recent := h.applied[:0]
	for _, t := range h.applied {
		if now.Sub(t) < holdWindow {
			recent = append(recent, t)
		}
	}
	h.applied = recent
	all, before := len(recent)+d.vanished, len(recent)+d.known
	switch {
	case d.fabricGone:
		return fmt.Sprintf("%d of %d peers went from etcd together with the Fabric object", d.vanished, d.known)
	case d.rewound:
		return fmt.Sprintf("%d of %d peers are not in this etcd, which was replaced or restored from an older copy", d.vanished, d.known)
	case d.oneRevision > 1:
		return fmt.Sprintf("one write to etcd deleted %d nodes", d.oneRevision)
	case all > max(2, before/2):
		return fmt.Sprintf("%d of %d peers went from etcd within %v", all, before, holdWindow)
	case len(h.held) > 0:
		return h.reason
	}
	for range d.vanished {
		h.applied = append(h.applied, now)
	}
	return ""
}

// applyHold replaces, among the peers just computed, those whose removal is
// held back by what they were.
func (v *view) applyHold(fresh map[fabric.NodeID]*fabric.Peer, now time.Time) {
	h := &v.hold
	lost, newly := v.lost(fresh)
	h.released = false
	clear(h.letGo)
	why := h.reason
	if newly > 0 {
		why = h.judge(v.disappearance(lost, newly), now)
	}
	if newly > 0 && why == "" {
		maps.DeleteFunc(lost, func(id fabric.NodeID, _ *fabric.Peer) bool { return h.held[id] == nil })
	}
	if len(h.held) == 0 && len(lost) > 0 {
		h.since, h.reason = now, why
	}
	for id, was := range lost {
		kept := *was
		kept.Held, kept.Alive = true, v.livesAs(&was.Node)
		h.held[id], fresh[id] = &kept, &kept
	}
}

// lost returns, as they were, the peers just computed that are gone without
// anybody's word for it, and how many of them are not held yet.
func (v *view) lost(fresh map[fabric.NodeID]*fabric.Peer) (lost map[fabric.NodeID]*fabric.Peer, newly int) {
	h := &v.hold
	lost = map[fabric.NodeID]*fabric.Peer{}
	for id, p := range fresh {
		was := v.peer(id)
		explicit := h.released || h.letGo[id] || was != nil && v.removed[was.Name] == id
		if was == nil || explicit || id == v.self || !v.vanished(id, was, p) {
			delete(h.held, id)
			continue
		}
		lost[id] = was
		if h.held[id] == nil {
			newly++
		}
	}
	return lost, newly
}

// vanished reports whether a peer is less than it was only because records
// are missing. A record that is there but loses to another is a fact.
func (v *view) vanished(id fabric.NodeID, was, now *fabric.Peer) bool {
	if now == nil {
		return v.claims[idResource(id)].first == nil
	}
	return len(was.Subnets) > 0 && len(v.owned[id]) == 0
}

func (v *view) disappearance(lost map[fabric.NodeID]*fabric.Peer, newly int) disappearance {
	d := disappearance{
		vanished:   newly,
		known:      len(v.peers) - len(v.hold.held),
		fabricGone: v.spec != nil && v.specRev == 0,
		rewound:    v.rewound,
	}
	if v.peer(v.self) != nil {
		d.known--
	}
	perRevision := map[int64]int{}
	if rev := v.goneAt[v.self]; rev != 0 && v.nodeByID(v.self) == nil {
		perRevision[rev]++
	}
	for id := range lost {
		rev := v.goneAt[id]
		if rev == 0 || v.hold.held[id] != nil {
			continue
		}
		perRevision[rev]++
		d.oneRevision = max(d.oneRevision, perRevision[rev])
	}
	return d
}

// checkHeld lets go of what others have by now: a record that is there is a
// fact, one that was is not.
func (v *view) checkHeld() {
	for id, p := range v.hold.held {
		for _, res := range resources(&p.Node) {
			if o := v.holder(res); o != nil && o.node.ID != id {
				v.release(id)
			}
		}
		for _, s := range p.Subnets {
			v.order.overlapping(s.Prefix, func(o *record) {
				if o.inForce() && o.subnet.Owner != id {
					v.release(id)
				}
			})
		}
	}
}

// release lets one held peer go at the rebuild that follows.
func (v *view) release(id fabric.NodeID) {
	v.hold.letGo[id] = true
	v.touch(id)
}

// releaseHold removes everything that is held at the next snapshot.
func (v *view) releaseHold() {
	if len(v.hold.held) == 0 {
		return
	}
	v.hold.released = true
	v.hold.applied = nil
	for id := range v.hold.held {
		v.touch(id)
	}
}
