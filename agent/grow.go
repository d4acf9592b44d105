package agent

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/store"
)

const (
	// openAgain is the time until slot files that could not be opened or counted
	// are tried again.
	openAgain = time.Second
	// slotsPatience bounds the wait for the lock of the slot files: a plugin that
	// was stopped while it held it must not stop the agent too.
	slotsPatience = 5 * time.Second
)

// growth is what the loop has to know of this node's subnets besides its lease.
// It is immutable.
type growth struct {
	// known: open was set once. What an earlier life offered stays until then.
	known bool
	// open are the leased subnets whose slot files give out addresses.
	open []netip.Prefix
	// empty are subnets that are leased no more and that nobody here has an
	// address of, nor will: their slot files are closed.
	empty []netip.Prefix
	full  fabric.PerFamily[string] // nodefile.File.Full
	// trouble is why the slot files could not be opened or counted; empty: they
	// were.
	trouble string
}

func (g *growth) equal(o *growth) bool {
	return g.known == o.known && slices.Equal(g.open, o.open) && slices.Equal(g.empty, o.empty) && g.full == o.full && g.trouble == o.trouble
}

// left reports whether a subnet that is leased no more is needed no more either.
func (in *inputs) left(p netip.Prefix) bool {
	return in.growth != nil && in.lease.State == store.Leased && slices.Contains(in.growth.empty, p)
}

// lessee is what the grower asks the store's session for.
type lessee interface {
	Want(fabric.PerFamily[int])
	GiveBack(netip.Prefix)
}

// grow runs the grower.
func (a *agent) grow(ctx context.Context) (err error) {
	if a.grower.slots, err = a.newSlots(); err != nil {
		return err
	}
	return a.grower.run(ctx)
}

// ownSubnets are those that the loop answers for.
func (a *agent) ownSubnets() []netip.Prefix {
	if s := a.loop.summary.Load(); s != nil {
		return s.own
	}
	return nil
}

// grower follows how many addresses are left, has further subnets leased before
// there are none, and gives those back in which there was no pod for a while. It
// is the one part of the agent that opens and closes slot files, so a subnet
// that it has closed is opened by nobody before it left the lease. Its fields
// are its goroutine's.
type grower struct {
	log     *logrus.Entry
	in      *inbox
	slots   *ipam.Slots     // set before run
	pods    <-chan struct{} // pods have come or gone
	news    chan struct{}   // the lease or the specification may be another
	session lessee
	own     func() []netip.Prefix // the subnets that the loop answers for
	clock   func() time.Time

	next  growth                     // what the loop is told
	told  bool                       // the slot files know of next.open, and of no others
	shut  []netip.Prefix             // leased and closed, to be given back
	idle  map[netip.Prefix]time.Time // since when an open subnet has no pod
	usage map[netip.Prefix]ipam.Usage
	short fabric.PerFamily[string] // why there are no further subnets, as logged
}

// kick makes it look. Any goroutine may call it.
func (g *grower) kick() { kick(g.news) }

// run works until ctx ends.
func (g *grower) run(ctx context.Context) error {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-g.pods:
		case <-g.news:
		case <-next.C:
		}
		if wait := g.round(ctx); wait > 0 {
			next.Reset(wait)
		} else {
			next.Stop()
		}
	}
}

// round looks once, and says when to look again unasked; 0: not before a kick.
func (g *grower) round(ctx context.Context) time.Duration {
	in := g.in.take()
	if in.snapshot == nil || in.snapshot.Spec == nil || in.lease.State == "" || in.lease.State == store.Waiting {
		return 0
	}
	ctx, cancel := context.WithTimeout(ctx, slotsPatience)
	defer cancel()
	var wait time.Duration
	err := g.follow(ctx, leasedSubnets(in))
	if err == nil && in.lease.State == store.Leased {
		wait, err = g.decide(ctx, in)
	}
	if err != nil {
		wait = openAgain
	}
	logOnce(g.log, &g.next.trouble, err, "slot files cannot be opened or counted; what is offered to pods stays as it was")
	g.in.setGrowth(g.next)
	return wait
}

// leasedSubnets are the node's own; none while it must not act as their owner.
func leasedSubnets(in inputs) (out []netip.Prefix) {
	if in.lease.State != store.Leased {
		return nil
	}
	for _, s := range in.lease.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}

