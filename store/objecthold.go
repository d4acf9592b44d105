package store

import (
	"time"

	"github.com/weft-net/weft/fabric"
)

// What operators write is gone by their word: Apply leaves a mark
// `deleted/<key>` for a day when it deletes an object, so that such a deletion
// is a fact, however many there are, and also for an agent that was not there
// to see it. Without a mark, an object that is missing is judged like a peer
// (hold.go): one that goes is gone at once, a mass disappearance is held back,
// for sessions with the switches are worth no less than routes to peers.
//
// What is held is given back by the object's key being there again, whatever
// it holds, by a mark, or by the operator's release.

// settleObjects decides which of the objects that are gone from etcd are gone.
func (v *view) settleObjects(now time.Time) {
	s := &v.objects
	lost := v.lostObjects()
	s.released = false
	if len(lost) == 0 {
		return
	}
	d := disappearance{
		vanished: len(lost), held: s.held(), fabricGone: v.fabricGone(), rewound: v.rewound,
		known: len(s.all) - s.held(),
	}
	perRevision := map[int64]int{}
	for _, o := range lost {
		if o.goneAt != 0 {
			perRevision[o.goneAt]++
			d.oneRevision = max(d.oneRevision, perRevision[o.goneAt])
		}
	}
	hold := s.judge.holds(d, now)
	for _, o := range lost {
		if hold {
			o.held, o.wiped = true, d.fabricGone || d.rewound
		} else {
			delete(s.all, o.key)
		}
	}
}

// lostObjects removes the objects that are gone by somebody's word, and
// returns the others that are gone and not held yet.
func (v *view) lostObjects() []*object {
	s := &v.objects
	var lost []*object
	for key, o := range s.all {
		switch {
		case !o.gone:
		case s.released || s.meant(o):
			delete(s.all, key)
		case !o.held:
			lost = append(lost, o)
		}
	}
	return lost
}

// meant reports whether an object is gone by an operator's word. A mark from
// before it was written anew says nothing; that of a migration has its id.
func (s *objects) meant(o *object) bool {
	if m, ok := o.spec.(*fabric.Migration); ok {
		return s.finished[m.ID]
	}
	return s.deleted[o.key] > o.mod
}

// held counts the objects whose removal is held back.
func (s *objects) held() (n int) {
	for _, o := range s.all {
		if o.held {
			n++
		}
	}
	return n
}

// describeHold is what is held back, as the snapshot shows it, nil if nothing is.
func (v *view) describeHold() *fabric.Hold {
	peers, objs := len(v.hold.held), v.objects.held()
	switch a, b := &v.hold.judge, &v.objects.judge; {
	case peers == 0 && objs == 0:
		return nil
	case peers == 0:
		return &fabric.Hold{Since: b.Since, Objects: objs, Reason: b.Reason}
	case objs == 0:
		return &fabric.Hold{Since: a.Since, Peers: peers, Reason: a.Reason}
	default:
		since := a.Since
		if b.Since.Before(since) {
			since = b.Since
		}
		return &fabric.Hold{Since: since, Peers: peers, Objects: objs, Reason: a.Reason + "; " + b.Reason}
	}
}
