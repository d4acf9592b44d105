package agent

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// probeWait is how long an answer to an echo request is waited for.
const probeWait = time.Second

// The states of a station.
const (
	stationOK      = "ok"
	stationFault   = "fault"
	stationUnknown = "unknown"
)

// question is a prefix on its way through the stations.
type question struct {
	a      *agent
	in     inputs
	asked  netip.Prefix // as the operator wrote it
	prefix netip.Prefix // the lease or announcement that it is part of
	owner  *fabric.Peer // nil: nobody leases it
	own    bool         // this node announces it
	paths  []bgp.Path   // that the speaker knows
}

// why goes along the way of a prefix and says at which station it ends.
func (a *agent) why(ctx context.Context, text string) (*api.Why, error) {
	asked, err := parsePrefix(text)
	if err != nil {
		return nil, err
	}
	q := &question{a: a, in: a.inbox.take(), asked: asked, prefix: asked}
	if q.in.snapshot != nil {
		q.owner, q.prefix = ownerOf(q.in.snapshot, asked)
	}
	q.own = q.owner != nil && q.owner.ID == a.self.ID
	for _, announced := range a.routing.Status().Announced {
		if covers(announced.Prefix, asked) && q.owner == nil {
			q.prefix, q.own = announced.Prefix, true
		}
	}
	out := &api.Why{Prefix: q.prefix}
	if q.owner != nil {
		out.Owner = q.owner.Name
	}
	if q.paths, err = q.learnt(ctx); err != nil {
		return nil, err
	}
	for _, s := range []struct {
		name string
		look func(context.Context) (state, detail string)
	}{
		{"lease", q.lease}, {"announced", q.announced}, {"session", q.session}, {"received", q.received},
		{"best", q.best}, {"kernel", q.kernel}, {"probe", q.probe},
	} {
		state, detail := s.look(ctx)
		out.Stations = append(out.Stations, api.Station{Name: s.name, State: state, Detail: detail})
	}
	return out, nil
}

// covers reports whether p is in outer.
func covers(outer, p netip.Prefix) bool { return outer.Bits() <= p.Bits() && outer.Contains(p.Addr()) }

// ownerOf finds the lease that a prefix is part of.
func ownerOf(s *fabric.Snapshot, p netip.Prefix) (*fabric.Peer, netip.Prefix) {
	for _, peer := range s.Peers {
		for _, lease := range peer.Subnets {
			if covers(lease.Prefix, p) {
				return peer, lease.Prefix
			}
		}
	}
	return nil, p
}

// learnt are the ways to the prefix, also those that are kept out; where nobody
// told of it, those to the closest prefix around it that are let in.
func (q *question) learnt(ctx context.Context) ([]bgp.Path, error) {
	in, err := q.a.routing.Routes(ctx, q.prefix)
	in = slices.DeleteFunc(in, func(p bgp.Path) bool { return p.Session == "" || p.Prefix != q.prefix })
	if err != nil || len(in) > 0 {
		return in, err
	}
	paths, err := q.a.routing.Received(ctx, "")
	if err != nil {
		return nil, err
	}
	exact := slices.DeleteFunc(slices.Clone(paths), func(p bgp.Path) bool { return p.Prefix != q.prefix })
	if len(exact) > 0 || q.owner != nil || q.own {
		return exact, nil
	}
	longest := -1
	for _, p := range paths {
		if p.Rejected == "" && covers(p.Prefix, q.asked) && p.Prefix.Bits() > longest {
			longest, q.prefix = p.Prefix.Bits(), p.Prefix
		}
	}
	return slices.DeleteFunc(paths, func(p bgp.Path) bool { return longest < 0 || p.Prefix != q.prefix }), nil
}

func (q *question) lease(context.Context) (state, detail string) {
	switch {
	case q.in.snapshot == nil || q.in.snapshot.Spec == nil:
		return stationUnknown, "nothing is known of the fabric yet"
	case q.owner != nil && !q.owner.Alive:
		return stationOK, fmt.Sprintf("%s is leased by %s, whose agent is gone", q.prefix, q.owner.Name)
	case q.owner != nil:
		return stationOK, fmt.Sprintf("%s is leased by %s", q.prefix, q.owner.Name)
	case slices.ContainsFunc(q.in.snapshot.Spec.Networks(), func(n netip.Prefix) bool { return covers(n, q.asked) }):
		return stationFault, "nobody leases it"
	}
	return stationUnknown, "it is not in the fabric's networks"
}

