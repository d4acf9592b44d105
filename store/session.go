package store

import (
	"context"
	crand "crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
)

// SessionOptions say who the node is and who is to be told.
type SessionOptions struct {
	// Self is the node's own record; Index 0 lets the store pick.
	Self fabric.Node
	// Instance tells this life of this host from others: the boot id and the
	// network namespace. A restarted agent has the same, a second host with
	// the same name or id has not.
	Instance string
	// CacheFile keeps the last good snapshot; empty: none is kept.
	CacheFile string
	// Snapshots and Lease are called from Run's goroutine, one at a time. What
	// Snapshots tells SetSelf is heeded before anything is written: a node that
	// starts does not unsay what it can say only when it knows the fabric.
	Snapshots func(*fabric.Snapshot)
	Lease     func(Lease)
	Log       *logrus.Entry
}

// Status is the state of the connection to etcd.
type Status struct {
	Connected bool
	Error     string // why it is not, in one line
	Revision  int64  // of the last snapshot
	Taken     time.Time
	Cached    bool // the snapshot is from the cache, etcd has not been heard yet
}

// Session is one agent's part in the fabric: it lists and watches the
// records, claims the node's own, keeps their leases alive and puts them back
// when they are gone. Everything below mu belongs to Run's goroutine.
type Session struct {
	store *Store
	opt   SessionOptions
	log   *logrus.Entry
	kick  chan struct{} // SetSelf, Want, GiveBack, ReleaseHold, ReportDrain, ReportMigration, Lock or an unlock was called

	locks   lockDesk // have their own locks
	reports reportDesk

	mu       sync.Mutex // guards the next five
	self     fabric.Node
	released bool
	status   Status
	drain    *fabric.Drain // as last reported
	demand   demand

	view    *view
	trusted bool           // the view follows etcd's history; no list is needed
	rewound bool           // etcd's history turned out to be another one
	listed  bool           // etcd has been heard in this life
	want    fabric.Node    // the own record as it should be
	selfErr error          // why there cannot be one
	kept    time.Time      // when the long lease was renewed last
	saved   *cacheFile     // what the last life left, until it was used
	taken   time.Time      // of the last snapshot delivered
	heard   time.Time      // when etcd last answered
	seenRev int64          // the newest revision that etcd was seen at
	lastRev [sources]int64 // the last revision in each source's headers
	anchor  anchor         // proof that etcd's history is the one we know
	own     ownership
	errands []*errand

	reporting reportErrand
	last      Lease // as reported
	lastSnap  *fabric.Snapshot
	reported  bool
	cache     *cacheWriter
	onHold    bool
}

// NewSession prepares a session; Run does the work.
func (s *Store) NewSession(opt SessionOptions) *Session {
	if opt.Log == nil {
		opt.Log = s.log
	}
	if opt.Snapshots == nil {
		opt.Snapshots = func(*fabric.Snapshot) {}
	}
	if opt.Lease == nil {
		opt.Lease = func(Lease) {}
	}
	ss := &Session{store: s, opt: opt, log: opt.Log, self: opt.Self, kick: make(chan struct{}, 1), view: newView(opt.Self.ID)}
	ss.view.locks.self = opt.Self.Name
	ss.locks = lockDesk{life: crand.Text(), wanted: map[string][]*ticket{}}
	ss.reports = newReportDesk()
	ss.errands = []*errand{
		{what: "locks", plan: ss.planLocks, done: func(err error) { ss.view.locks.stale = ss.view.locks.stale || err != nil }},
		{what: "drain", plan: ss.planDrain, done: func(error) {}, pause: drainPause},
		{what: "migration report", plan: ss.planReport, done: ss.reportWritten},
		{what: "migration", plan: ss.planMigration, done: func(error) {}},
	}
	ss.want, ss.selfErr = ss.wantedSelf()
	return ss
}

// SetSelf takes over what changed about this node: address, MTU, version,
// labels. Its name and id stay what they were in the options.
func (ss *Session) SetSelf(n fabric.Node) {
	n.Name, n.ID = ss.opt.Self.Name, ss.opt.Self.ID
	ss.mu.Lock()
	ss.self = n
	ss.mu.Unlock()
	ss.wake()
}

// ReleaseHold lets the peers and objects go that are held back.
func (ss *Session) ReleaseHold() {
	ss.mu.Lock()
	ss.released = true
	ss.mu.Unlock()
	ss.wake()
}

func (ss *Session) wake() {
	select {
	case ss.kick <- struct{}{}:
	default:
	}
}

// Etcd says how the connection stands. Any goroutine may call it.
func (ss *Session) Etcd() Status {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.status
}

// Run works until ctx ends and then returns nil. Faults of etcd are reported
// and retried, never returned. It leaves the records as they are: an agent
// that stops for an upgrade keeps its subnets.
func (ss *Session) Run(ctx context.Context) error {
	ss.cache = startCacheWriter(ss.opt.CacheFile, ss.log)
	defer ss.cache.close()
	defer ss.locks.close()
	defer ss.reports.close()
	ss.want, ss.selfErr = ss.wantedSelf() // SetSelf may have been called since New: the first claim must not unsay it
	ss.restore()
	ss.report(Lease{State: Waiting, Reason: "etcd has not answered yet"})
	var retry retries
	for {
		started := time.Now()
		err := ss.serve(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, errRelist) {
			ss.trusted = false
			ss.log.Info("etcd's history is not the one known, or has a gap; listing again")
		} else {
			ss.trouble(err)
		}
		if time.Since(started) > time.Minute {
			retry = retries{}
		}
		if !ss.pause(ctx, retry.next()) {
			return nil
		}
	}
}

