package agent

import (
	"cmp"
	"context"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// status puts together what `weft status` shows. The part about peers is read
// in the loop's goroutine; where that is stuck, the rest is told without it.
func (a *agent) status(ctx context.Context) *api.Status {
	in := a.inbox.take()
	etcd := a.session.Etcd()
	s := &api.Status{
		Node: a.self.Name, NodeID: a.self.ID, Version: a.self.Version, Started: a.started,
		Lease: leaseStatus(in.lease),
		Etcd: api.Etcd{
			Connected: etcd.Connected, Error: etcd.Error, Revision: etcd.Revision, Taken: etcd.Taken, Cached: etcd.Cached,
		},
		Underlay: api.Underlay{Interface: in.underlay.Interface, Addrs: in.underlay.Addrs, MTU: in.underlay.MTU},
	}
	if in.snapshot != nil {
		s.Hold, s.Problems = in.snapshot.Hold, in.snapshot.Problems
		s.Migration = migrationStatus(in.snapshot, a.self.Name)
	}
	s.Problems = append(slices.Clip(s.Problems), a.routing.Status().Problems...)
	a.fromLoop(s)
	if err := a.loop.ask(ctx, func() {
		if s.Peers = a.loop.peers(); a.loop.want.known {
			s.Reduced, s.Silent = a.loop.want.reduced(), a.loop.want.silent()
		}
	}); err != nil {
		s.Ready = false
		s.NotReady = append(s.NotReady, "the reconcile loop does not answer: it is busy or waits for the kernel")
	}
	return s
}

// fromLoop takes over what the last round found.
func (a *agent) fromLoop(s *api.Status) {
	sum := a.loop.summary.Load()
	s.Ready, s.NotReady = a.ready()
	if sum == nil {
		return
	}
	for _, f := range sum.report.Failed {
		s.Failed = append(s.Failed, fmt.Sprintf("%s: %v", f.Object, f.Err))
	}
	for _, c := range sum.report.Conflicts {
		s.Conflicts = append(s.Conflicts, fmt.Sprintf("%s: held by %s", c.Object, c.Holder))
	}
	s.Repaired, s.Writes, s.MTU = a.repaired(sum.repaired), sum.writes, sum.mtu
}

func leaseStatus(l store.Lease) api.Lease {
	out := api.Lease{State: string(l.State), Reason: cmp.Or(l.Reason, l.Denied.IPv4, l.Denied.IPv6), Index: l.Index}
	for _, s := range l.Subnets {
		out.Subnets = append(out.Subnets, s.Prefix)
		out.Epoch = max(out.Epoch, s.Epoch)
	}
	return out
}

// peers lists the other nodes. It runs in the loop's goroutine.
func (l *loop) peers() []api.Peer {
	if l.last.snapshot == nil {
		return nil
	}
	bad := l.bad()
	var out []api.Peer
	for _, p := range l.last.snapshot.Peers {
		if p.ID == l.want.input.Self {
			continue
		}
		row := api.Peer{Name: p.Name, ID: p.ID, Alive: p.Alive, Held: p.Held, Underlay: p.Underlay.IPv4, Subnets: []netip.Prefix{}}
		if !row.Underlay.IsValid() {
			row.Underlay = p.Underlay.IPv6
		}
		for _, s := range p.Subnets {
			row.Subnets = append(row.Subnets, s.Prefix)
		}
		l.path(&row, p, bad)
		out = append(out, row)
	}
	return out
}

// path says how a peer is reached and whether the kernel holds what that needs.
func (l *loop) path(row *api.Peer, p *fabric.Peer, bad map[string]bool) {
	row.Path = "none"
	if !l.want.known {
		row.Reason = "nothing is programmed yet"
		return
	}
	way := l.want.way(p)
	if way.kind != "" {
		row.Path = string(way.kind)
	}
	row.Reason = way.reason
	row.Programmed = way.kind != ""
	for _, name := range names(l.want.objects(p)) {
		if bad[name] {
			row.Programmed, row.Reason = false, "the kernel lacks "+name
			return
		}
	}
}

// objects are what the kernel must hold for a peer.
func (w *wanted) objects(p *fabric.Peer) (objs kernel.Objects) {
	w.ways.arm(&objs, backends.Remote{Peer: p, Down: w.down[p.ID]})
	if to := w.ways.to[p.ID]; to != nil {
		to.addTo(&objs, p)
	}
	return objs
}

// lacking counts the peers of which the kernel does not hold all. It looks at
// peers only when something is amiss.
func (l *loop) lacking(r kernel.Report) int {
	bad := broken(r)
	if len(bad) == 0 {
		return 0
	}
	n := 0
	for _, p := range l.want.peers {
		if p.ID == l.want.input.Self {
			continue
		}
		if slices.ContainsFunc(names(l.want.objects(p)), func(name string) bool { return bad[name] }) {
			n++
		}
	}
	return n
}

// broken is the set of objects that a round could not put in place.
func broken(r kernel.Report) map[string]bool {
	out := map[string]bool{}
	for _, f := range r.Failed {
		out[f.Object] = true
	}
	for _, c := range r.Conflicts {
		out[c.Object] = true
	}
	return out
}

// names are the texts by which a kernel.Report calls a peer's objects.
func names(o kernel.Objects) []string {
	var out []string
	for _, v := range o.FDB {
		out = append(out, v.FDBKey.String())
	}
	for _, v := range o.Neighs {
		out = append(out, v.NeighKey.String())
	}
	for _, v := range o.Nexthops {
		out = append(out, v.Name())
	}
	for _, v := range o.Routes {
		out = append(out, v.RouteKey.String())
	}
	return out
}
