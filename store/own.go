package store

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// LeaseState says where a node stands with its share of the fabric.
type LeaseState string

// The states there are.
const (
	Waiting   LeaseState = "waiting"   // for etcd or for a Fabric object
	Leased    LeaseState = "leased"    // it owns its subnets
	Exhausted LeaseState = "exhausted" // no subnet is free
	Refused   LeaseState = "refused"   // another living host has its name or id
	Fenced    LeaseState = "fenced"    // its subnets are another's, or may be
)

// Lease is a node's share of the fabric. Subnets are its own only while
// State is Leased; then there is one of each family at least, IPv4 first and the
// oldest first.
type Lease struct {
	State   LeaseState
	Reason  string // why it is not leased, or what is missing
	Index   uint32
	Subnets []fabric.Subnet
	// Denied says of each family why the node has not as many subnets as it wants
	// (Session.Want).
	Denied fabric.PerFamily[string]
}

// unproven is how long the node trusts a long lease that it found but has not
// renewed yet.
const unproven = 10 * time.Second

// ownership is what a session knows of its own records.
type ownership struct {
	subnets   []fabric.Subnet // owned now
	had       []fabric.Subnet // owned last, for the next claim
	index     uint32
	epoch     uint64
	avoid     []netip.Prefix // lost to others since the last claim
	long      etcdLease
	short     etcdLease
	granted   bool               // both leases exist, as far as is known
	unused    []clientv3.LeaseID // to be revoked once nothing hangs on them
	claimRev  int64              // the view must have come this far to judge our records
	retryAt   time.Time
	tries     int
	unwritten string      // why the last write failed, as logged
	fence     *time.Timer // when the long lease may have expired; nil: not armed
}

// timer fires when the node can no longer know that its subnets are its own.
func (o *ownership) timer() <-chan time.Time {
	if o.fence == nil {
		return nil
	}
	return o.fence.C
}

// arm moves the fence: the long lease lives until then if nothing is heard.
// The clock is monotonic.
func (o *ownership) arm(until time.Time) {
	if o.fence != nil {
		o.fence.Stop()
		o.fence = nil
	}
	if !until.IsZero() {
		o.fence = time.NewTimer(time.Until(until))
	}
}

// listed forgets what only held for the history before.
func (o *ownership) listed() {
	o.claimRev = 0
	o.retryAt = time.Time{}
}

// again schedules another try after a lost race: soon, but spread, as the
// others of a fleet that starts together try as well.
func (o *ownership) again() {
	o.retryAt = time.Now().Add(retryAfter(o.tries))
	o.tries++
}

// advance compares what is with what this node wants of its own records, and
// takes one step towards it.
func (ss *Session) advance(ctx context.Context, k *keeper) error {
	o := &ss.own
	if ss.view.rev < o.claimRev || time.Now().Before(o.retryAt) {
		return nil
	}
	o.retryAt = time.Time{}
	if ss.selfErr != nil {
		ss.standDown(Lease{State: Refused, Reason: ss.selfErr.Error()}, k)
		return nil
	}
	ss.fenceByRecord()
	c := ss.claimant()
	if state, why := ss.view.barred(c); state != "" {
		ss.standDown(Lease{State: state, Reason: why}, k)
		return nil
	}
	if err := ss.ensureLeases(ctx, &c); err != nil {
		return ss.unwritten(err)
	}
	k.set([]etcdLease{o.short, o.long})
	p := ss.view.plan(c, ss.store.newTxn())
	if p.writes() {
		if ss.last.State == Exhausted && p.state == Leased && o.tries == 0 {
			o.again() // everybody waits for the one subnet that was freed
			return nil
		}
		if err := ss.claim(ctx, p); err != nil {
			return ss.unwritten(err)
		}
		if !o.retryAt.IsZero() {
			return nil
		}
	}
	o.unwritten = ""
	if !p.partial {
		ss.settleOn(p)
	}
	return nil
}

// unwritten takes the error of a write. It is retried here and leaves the
// watch and the keep-alives alone: an etcd that is out of space still renews
// leases, and where it is gone altogether these two notice by themselves.
func (ss *Session) unwritten(err error) error {
	if errors.Is(err, errRelist) {
		return err
	}
	ss.own.again()
	if err.Error() != ss.own.unwritten {
		ss.own.unwritten = err.Error()
		ss.log.WithError(err).Warn("this node's records cannot be written")
	}
	if ss.last.State == Waiting {
		ss.report(Lease{State: Waiting, Reason: err.Error()})
	}
	return nil
}