// pause waits, minding what must not wait.
func (ss *Session) pause(ctx context.Context, d time.Duration) bool {
	end := time.NewTimer(d)
	defer end.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-end.C:
			return true
		case <-ss.own.timer():
			ss.fenceByTime()
		case <-ss.kick:
			ss.applyKick()
		}
	}
}

// answer is what a request running beside the session's goroutine brings.
type answer[T any] struct {
	value T
	err   error
}

// await runs a request that may take long without missing the moment when
// the node's leases may have expired, and without keeping the cached fabric
// from a host that boots while etcd is down.
func await[T any](ss *Session, f func() (T, error)) (T, error) {
	done := make(chan answer[T], 1)
	go func() {
		v, err := f()
		done <- answer[T]{v, err}
	}()
	late := time.NewTimer(cachePatience)
	defer late.Stop()
	for {
		select {
		case a := <-done:
			return a.value, a.err
		case <-late.C:
			ss.useCache()
		case <-ss.own.timer():
			ss.fenceByTime()
		}
	}
}

// trouble reports that etcd does not serve us, once per reason.
func (ss *Session) trouble(err error) {
	ss.useCache()
	ss.mu.Lock()
	was := ss.status
	ss.status.Connected, ss.status.Error = false, err.Error()
	ss.mu.Unlock()
	if was.Error != err.Error() {
		ss.log.WithError(err).Warn("etcd does not serve us; the fabric stays as it was")
	}
	if ss.last.State == Waiting {
		ss.report(Lease{State: Waiting, Reason: err.Error()})
	}
}

// connected notes that etcd answered just now.
func (ss *Session) connected() {
	ss.heard = time.Now()
	ss.mu.Lock()
	was := ss.status
	ss.status.Connected, ss.status.Error, ss.status.Taken = true, "", ss.heard
	ss.mu.Unlock()
	if !was.Connected {
		ss.log.WithField("revision", ss.view.rev).Info("etcd answers")
	}
}

// deliver hands the newest snapshot on.
func (ss *Session) deliver() {
	ss.taken = time.Now()
	snap := ss.view.snapshot(ss.taken)
	ss.mu.Lock()
	ss.status.Revision, ss.status.Taken, ss.status.Cached = snap.Revision, snap.Taken, false
	ss.mu.Unlock()
	ss.logHold(snap.Hold)
	ss.opt.Snapshots(snap)
	ss.want, ss.selfErr = ss.wantedSelf() // what it makes of the node counts from the next write on
	ss.remember(snap)
}

func (ss *Session) logHold(h *fabric.Hold) {
	switch {
	case h != nil && !ss.onHold:
		ss.log.WithFields(logrus.Fields{"peers": h.Peers, "objects": h.Objects, "reason": h.Reason}).Error("mass disappearance held back; nothing is removed")
	case h == nil && ss.onHold:
		ss.log.Info("mass disappearance is over")
	}
	ss.onHold = h != nil
}

// report hands on a change of the lease.
func (ss *Session) report(l Lease) {
	if ss.reported && equalLease(l, ss.last) {
		return
	}
	started := !ss.reported && l.State == Waiting // as everybody does: no news
	transition := !started && (l.State != ss.last.State || l.Reason != ss.last.Reason || !sameSubnets(l.Subnets, ss.last.Subnets))
	ss.last, ss.reported = l, true
	if transition {
		entry := ss.log.WithFields(logrus.Fields{"state": l.State, "subnets": prefixes(l.Subnets), "index": l.Index})
		if l.State == Leased && l.Reason == "" {
			entry.Info("lease")
		} else {
			entry.WithField("reason", l.Reason).Warn("lease")
		}
	}
	ss.opt.Lease(l)
}

// applyKick does what SetSelf and ReleaseHold asked for.
func (ss *Session) applyKick() {
	ss.want, ss.selfErr = ss.wantedSelf()
	ss.mu.Lock()
	release := ss.released
	ss.released = false
	ss.mu.Unlock()
	if release && ss.view.describeHold() != nil {
		ss.view.releaseHold()
		ss.deliver()
	}
}

// wantedSelf is the node's own record in the form in which it is read back.
func (ss *Session) wantedSelf() (fabric.Node, error) {
	ss.mu.Lock()
	n := ss.self
	ss.mu.Unlock()
	index := n.Index
	n.Index = max(index, 1)
	out, err := decodeNode(n.Name, []byte(encodeJSON(n)))
	if err == nil {
		err = checkName(n.Name)
	}
	if err != nil {
		return n, fmt.Errorf("this node's own record makes no sense: %w", err)
	}
	out.Index = index
	return *out, nil
}

func prefixes(s []fabric.Subnet) []string {
	out := make([]string, 0, len(s))
	for _, x := range s {
		out = append(out, x.Prefix.String())
	}
	return out
}

func equalLease(a, b Lease) bool {
	return a.State == b.State && a.Reason == b.Reason && a.Index == b.Index && a.Denied == b.Denied && sameSubnets(a.Subnets, b.Subnets)
}

// sameSubnets compares what the node acts on, not the records' revisions.
func sameSubnets(a, b []fabric.Subnet) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].Prefix != b[i].Prefix || a[i].Epoch != b[i].Epoch || a[i].For != b[i].For {
			return false
		}
	}
	return true
}
