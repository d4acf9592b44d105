package speaker

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
)

// llgrStale is the community LLGR_STALE (RFC 9494, 4.6).
const llgrStale = 0xffff0006

// rib holds, for every prefix that peers told, the ways that are equally best
// now. GoBGP tells of changes only, per prefix, peer and path id, and its queue
// neither coalesces nor ends: so its callback writes here at once, and who is
// slow to call take finds one change per prefix, the newest.
type rib struct {
	mu       sync.Mutex // guards all fields
	prefixes map[netip.Prefix]*entry
	queue    []netip.Prefix // with unread changes, oldest first
	most     int            // next hops per prefix
	life     uint32         // of the server: ways of an earlier one are kept until swept
}

type entry struct {
	ways   []way
	queued bool
}

// way is one path; peer and id are its key.
type way struct {
	peer    netip.Addr
	nextHop netip.Addr
	id      uint32 // remote path identifier (RFC 7911)
	life    uint32
	stale   bool // long-lived stale: only as good as nothing better
}

func newRIB() *rib { return &rib{prefixes: map[netip.Prefix]*entry{}, most: 1} }

// update takes in what GoBGP says of its best paths in one of its lives.
func (r *rib) update(paths []*apiutil.Path, life uint32) (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if life != r.life {
		return false // it is being stopped: that it forgets its routes means nothing
	}
	for _, p := range paths {
		prefix, ok := prefixOf(p)
		if !ok || !p.PeerAddress.IsValid() {
			continue // our own, or no unicast route
		}
		w := way{peer: p.PeerAddress, id: p.RemoteID, life: r.life}
		if !p.Withdrawal {
			w.nextHop = nextHopOf(p)
			w.stale = hasCommunity(p, llgrStale)
		}
		news = r.put(prefix, w) || news
	}
	return news
}

// put stores a way, or removes it if it has no next hop.
func (r *rib) put(prefix netip.Prefix, w way) bool {
	e := r.prefixes[prefix]
	if e == nil {
		if !w.nextHop.IsValid() {
			return false
		}
		e = &entry{}
		r.prefixes[prefix] = e
	}
	i := slices.IndexFunc(e.ways, func(o way) bool { return o.peer == w.peer && o.id == w.id })
	switch {
	case i >= 0 && w.nextHop.IsValid():
		if e.ways[i] == w {
			return false
		}
		e.ways[i] = w
	case i >= 0:
		e.ways = slices.Delete(e.ways, i, i+1)
	case w.nextHop.IsValid():
		e.ways = append(e.ways, w)
	default:
		return false
	}
	r.mark(prefix, e)
	return true
}

func (r *rib) mark(prefix netip.Prefix, e *entry) {
	if !e.queued {
		e.queued = true
		r.queue = append(r.queue, prefix)
	}
}

// take hands out up to most prefixes that changed since they were last handed
// out.
func (r *rib) take(most int) ([]bgp.Change, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(max(most, 0), len(r.queue))
	changes := make([]bgp.Change, 0, n)
	for _, prefix := range r.queue[:n] {
		e := r.prefixes[prefix]
		e.queued = false
		changes = append(changes, bgp.Change{Prefix: prefix, NextHops: e.nextHops(r.most)})
		if len(e.ways) == 0 {
			delete(r.prefixes, prefix)
		}
	}
	if r.queue = r.queue[n:]; len(r.queue) == 0 {
		r.queue = nil // let go of the array
	}
	return changes, len(r.queue) > 0
}

// again makes take hand out everything anew.
func (r *rib) again() (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix, e := range r.prefixes {
		r.mark(prefix, e)
	}
	return len(r.queue) > 0
}

// nextHops are those in use: of fresh ways if there is one, the first in order
// if there are more than most, so that all restarts choose the same.
func (e *entry) nextHops(most int) []netip.Addr {
	fresh := slices.ContainsFunc(e.ways, func(w way) bool { return !w.stale })
	var out []netip.Addr
	for _, w := range e.ways {
		if !w.stale || !fresh {
			out = append(out, w.nextHop)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	out = slices.Compact(out)
	return out[:min(len(out), most)]
}

// uses reports whether a way that a peer told is among the best.
func (r *rib) uses(prefix netip.Prefix, peer netip.Addr) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.prefixes[prefix]
	return e != nil && slices.ContainsFunc(e.ways, func(w way) bool { return w.peer == peer })
}

// setMost changes how many next hops a prefix has at most.
func (r *rib) setMost(most int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if most = max(most, 1); most == r.most {
		return
	}
	lower := min(most, r.most)
	r.most = most
	for prefix, e := range r.prefixes {
		if len(e.ways) > lower {
			r.mark(prefix, e)
		}
	}
}

// newLife says that the server was started anew: what the old one told stays
// until sweep, so that routes outlive the change of a router id.
func (r *rib) newLife(life uint32) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.life = life
}

// sweep drops what no peer told again since newLife.
func (r *rib) sweep() (news bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for prefix, e := range r.prefixes {
		before := len(e.ways)
		e.ways = slices.DeleteFunc(e.ways, func(w way) bool { return w.life != r.life })
		if len(e.ways) != before {
			r.mark(prefix, e)
			news = true
		}
	}
	return news
}

func prefixOf(p *apiutil.Path) (netip.Prefix, bool) {
	nlri, ok := p.Nlri.(*packet.IPAddrPrefix)
	if !ok || nlri == nil {
		return netip.Prefix{}, false
	}
	return nlri.Prefix.Masked(), true
}

// nextHopOf is a path's next hop, with a zone where it is link-local: the
// peer's, as a link-local next hop means the link of the session.
func nextHopOf(p *apiutil.Path) netip.Addr {
	var hop netip.Addr
	for _, a := range p.Attrs {
		switch a := a.(type) {
		case *packet.PathAttributeNextHop:
			if !hop.IsValid() {
				hop = a.Value
			}
		case *packet.PathAttributeMpReachNLRI:
			if hop = a.Nexthop; !hop.IsValid() || hop.IsUnspecified() {
				hop = a.LinkLocalNexthop
			}
		}
	}
	hop = hop.Unmap()
	if hop.IsLinkLocalUnicast() && hop.Zone() == "" {
		hop = hop.WithZone(p.PeerAddress.Zone())
	}
	return hop
}
