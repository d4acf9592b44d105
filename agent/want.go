package agent

import (
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// wanted follows the inputs and tells the kernel's Host what changed. It is
// the loop's, and nobody else's.
type wanted struct {
	host   *kernel.Host
	learnt *learnt // routes from the peers, nil: nobody learns any
	ways   *ways   // how each peer is reached

	input    backends.Input
	peers    []*fabric.Peer // as of the last follow, sorted by id
	down     map[fabric.NodeID]bool
	draining []netip.Prefix // part of input.Subnets, kept but no longer ours to lease from
	known    bool           // input is set
	version  uint64         // of the inputs last followed
	seen     linkSeen
	due      time.Time // when to look again unasked; zero: never
}

// follow brings what is wanted up to date with in. It returns false while too
// little is known to want anything: nothing may be removed for that reason. A
// lease is not waited for: the peers are programmed while it is claimed, and
// what an earlier life of this agent had leased stays as it is meanwhile. The
// error says that the kernel could not be asked what it holds.
func (w *wanted) follow(in inputs, now time.Time) (bool, error) {
	if w.known && in.version == w.version {
		return true, nil // the round is the kernel's doing: pods come and go
	}
	if in.snapshot == nil || in.snapshot.Spec == nil || in.underlay.MTU == 0 {
		w.version = in.version
		return w.known, nil
	}
	first := !w.known
	if first && in.lease.State == store.Refused {
		return false, nil // another host is this node
	}
	if first {
		if err := w.host.Read(); err != nil {
			return false, fmt.Errorf("read what the kernel holds: %w", err)
		}
	}
	w.version, w.known = in.version, true
	before := w.input
	subnets, draining := w.subnets(in)
	w.draining = draining
	w.input = backends.Input{
		Spec: in.snapshot.Spec, Plans: in.snapshot.Plans(), Self: before.Self, Underlay: in.underlay, Subnets: subnets, Uplinks: before.Uplinks,
	}
	whole := first || !samePlans(before, w.input)
	if whole {
		w.learnt.route(in.snapshot.Routes())
		w.input.Uplinks = w.learnt.links()
	}
	given := w.learnt.claim(before.Self, w.peers, in.snapshot.Peers)
	w.ways.snapshot, w.ways.proven = in.snapshot, in.snapshot.Report(w.ways.self.Name).Moving
	w.ways.facts.update(w.learnt)
	w.ways.keep(w.learnt)
	w.carrier()
	if whole {
		w.anew(in, first, now)
	} else {
		w.step(before, given, in, now)
	}
	w.ways.known.follow(before.Self, in.snapshot.Peers)
	w.peers, w.down = in.snapshot.Peers, in.down
	return true, nil
}

// samePlans reports whether the specification and the plans are as they were.
func samePlans(a, b backends.Input) bool {
	return (a.Spec == b.Spec || reflect.DeepEqual(a.Spec, b.Spec)) && slices.EqualFunc(a.Plans, b.Plans, fabric.Plan.Equal)
}

// sameUnderlay compares what peers' objects depend on: gateways are none of that.
func sameUnderlay(a, b backends.Input) bool {
	a.Underlay.Gateways = b.Underlay.Gateways
	return reflect.DeepEqual(a.Underlay, b.Underlay)
}

// base is what does not depend on peers.
func base(in backends.Input) kernel.Objects {
	objs, devices := backends.Base(in), vxlan.Devices(in)
	objs.Links = append(objs.Links, devices.Links...)
	objs.Sysctls = append(objs.Sysctls, devices.Sysctls...)
	objs.Addrs = append(objs.Addrs, devices.Addrs...)
	return objs
}

// subnets are those leased now and, as long as the fabric shows nobody else
// as their owner, those leased before: their pods are still there. It takes a
// word of the grower's that there are none to let go of one.
func (w *wanted) subnets(in inputs) (all, draining []netip.Prefix) {
	for _, s := range in.lease.Subnets {
		if in.lease.State == store.Leased {
			all = append(all, s.Prefix)
		}
	}
	for _, p := range w.input.Subnets {
		if !slices.Contains(all, p) && !ownedByOther(in.snapshot, w.input.Self, p) && !in.left(p) {
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

// anew sets the whole desired state: the specification or a plan changed.
func (w *wanted) anew(in inputs, first bool, now time.Time) {
	w.ways.by(w.input)
	if first {
		w.ways.watch.told = now // the start first, then the probes
		w.ways.to = make(map[fabric.NodeID]*toPeer, len(in.snapshot.Peers))
		w.ways.chooser.Expect(len(in.snapshot.Peers))
		w.ways.adopt(w.host.Held, in.snapshot.Peers)
	}
	w.ways.watch.again()
	objs := base(w.input)
	n := len(in.snapshot.Peers) * len(w.input.Spec.Networks())
	objs.FDB, objs.Neighs = slices.Grow(objs.FDB, len(in.snapshot.Peers)), slices.Grow(objs.Neighs, n)
	objs.Nexthops, objs.Routes = slices.Grow(objs.Nexthops, n), slices.Grow(objs.Routes, n)
	walk(w.peers, in.snapshot.Peers, func(_, p *fabric.Peer) {
		if p == nil || p.ID == w.input.Self {
			return
		}
		r := backends.Remote{Peer: p, Down: in.down[p.ID]}
		a := w.ways.arm(&objs, r)
		next := w.ways.choose(r, &a, now)
		next.addTo(&objs, p)
		w.ways.set(p.ID, next)
	})
	w.dropGone(in)
	w.learnt.addTo(&objs)
	if first { // there is nothing that it would replace
		w.host.Update(kernel.Objects{}, objs)
	} else {
		w.host.SetWant(objs)
	}
}

// dropGone forgets peers that are no longer there.
func (w *wanted) dropGone(in inputs) {
	walk(w.peers, in.snapshot.Peers, func(a, b *fabric.Peer) {
		if b == nil {
			w.ways.forget(a.ID)
		}
	})
}

// step follows changes of peers, of this node's own subnets, which are no concern
// of the peers', and of the underlay, on which all peers' own objects depend.
// Learnt routes do not, and there may be many just when a link goes down. The
// peers are sorted and immutable, so a walk over pointers finds those that
// changed.
func (w *wanted) step(before backends.Input, given []kernel.Route, in inputs, now time.Time) {
	gone, come := kernel.Objects{Routes: given}, kernel.Objects{}
	rebase := !sameUnderlay(before, w.input)
	if rebase || !slices.Equal(before.Subnets, w.input.Subnets) {
		gone, come = base(before), base(w.input)
		gone.Routes = append(gone.Routes, given...)
		w.ways.watch.again()
	}
	old := w.ways.facts
	w.ways.by(w.input)
	walk(w.peers, in.snapshot.Peers, func(a, b *fabric.Peer) {
		if a != b || rebase || w.down[a.ID] != in.down[a.ID] || len(w.input.Plans) > 1 && w.ways.replanned(b) {
			w.peer(&gone, &come, &old, change{a, b, in.down}, now)
		}
	})
	w.host.Update(gone, come)
}

// change is of one peer: a was, b is, either may be nil.
type change struct {
	a, b *fabric.Peer
	down map[fabric.NodeID]bool // as it is now
}

// peer appends what a changed peer no longer needs and what it needs now. Old
// are the facts by which it was armed.
func (w *wanted) peer(gone, come *kernel.Objects, old *facts, c change, now time.Time) {
	if c.a != nil && c.a.ID != w.input.Self {
		old.arm(gone, backends.Remote{Peer: c.a})
		w.ways.at(c.a.ID).addTo(gone, c.a)
		if c.b == nil {
			w.ways.forget(c.a.ID)
		}
	}
	if c.b != nil && c.b.ID != w.input.Self {
		r := backends.Remote{Peer: c.b, Down: c.down[c.b.ID]}
		a := w.ways.arm(come, r)
		next := w.ways.choose(r, &a, now)
		next.addTo(come, c.b)
		w.ways.set(c.b.ID, next)
	}
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
