package agent

import (
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// way is how the routes to a peer lead, in one byte: there are two for each peer.
type way uint8

// The ways. The overlays are those of even and odd generations.
const (
	unasked   way = iota // the peer has no subnet of the family
	wayNone              // there is none, and no route
	wayDead              // senders are told that there is none
	wayKept              // as an earlier life of the agent left it
	wayDirect            // the paths
	wayBGP
	wayEven
	wayOdd
	wayCount
)

func wayOf(p fabric.Path) way {
	switch p.Kind {
	case fabric.PathDirect:
		return wayDirect
	case fabric.PathBGP:
		return wayBGP
	case fabric.PathVXLAN:
		return wayEven + way(p.Generation&1)
	}
	return wayNone
}

// path is the one that a way stands for.
func (k *facts) path(w way) fabric.Path {
	p := fabric.Path{Kind: w.kind()}
	for _, o := range k.overlays {
		if wayOf(fabric.Path{Kind: fabric.PathVXLAN, Generation: o.Generation}) == w {
			p.Generation = o.Generation
		}
	}
	return p
}

// kind is the word for a way.
func (w way) kind() fabric.PathKind {
	return [wayCount]fabric.PathKind{"", "", unreachable, fabric.PathBGP, fabric.PathDirect, fabric.PathBGP, fabric.PathVXLAN, fabric.PathVXLAN}[w]
}

// routed is where the routes to one family of a peer lead: what the kernel was
// told is computed from this and the peer, also when it is to go.
type routed struct {
	way, next way       // next: that which will be taken, or would be if probes were answered
	moved     bool      // by a migration
	better    uint8     // a bit for each way that would be if its probes were answered; next is one
	heard     uint32    // of the probes of both, see ways.heard
	mtu       int32     // bytes; 0: the routes say nothing
	id        uint32    // the nexthop object
	each      *[]uint32 // of each subnet, where they are not all led the same way; else nil
}

// byBGP reports whether BGP leads there, or did before the start.
func (t *routed) byBGP() bool { return t.way == wayBGP || t.way == wayKept }

// ids are those of routed.each, or none.
func (t *routed) ids() []uint32 {
	if t.each == nil {
		return nil
	}
	return *t.each
}

// addTo appends the routes to the subnets of a family.
func (t *routed) addTo(objs *kernel.Objects, p *fabric.Peer, f fabric.Family) {
	if t.way < wayDead || t.way == wayKept && t.each == nil {
		return
	}
	via := backends.Via{Nexthop: t.id, MTU: int(t.mtu), Unreachable: t.way == wayDead}
	i, each := 0, t.ids()
	for prefix := range p.SubnetsOf(f) {
		if len(each) > 0 {
			via.Nexthop = each[i]
		}
		if r, ok := backends.Route(prefix, via); ok {
			objs.Routes = append(objs.Routes, r)
		}
		i++
	}
}

// same reports whether two make the same routes.
func (t *routed) same(u *routed) bool {
	return t.way == u.way && t.mtu == u.mtu && t.id == u.id && slices.Equal(t.ids(), u.ids())
}

// toPeer is where the routes to a peer lead.
type toPeer fabric.PerFamily[routed]

func (t *toPeer) family(f fabric.Family) *routed {
	if f == fabric.IPv6 {
		return &t.IPv6
	}
	return &t.IPv4
}

func (t *toPeer) addTo(objs *kernel.Objects, p *fabric.Peer) {
	t.IPv4.addTo(objs, p, fabric.IPv4)
	t.IPv6.addTo(objs, p, fabric.IPv6)
}

func (t *toPeer) same(u *toPeer) bool { return t.IPv4.same(&u.IPv4) && t.IPv6.same(&u.IPv6) }

// pathless is 1 where there is no path for some family.
func (t *toPeer) pathless() int {
	if t.IPv4.way == wayNone || t.IPv6.way == wayNone {
		return 1
	}
	return 0
}

// ways chooses how each peer is reached and remembers what was chosen. It is the
// loop's.
type ways struct {
	facts
	self     fabric.Node      // name, id and labels
	snapshot *fabric.Snapshot // which says by which plan a peer is sent to
	usual    []fabric.Path    // what prefer gave last for no reason of the peer's own; nil: not known
	chooser  *paths.Chooser
	to       map[fabric.NodeID]*toPeer
	count    [wayCount]int // families of peers
	switches uint64        // changes of path, but for the first
	pathless int           // peers with a family that there is no path to
	// keeping: BGP has not yet told all of the family in this life, so what an
	// earlier one had learnt stays.
	keeping fabric.PerFamily[bool]
	earlier map[paths.Key]inForce
	// left are the subnets to which an earlier life left a route by BGP.
	left  map[netip.Prefix]struct{}
	watch watching
	known gateways

	offered   []paths.Offer  // scratch: to the peer that is chosen for
	preferred []fabric.Path  // scratch: the paths to it, best first
	ids       []uint32       // scratch
	spare     kernel.Objects // scratch
}

func newWays(self fabric.Node) *ways {
	return &ways{self: self, chooser: paths.New(), to: map[fabric.NodeID]*toPeer{}, earlier: map[paths.Key]inForce{}}
}

// by takes over another input.
func (w *ways) by(in backends.Input) { w.facts, w.usual = w.with(in), nil }

// prefer lists the paths to a peer, best first. While a migration has moved it,
// those of the plan before are the way out.
func (w *ways) prefer(p *fabric.Peer) []fabric.Path {
	rules, from := w.in.Spec.PathRules, w.sender()
	if w.snapshot.Migration == nil || !w.snapshot.Moved(&w.self, &p.Node) {
		if len(rules) == 0 && w.usual != nil {
			return w.usual
		}
		w.usual = w.in.Spec.Plan().Prefer(rules, from, p.Labels)
		return w.usual
	}
	out := w.snapshot.Migration.To.Prefer(rules, from, p.Labels)
	for _, path := range w.in.Spec.Plan().Prefer(rules, from, p.Labels) {
		if !slices.Contains(out, path) {
			out = append(out, path)
		}
	}
	return out
}

// sender is this node as one that sends.
func (w *ways) sender() fabric.Sender {
	return fabric.Sender{Labels: w.self.Labels, SeveralUplinks: len(w.in.Uplinks) > 1}
}

// plan is the one by which a peer is sent to.
func (w *ways) plan(p *fabric.Peer) fabric.Plan { return w.snapshot.PlanFor(&w.self, &p.Node) }

// replanned reports whether a migration has moved a peer, or moved it back.
func (w *ways) replanned(p *fabric.Peer) bool {
	t := w.to[p.ID]
	return t == nil || (t.IPv4.moved || t.IPv6.moved) != w.snapshot.Moved(&w.self, &p.Node)
}

// choose says where the routes to a peer are to lead now.
func (w *ways) choose(r backends.Remote, a *armed, now time.Time) (next toPeer) {
	was := w.to[r.ID]
	var prefer []fabric.Path
	for _, f := range fabric.Families {
		if _, any := r.Peer.FirstSubnet(f); !any {
			continue
		}
		t := next.family(f)
		if prefer == nil {
			prefer = w.prefer(r.Peer)
			w.preferred = prefer
		}
		a.routed.Set(f, was != nil && was.family(f).byBGP())
		w.offered = w.offers(w.offered[:0], r, f, a)
		if w.stillKept(was, r.Peer, f) {
			t.way, t.each = wayKept, w.keptIDs(r, f)
			continue
		}
		var c paths.Choice
		c.Path, c.Next = w.chooser.Decide(paths.Key{Peer: r.ID, Family: f}, prefer, w.offered, now)
		var silent fabric.Path
		if t.better, silent = w.better(prefer, c.Path); c.Next.Kind == "" {
			c.Next = silent
		}
		w.lead(t, c, r, f)
		t.moved = w.snapshot.Moved(&w.self, &r.Node)
	}
	return next
}

// better are the paths among those offered that would be used instead of the one
// in use if they answered probes, and the first of them that does not. All must
// be asked again and again: what is not asked is not known to be silent.
func (w *ways) better(prefer []fabric.Path, inUse fabric.Path) (all uint8, silent fabric.Path) {
	for _, p := range prefer {
		if p == inUse {
			break
		}
		for i := range w.offered {
			o := &w.offered[i]
			if o.Path != p || o.State != paths.Up {
				continue
			}
			all |= 1 << wayOf(p)
			if o.Verdict == paths.Silent && silent.Kind == "" {
				silent = p
			}
		}
	}
	return all, silent
}

// lead makes routes of a choice.
func (w *ways) lead(t *routed, c paths.Choice, r backends.Remote, f fabric.Family) {
	t.way, t.next = wayOf(c.Path), wayOf(c.Next)
	if t.way == wayNone {
		if r.Down {
			t.way = wayDead
		}
		return
	}
	t.mtu = int32(w.routeMTU(paths.Key{Peer: r.ID, Family: f}, c.Path, r.Peer))
	if t.way == wayBGP {
		t.id, t.each = w.learntIDs(r.Peer, f, int(t.mtu), w.besides(r, f))
	} else {
		t.id = backends.NexthopID(r.Index, f, c.Path)
	}
	t.heard = w.hearsay(r.ID, f, t)
}

// inForce is what the routes of an earlier life of the agent said.
type inForce struct {
	path fabric.Path
	mtu  int
}

// routeMTU is what the routes to a family of a peer must say of the size of
// packets. What an earlier life had found out holds until the probes know.
func (w *ways) routeMTU(k paths.Key, path fabric.Path, p *fabric.Peer) int {
	most := backends.PeerMTU(w.in, w.plan(p), p)
	found := w.ask(probe.Key{Peer: k.Peer, Family: k.Family, Path: path}).MTU
	if had, ok := w.earlier[k]; ok {
		if found > 0 || had.path != path {
			delete(w.earlier, k)
		} else {
			found = had.mtu
		}
	}
	if found > 0 {
		most = min(most, found)
	}
	return backends.RouteMTU(w.in, k.Family, most)
}

// at is where a peer's routes lead.
func (w *ways) at(id fabric.NodeID) *toPeer {
	t := w.to[id]
	if t == nil {
		t = &toPeer{}
		w.to[id] = t
		w.count[unasked] += len(fabric.Families)
	}
	return t
}

// set remembers what was chosen for a peer.
func (w *ways) set(id fabric.NodeID, next toPeer) {
	t := w.at(id)
	for _, f := range fabric.Families {
		was, is := t.family(f), next.family(f)
		if was.way != is.way || was.next != is.next || was.better != is.better {
			w.watch.touch(paths.Key{Peer: id, Family: f})
		}
		if was.way > wayKept && is.way > wayKept && was.way != is.way {
			w.switches++
		}
		w.count[was.way]--
		w.count[is.way]++
	}
	w.pathless += next.pathless() - t.pathless()
	*t = next
}

// forget ends what is remembered of a peer that is gone.
func (w *ways) forget(id fabric.NodeID) {
	w.set(id, toPeer{})
	delete(w.to, id)
	for _, f := range fabric.Families {
		delete(w.earlier, paths.Key{Peer: id, Family: f})
	}
	w.chooser.Forget(id)
}

// counts are the families of peers by the kind of path.
func (w *ways) counts() map[fabric.PathKind]int {
	out := map[fabric.PathKind]int{}
	for at := wayNone; at < wayCount; at++ {
		out[at.kind()] += w.count[at]
	}
	return out
}