// claim writes a plan. A lost race is no error; it sets retryAt.
func (ss *Session) claim(ctx context.Context, p plan) error {
	o := &ss.own
	h, err := await(ss, func() (*pb.ResponseHeader, error) { return ss.store.commit(ctx, p.txn) })
	if errors.Is(err, ErrChanged) {
		o.again()
		return ss.see(ctx, fromCall, h)
	}
	if is(err, rpctypes.ErrLeaseNotFound) {
		o.granted = false // it expired between the grant and the claim
		o.again()
		return nil
	}
	if err != nil {
		return err
	}
	o.claimRev, o.tries = h.Revision, 0
	for _, id := range append(o.unused, p.unbound...) {
		if id == o.long.id || id == o.short.id || id == clientv3.NoLease {
			continue
		}
		if _, err := await(ss, func() (struct{}, error) { return struct{}{}, ss.store.reap(ctx, id) }); err != nil {
			ss.log.WithError(err).Info("an unused etcd lease is left to expire")
		}
	}
	o.unused = nil
	return ss.see(ctx, fromCall, h)
}

// settleOn takes over what a plan that is written gives the node.
func (ss *Session) settleOn(p plan) {
	o := &ss.own
	o.index, o.subnets = p.index, p.subnets
	if len(p.subnets) > 0 {
		o.had, o.avoid = p.subnets, nil
	}
	for _, s := range p.subnets {
		o.epoch = max(o.epoch, s.Epoch)
	}
	ss.gaveBack(p.gone)
	l := Lease{State: p.state, Reason: p.reason, Index: p.index, Subnets: slices.Clone(p.subnets), Denied: p.denied}
	changed := !ss.reported || !equalLease(l, ss.last)
	ss.report(l)
	if changed {
		ss.remember(nil)
	}
}

func (ss *Session) claimant() claimant {
	o := &ss.own
	c := claimant{
		self: ss.want, instance: ss.opt.Instance, index: o.index, had: o.had, epoch: max(o.epoch, 1),
		avoid: o.avoid, long: o.long, short: o.short, demand: ss.demands(),
	}
	if len(o.subnets) > 0 {
		c.live, c.had = true, o.subnets
	}
	return c
}

// standDown stops acting as the owner of anything.
func (ss *Session) standDown(l Lease, k *keeper) {
	o := &ss.own
	o.subnets, o.granted = nil, false
	o.arm(time.Time{})
	k.set(nil)
	ss.report(l)
}

// ensureLeases makes sure that the node's two etcd leases exist, those of the
// spec in force.
func (ss *Session) ensureLeases(ctx context.Context, c *claimant) error {
	o := &ss.own
	long, short := leaseTimes(ss.view.spec, ss.opt.Self.ID, ss.opt.Instance)
	if o.granted && long == o.long && short == o.short {
		return nil
	}
	asked := time.Now()
	longFresh, err := ss.grant(ctx, long)
	if err != nil {
		return err
	}
	if _, err := ss.grant(ctx, short); err != nil {
		return err
	}
	if o.long.id != 0 && o.long != long {
		o.unused = append(o.unused, o.long.id)
	}
	if o.short.id != 0 && o.short != short {
		o.unused = append(o.unused, o.short.id)
	}
	until := asked.Add(min(unproven, long.ttl))
	if longFresh {
		until = asked.Add(long.ttl)
		ss.kept = asked
	}
	o.arm(until)
	o.long, o.short, o.granted = long, short, true
	ss.view.locks.stale = true // their keys hang on the short one
	c.long, c.short = long, short
	return nil
}

func (ss *Session) grant(ctx context.Context, l etcdLease) (fresh bool, err error) {
	h, err := await(ss, func() (*pb.ResponseHeader, error) {
		h, f, err := ss.store.grant(ctx, l)
		fresh = f
		return h, err
	})
	if err == nil {
		err = ss.see(ctx, fromCall, h)
	}
	return fresh, err
}

// takeRenewal notes that a lease lives on, or that it does not.
func (ss *Session) takeRenewal(ctx context.Context, r renewal) error {
	if r.err != nil {
		return r.err
	}
	if err := ss.see(ctx, fromKeeper, r.header); err != nil {
		return err
	}
	o := &ss.own
	switch {
	case r.id != o.long.id && r.id != o.short.id: // of a life before
	case r.ttl <= 0:
		o.granted = false // gone; granted again, and the keys put back
	case r.id == o.long.id:
		o.arm(r.sent.Add(o.long.ttl))
		ss.kept = time.Now()
		ss.remember(nil)
	case r.id == o.short.id:
		ss.locks.renewed(r.sent.Add(o.short.ttl))
		ss.locks.follow(&ss.view.locks)
	}
	return nil
}
