package store

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// holdWindow is the time within which removals are counted together.
const holdWindow = 30 * time.Second

// hold keeps peers whose records went in a mass disappearance. Few removals
// are applied at once. None of a batch is applied when
//   - more than max(2, half) of the known peers would go within holdWindow, or
//   - the Fabric object is gone as well, or was made anew since (a wiped
//     prefix, an empty etcd), or
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
	judge
	held     map[fabric.NodeID]*fabric.Peer
	released bool // by the operator, until the next snapshot
	letGo    map[fabric.NodeID]bool
}

// judge decides about removals of one sort of things.
type judge struct {
	what string // they are, in the plural
	heldBack
	applied []time.Time // removals within the window
}

// heldBack is why and since when removals are held back, if any are.
type heldBack struct {
	Since  time.Time `json:"since"`
	Reason string    `json:"reason"`
}

// disappearance is what one batch of events takes away.
type disappearance struct {
	vanished    int  // now
	known       int  // before, without those held
	held        int  // already
	oneRevision int  // the most (nodes, this one included) that one revision deleted
	fabricGone  bool // or it was made anew meanwhile
	rewound     bool // the list is of another history than the one known
}

// holds decides whether the removals of a batch are held back, and notes why.
func (j *judge) holds(d disappearance, now time.Time) bool {
	why := j.why(d, now)
	if why == "" {
		for range d.vanished {
			j.applied = append(j.applied, now)
		}
		return false
	}
	if d.held == 0 {
		j.heldBack = heldBack{now, why}
	}
	return true
}

// why says why the removals of a batch are held back, nothing if they are not.
func (j *judge) why(d disappearance, now time.Time) string {
	j.applied = slices.DeleteFunc(j.applied, func(t time.Time) bool { return now.Sub(t) >= holdWindow })
	all, before := len(j.applied)+d.vanished, len(j.applied)+d.known
	switch {
	case d.fabricGone:
		return fmt.Sprintf("%d of %d %s went from etcd together with the Fabric object", d.vanished, d.known, j.what)
	case d.rewound:
		return fmt.Sprintf("%d of %d %s are not in this etcd, which was replaced or restored from an older copy", d.vanished, d.known, j.what)
	case d.oneRevision > 1:
		return fmt.Sprintf("one write to etcd deleted %d %s", d.oneRevision, j.what)
	case all > max(2, before/2):
		return fmt.Sprintf("%d of %d %s went from etcd within %v", all, before, j.what, holdWindow)
	case d.held > 0:
		return j.Reason
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
	if newly > 0 && !h.holds(v.disappearance(lost, newly), now) {
		maps.DeleteFunc(lost, func(id fabric.NodeID, _ *fabric.Peer) bool { return h.held[id] == nil })
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

// fabricGone reports whether the Fabric object went as well, be it that it is
// back by now: a wiped prefix into which `weft apply` wrote again.
func (v *view) fabricGone() bool {
	return v.spec != nil && v.specRev == 0 || v.specAnew
}

func (v *view) disappearance(lost map[fabric.NodeID]*fabric.Peer, newly int) disappearance {
	d := disappearance{
		vanished:   newly,
		known:      len(v.peers) - len(v.hold.held),
		held:       len(v.hold.held),
		fabricGone: v.fabricGone(),
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
		for _, res := range resources(nil, &p.Node) {
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
	if v.objects.held() > 0 {
		v.objects.released, v.objects.stale = true, true
		v.objects.judge.applied = nil
	}
	v.reports.release()
	if len(v.hold.held) == 0 {
		return
	}
	v.hold.released = true
	v.hold.applied = nil
	for id := range v.hold.held {
		v.touch(id)
	}
}