func (q *question) announced(context.Context) (state, detail string) {
	s := q.a.routing.Status()
	if !q.own {
		if q.owner != nil && !q.owner.CanReceive(fabric.PathBGP) {
			return stationFault, q.owner.Name + " does not say that it routes by BGP"
		}
		if q.owner == nil {
			return stationUnknown, "it is not this node's"
		}
		return stationUnknown, "ask on " + q.owner.Name
	}
	for _, a := range s.Announced {
		if a.Prefix == q.prefix {
			return stationOK, "this node announces it (" + a.Why + ")"
		}
	}
	for _, w := range s.Withheld {
		if w.Prefix == q.prefix {
			return stationFault, w.Reason
		}
	}
	return stationFault, "this node does not announce it: " + strings.Join(nonEmpty(s.State, s.Reason), ", ")
}

func (q *question) session(context.Context) (state, detail string) {
	var up []string
	sessions := q.a.routing.Sessions()
	for _, s := range sessions {
		if s.State == bgp.Established {
			up = append(up, s.Key)
		}
	}
	switch {
	case len(up) > 0:
		return stationOK, "established: " + strings.Join(up, ", ")
	case len(sessions) == 0:
		return stationFault, "this node has no BGP session"
	}
	return stationFault, noneEstablished(sessions)
}

func (q *question) received(context.Context) (state, detail string) {
	if q.own {
		return stationUnknown, "this node's own: it hears of it from nobody"
	}
	if len(q.paths) == 0 {
		return stationFault, "no peer tells of " + q.prefix.String()
	}
	var from []string
	for _, p := range q.paths {
		from = append(from, p.Session)
	}
	return stationOK, fmt.Sprintf("%s is told by %s", q.prefix, strings.Join(from, ", "))
}

func (q *question) best(ctx context.Context) (state, detail string) {
	if q.own || len(q.paths) == 0 {
		return stationUnknown, "no way was received"
	}
	used, err := q.a.routing.Routes(ctx, q.prefix)
	if err != nil {
		return stationUnknown, err.Error()
	}
	var via []string
	for _, p := range used {
		if p.Best {
			via = append(via, p.NextHop.String())
		}
	}
	if len(via) > 0 {
		return stationOK, "via " + strings.Join(via, ", ")
	}
	for _, p := range q.paths {
		if p.Rejected != "" {
			return stationFault, fmt.Sprintf("what %s tells is kept out by the rule %s", p.Session, p.Rejected)
		}
	}
	return stationFault, "none of the ways is usable"
}

func (q *question) kernel(ctx context.Context) (state, detail string) {
	if q.own {
		return stationUnknown, "this node's own"
	}
	err := q.a.loop.ask(ctx, func() {
		text, ok := q.a.loop.kernelHas(q.prefix, q.a.loop.bad())
		state, detail = stationFault, text
		if ok {
			state = stationOK
		}
	})
	if err != nil {
		return stationUnknown, "the reconcile loop does not answer: it is busy or waits for the kernel"
	}
	return state, detail
}

// probe asks the address itself, or the bridge of the node that has the lease.
func (q *question) probe(ctx context.Context) (state, detail string) {
	target := q.asked.Addr()
	if !q.asked.IsSingleIP() {
		if q.owner == nil {
			return stationUnknown, "there is no address to ask"
		}
		target = q.prefix.Addr().Next()
	}
	answered, err := echoOnce(ctx, target)
	switch {
	case err != nil:
		return stationUnknown, err.Error()
	case !answered:
		return stationFault, fmt.Sprintf("%s does not answer an echo request", target)
	}
	return stationOK, fmt.Sprintf("%s answers", target)
}

// echoOnce asks an address whether it is there.
func echoOnce(ctx context.Context, to netip.Addr) (bool, error) {
	e, err := newEcho()
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, probeWait)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = e.run(ctx) // it always is nil
	}()
	defer func() { cancel(); <-done }()
	if err := e.send(to); err != nil {
		return false, nil // the kernel has no route, or it says unreachable
	}
	for {
		select {
		case <-ctx.Done():
			return false, nil
		case from := <-e.answers():
			if from == to {
				return true, nil
			}
		}
	}
}

func nonEmpty(texts ...string) []string {
	return slices.DeleteFunc(texts, func(s string) bool { return s == "" })
}
