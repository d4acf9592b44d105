package agent

import (
	"net/netip"
	"reflect"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// Backend computes what the kernel should hold; see package backends.
type Backend interface {
	Base(backends.Input) kernel.Objects
	Peer(*kernel.Objects, backends.Input, backends.Remote) backends.Way
	MTU(backends.Input) int
}

// backendFor is the backend that the fabric asks for.
func backendFor(spec *fabric.Spec) Backend {
	if routed(spec) {
		return bgp.Backend{}
	}
	return vxlan.Backend{}
}

// routed reports whether the fabric's backend is BGP.
func routed(spec *fabric.Spec) bool { return spec != nil && spec.Backend == config.BackendBGP }

// wanted follows the inputs and tells the kernel's Host what changed. It is
// the loop's, and nobody else's.
type wanted struct {
	backend Backend // of input.Spec
	host    *kernel.Host
	learnt  *learnt // routes from the peers, nil: nobody learns any

	input    backends.Input
	peers    []*fabric.Peer // as of the last follow, sorted by id
	down     map[fabric.NodeID]bool
	draining []netip.Prefix // part of input.Subnets, kept but no longer ours to lease from
	known    bool           // input is set
	version  uint64         // of the inputs last followed
}

// follow brings what is wanted up to date with in. It returns false while too
// little is known to want anything: nothing may be removed for that reason. A
// lease is not waited for: the peers are programmed while it is claimed, and
// what an earlier life of this agent had leased stays as it is meanwhile.
func (w *wanted) follow(in inputs) bool {
	if w.known && in.version == w.version {
		return true // the round is the kernel's doing: pods come and go
	}
	w.version = in.version
	if in.snapshot == nil || in.snapshot.Spec == nil || in.underlay.MTU == 0 {
		return w.known
	}
	if !w.known && in.lease.State == store.Refused {
		return false // another host is this node
	}
	subnets, draining := w.subnets(in)
	next := backends.Input{Spec: in.snapshot.Spec, Self: w.input.Self, Underlay: in.underlay, Subnets: subnets, Uplinks: w.input.Uplinks}
	w.draining = draining
	if w.whole(next) {
		w.input, w.peers, w.down, w.known = next, in.snapshot.Peers, in.down, true
		w.backend = backendFor(next.Spec)
		w.learnt.route(routed(next.Spec))
		w.input.Uplinks = w.learnt.links()
		w.host.SetWant(w.all())
		return true
	}
	if !sameUnderlay(w.input, next) || !slices.Equal(w.input.Subnets, subnets) { // no concern of the peers'
		w.host.Update(w.backend.Base(w.input), w.backend.Base(next))
		w.input = next
	}
	w.followPeers(in)
	return true
}

// learn brings in what the peers told.
func (w *wanted) learn() error {
	err := w.learnt.follow(w.input)
	if links := w.learnt.links(); !slices.Equal(links, w.input.Uplinks) {
		next := w.input
		next.Uplinks = links
		w.host.Update(w.backend.Base(w.input), w.backend.Base(next))
		w.input = next
	}
	return err
}

// whole reports whether everything must be computed anew: the specification
// changed, or the underlay where the peers' objects depend on it. Learnt routes
// do not, and there may be many just when a link goes down.
func (w *wanted) whole(next backends.Input) bool {
	return !w.known || w.input.Spec != next.Spec && !reflect.DeepEqual(w.input.Spec, next.Spec) ||
		!routed(next.Spec) && !sameUnderlay(w.input, next)
}

// sameUnderlay compares what backends look at: gateways are none of that.
func sameUnderlay(a, b backends.Input) bool {
	a.Underlay.Gateways = b.Underlay.Gateways
	return reflect.DeepEqual(a.Underlay, b.Underlay)
}

// subnets are those leased now and, as long as the fabric shows nobody else
// as their owner, those leased before: their pods are still there.
func (w *wanted) subnets(in inputs) (all, draining []netip.Prefix) {
	for _, s := range in.lease.Subnets {
		if in.lease.State == store.Leased {
			all = append(all, s.Prefix)
		}
	}
	for _, p := range w.input.Subnets {
		if !slices.Contains(all, p) && !ownedByOther(in.snapshot, w.input.Self, p) {
			draining = append(draining, p)
		}
	}
	return append(all, draining...), draining
}

func ownedByOther(s *fabric.Snapshot, self fabric.NodeID, p netip.Prefix) bool {
	for _, peer := range s.Peers {
		if peer.ID == self {
			continue
		}
		if slices.ContainsFunc(peer.Subnets, func(s fabric.Subnet) bool { return s.Prefix.Overlaps(p) }) {
			return true
		}
	}
	return false
}

// all is the whole desired state.
func (w *wanted) all() kernel.Objects {
	objs := w.backend.Base(w.input)
	n := len(w.peers) * len(w.input.Spec.Networks())
	objs.FDB, objs.Neighs = slices.Grow(objs.FDB, len(w.peers)), slices.Grow(objs.Neighs, n)
	objs.Nexthops, objs.Routes = slices.Grow(objs.Nexthops, n), slices.Grow(objs.Routes, n)
	for _, p := range w.peers {
		if p.ID != w.input.Self {
			w.backend.Peer(&objs, w.input, backends.Remote{Peer: p, Down: w.down[p.ID]})
		}
	}
	w.learnt.addTo(&objs)
	return objs
}

// followPeers hands the Host the difference that changed peers make. The
// peers are sorted and immutable, so a walk over pointers finds it.
func (w *wanted) followPeers(in inputs) {
	var gone, come kernel.Objects
	add := func(objs *kernel.Objects, p *fabric.Peer, down map[fabric.NodeID]bool) {
		if p != nil && p.ID != w.input.Self {
			w.backend.Peer(objs, w.input, backends.Remote{Peer: p, Down: down[p.ID]})
		}
	}
	walk(w.peers, in.snapshot.Peers, func(a, b *fabric.Peer) {
		if a == b && w.down[a.ID] == in.down[a.ID] {
			return
		}
		add(&gone, a, w.down)
		add(&come, b, in.down)
	})
	w.host.Update(gone, come)
	w.peers, w.down = in.snapshot.Peers, in.down
}

// walk pairs two lists that are sorted by id; nil stands for a missing one.
func walk(a, b []*fabric.Peer, visit func(a, b *fabric.Peer)) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && strings.Compare(string(a[0].ID), string(b[0].ID)) < 0:
			visit(a[0], nil)
			a = a[1:]
		case len(a) == 0 || a[0].ID != b[0].ID:
			visit(nil, b[0])
			b = b[1:]
		default:
			visit(a[0], b[0])
			a, b = a[1:], b[1:]
		}
	}
}

// count is the number of other nodes. It is asked for in every round, so it
// does not walk them.
func (w *wanted) count() int {
	if s := (fabric.Snapshot{Peers: w.peers}); s.Peer(w.input.Self) == nil {
		return len(w.peers)
	}
	return len(w.peers) - 1
}
