package probe

import (
	"time"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
)

// look asks at once by the paths that a router says are too narrow. What it
// said is tried, and believed if it is so.
func (r *run) look(h hint) {
	now := time.Now()
	if r.scanBudget.wait(now) > 0 {
		return // most concern others' packets, and all paths are gone through
	}
	r.scanBudget.take(now)
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table
	for _, i := range t.order {
		p := &t.paths[i]
		mtu, ok := p.concerns(h, t.kinds[p.kind].Kind)
		if !ok {
			continue
		}
		narrower := p.hinted(mtu)
		if !narrower || !p.resting || p.place == notQueued || p.lost {
			continue
		}
		if r.hintBudget.wait(now) > 0 {
			return
		}
		r.hintBudget.take(now)
		r.counts.hints.Add(1)
		p.again(true, false)
		p.resting = false
		t.put(i, now.Sub(r.start), false)
	}
}

// concerns reports whether a hint is about packets that went by a path, and
// what it says of theirs.
func (p *path) concerns(h hint, kind fabric.PathKind) (mtu int, ok bool) {
	mtu = h.mtu
	if mtu == 0 { // RFC 1191 section 5: a router that does not know of it
		mtu = int(p.floor)
	}
	switch h.to {
	case p.toAddr():
		return mtu, true
	case p.underlayAddr():
		if kind == fabric.PathVXLAN && h.mtu != 0 {
			mtu -= backends.Overhead(fabric.FamilyOf(h.to))
		}
		return mtu, true
	}
	return 0, false
}