// follow opens the slot files of what is leased, and of nothing else, and counts.
func (g *grower) follow(ctx context.Context, leased []netip.Prefix) error {
	if len(leased) > 0 { // else what is shut may come back shut
		g.shut = slices.DeleteFunc(g.shut, func(p netip.Prefix) bool { return !slices.Contains(leased, p) })
	}
	open := slices.DeleteFunc(slices.Clone(leased), func(p netip.Prefix) bool { return slices.Contains(g.shut, p) })
	g.next.empty = slices.DeleteFunc(slices.Clone(g.next.empty), func(p netip.Prefix) bool { return slices.Contains(leased, p) })
	if !g.told || !slices.Equal(open, g.next.open) {
		if err := g.slots.Open(ctx, open); err != nil { // what was open may be: the plugin tells
			g.told = false
			g.next.open = slices.DeleteFunc(slices.Clone(g.next.open), func(p netip.Prefix) bool { return !slices.Contains(open, p) })
			return err
		}
		g.told, g.next.known, g.next.open = true, true, open
	}
	counts, err := g.slots.Counts(ctx)
	if err != nil {
		return err
	}
	g.usage = make(map[netip.Prefix]ipam.Usage, len(counts))
	for _, u := range counts {
		g.usage[u.Subnet] = u
	}
	g.rest(g.clock())
	return nil
}

// rest notes since when the open subnets have no pod.
func (g *grower) rest(now time.Time) {
	idle := make(map[netip.Prefix]time.Time, len(g.next.open))
	for _, p := range g.next.open {
		since, was := g.idle[p]
		switch u, counted := g.usage[p]; {
		case !counted || u.InUse > 0:
		case was:
			idle[p] = since
		default:
			idle[p] = now
		}
	}
	g.idle = idle
}

// decide asks for what is missing, gives back what is not needed, and says when
// there may be more to give back.
func (g *grower) decide(ctx context.Context, in inputs) (wait time.Duration, err error) {
	spec, now := in.snapshot.Spec, g.clock()
	var want fabric.PerFamily[int]
	var due time.Time
	g.next.full = fabric.PerFamily[string]{}
	for _, f := range fabric.Families {
		if !spec.Network.Get(f).IsValid() {
			continue
		}
		s := g.stock(f)
		want.Set(f, s.wants(spec.Addresses))
		g.lacks(f, s.lacks(spec.Addresses, f, in.lease.Denied.Get(f)))
		p, at := s.spare(spec.Addresses, g.idle)
		if p.IsValid() && !now.Before(at) {
			at, err = g.shutIfUnused(ctx, p, now)
			if err != nil {
				return 0, err
			}
		}
		if p.IsValid() && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	g.session.Want(want)
	for _, p := range g.shut {
		g.session.GiveBack(p)
	}
	if err := g.clear(ctx); err != nil || due.IsZero() {
		return 0, err
	}
	return max(due.Sub(now), time.Millisecond), nil
}

// shutIfUnused closes a subnet for good if none of its addresses is in use or
// rests, and says when to look again: the next to have it knows nothing of the
// quarantine of its addresses.
func (g *grower) shutIfUnused(ctx context.Context, p netip.Prefix, now time.Time) (time.Time, error) {
	usage, err := g.slots.Usage(ctx)
	if err != nil {
		return now, err
	}
	if slices.ContainsFunc(usage, func(u ipam.Usage) bool { return u.Subnet == p && u.Quarantined > 0 }) {
		return now.Add(ipam.Quarantine), nil
	}
	closed, err := g.slots.Return(ctx, p)
	if !closed || err != nil {
		delete(g.idle, p) // somebody was faster
		return now.Add(openAgain), err
	}
	g.log.WithField("subnet", p).Info("giving back a subnet that had no pod for a while")
	g.shut = append(g.shut, p)
	g.next.open = slices.DeleteFunc(slices.Clone(g.next.open), func(o netip.Prefix) bool { return o == p })
	return now.Add(openAgain), nil
}

// clear finds the subnets that the loop keeps although they are leased no more,
// and that it need not keep: nobody has an address of them.
func (g *grower) clear(ctx context.Context) error {
	for _, p := range g.own() {
		if slices.Contains(g.next.open, p) || slices.Contains(g.shut, p) || slices.Contains(g.next.empty, p) || g.usage[p].InUse > 0 {
			continue
		}
		closed, err := g.slots.Return(ctx, p)
		if err != nil {
			return err
		}
		if closed {
			g.next.empty = append(slices.Clone(g.next.empty), p)
		}
	}
	return nil
}

// lacks notes why a family gets no further subnets, and logs it when a node
// whose addresses run out gets none.
func (g *grower) lacks(f fabric.Family, why lack) {
	g.next.full.Set(f, why.reason)
	said := ""
	if why.needed {
		said = why.reason
	}
	if said != "" && said != g.short.Get(f) {
		g.log.WithFields(logrus.Fields{"family": f.String(), "reason": why.reason}).Warn("addresses run out and there is no further subnet to lease")
	}
	g.short.Set(f, said)
}
