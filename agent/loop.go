package agent

import (
	"cmp"
	"context"
	"maps"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// auditEvery is how often the kernel is read whole although nothing was
// notified: the net under the notifications.
const auditEvery = 60 * time.Second

// Retry delays after a round in which something failed.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 30 * time.Second
)

// summary is what the rest of the agent may know of the loop at any time,
// also while a round is stuck in the kernel.
type summary struct {
	ready    bool
	reasons  []string // why not, most important first
	finished time.Time
	took     time.Duration
	report   kernel.Report
	desired  int // peers
	lacking  int // those of them of which the kernel does not hold all
	pathless int // those of them with a family that there is no path to
	mtu      int
	known    bool           // enough to want anything
	own      []netip.Prefix // the subnets that this node answers for
	uplinks  []string       // whose rp_filter weft sees to
	fib      api.BGPFIB
	// paths counts the families of peers by how they are reached; the Kind is
	// unreachable where their hosts are down, and empty where there is no way.
	paths    map[fabric.PathKind]int
	switches uint64 // changes of path since the start
	// programmed is the snapshot that the last clean round carried out.
	programmed *fabric.Snapshot
	writes     uint64            // since the start
	repaired   map[string]uint64 // since the start, by kind
}

// loop is the one place that changes the kernel (the CNI plugin aside).
type loop struct {
	log   *logrus.Entry
	host  *kernel.Host
	in    *inbox
	files *nodeFiles
	want  wanted

	wrote    uint64
	repaired map[string]uint64
	retry    time.Duration
	last     inputs
	clean    *fabric.Snapshot // that a round carried out without a failure last
	said     *string          // the reasons last logged, nil: nothing was yet
	started  time.Time
	clock    func() time.Time // of choices; nil: time.Now
	asks     chan func()

	summary  atomic.Pointer[summary]
	changed  func(*summary) // called after each round; must not block
	observed func(took time.Duration)
}

// run rounds until ctx ends. What was learnt is left in the kernel.
func (l *loop) run(ctx context.Context) error {
	l.started = time.Now()
	audit := time.NewTicker(auditEvery)
	defer audit.Stop()
	retry, due := time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	defer retry.Stop()
	defer due.Stop()
	for {
		timed := false
		select {
		case <-ctx.Done():
			return nil
		case f := <-l.asks:
			f()
			continue
		case <-l.in.kick:
		case <-l.host.Changed():
		case <-retry.C:
			timed = true
		case <-due.C: // a choice waits for this moment
		case <-audit.C:
			l.host.Audit()
			l.files.forget()
		}
		l.round()
		l.schedule(retry, timed)
		due.Stop()
		if at := l.want.due; !at.IsZero() {
			due.Reset(time.Until(at))
		}
	}
}

// schedule sets the timer for what is to be tried again. Only a round that the
// timer began makes the next delay longer: a burst of news must not.
func (l *loop) schedule(retry *time.Timer, timed bool) {
	next := nextRetry(l.retry, l.summary.Load())
	switch {
	case next == 0:
		retry.Stop()
	case !timed && l.retry != 0:
		return // the timer runs
	default:
		retry.Reset(next)
	}
	l.retry = next
}

// nextRetry doubles the delay as long as the node is not ready and is 0 when it
// is: news comes with a kick, but what failed must be tried again unasked.
func nextRetry(last time.Duration, s *summary) time.Duration {
	if s.ready {
		return 0
	}
	return min(max(2*last, retryFirst), retryMost)
}

// round brings the kernel in line with the newest inputs.
func (l *loop) round() {
	began := time.Now()
	now := began
	if l.clock != nil {
		now = l.clock()
	}
	in := l.in.take()
	l.last = in
	var report kernel.Report
	var failure error
	known, unread := l.want.follow(in, now)
	switch {
	case unread != nil:
		failure = unread
	case known: // a kernel that cannot be asked is no reason to offer what is lost
		looking := l.want.look(now)
		report, failure = l.host.Sync()
		if looking == nil && l.want.unfinished() {
			l.in.nudge()
		}
		failure = cmp.Or(failure, looking, l.files.write(&l.want, in))
	case in.lease.State == store.Refused:
		failure = l.files.withhold()
	}
	l.count(report)
	if known && failure == nil && report.InSync {
		l.clean = l.want.ways.snapshot
	}
	s := l.sum(known, report)
	s.reasons, s.took = l.reasons(in, known, report, failure), time.Since(began)
	s.ready = len(s.reasons) == 0
	l.summary.Store(s)
	l.announce(s)
	if l.observed != nil && known {
		l.observed(s.took)
	}
	if l.changed != nil {
		l.changed(s)
	}
}

// sum is what the round leaves for others to read.
func (l *loop) sum(known bool, r kernel.Report) *summary {
	s := &summary{
		finished: time.Now(), known: known, report: r, programmed: l.clean, writes: l.wrote, repaired: maps.Clone(l.repaired),
	}
	if w := &l.want; known {
		s.desired, s.lacking, s.pathless = w.count(), l.lacking(r), w.ways.pathless
		s.mtu, s.own, s.fib = backends.PodMTU(w.input), w.input.Subnets, w.learnt.count(r)
		s.paths, s.switches = w.ways.counts(), w.ways.switches
		s.uplinks = append(nonEmpty(w.input.Underlay.Interface), w.input.Uplinks...)
	}
	return s
}

func (l *loop) count(r kernel.Report) {
	l.wrote += uint64(r.Writes)
	for kind, n := range r.Repaired {
		l.repaired[kind] += uint64(n)
		l.log.WithFields(logrus.Fields{"kind": kind, "objects": n}).Warn("repaired what somebody else had changed")
	}
}

// reasons says why this node is not ready; none means it is.
func (l *loop) reasons(in inputs, known bool, r kernel.Report, failure error) []string {
	var out []string
	say := func(s string) { out = append(out, s) }
	if in.noUnderlay != "" && in.underlay.MTU == 0 {
		say(in.noUnderlay)
	}
	switch {
	case in.snapshot == nil:
		say("etcd has not answered yet and there is no earlier snapshot")
	case in.snapshot.Spec == nil:
		say("there is no Fabric object yet (weft apply -f fabric.yaml)")
	}
	if in.lease.State != store.Leased {
		reason := in.lease.Reason
		if reason == "" {
			reason = "no subnet is leased yet"
		}
		say(reason)
	}
	if failure != nil {
		say(failure.Error())
	}
	if known && failure == nil && !r.InSync {
		say(programming(r))
	}
	if known {
		out = append(out, l.want.learnt.reasons(l.want.input.Spec, l.want.count())...)
	}
	return out
}

// programming names the first of what the kernel does not hold.
func programming(r kernel.Report) string {
	switch {
	case len(r.Failed) > 0:
		f := r.Failed[0]
		return plural(len(r.Failed), "kernel object failed", "kernel objects failed") + ", first " + f.Object + ": " + f.Err.Error()
	case len(r.Conflicts) > 0:
		c := r.Conflicts[0]
		return plural(len(r.Conflicts), "conflict", "conflicts") + " with others' objects, first " + c.Object + " held by " + c.Holder
	}
	return "the kernel does not yet hold all that it should"
}

// settling is how long a starting agent may be not ready without a word: the
// first seconds are full of reasons that are gone before anybody reads them.
const settling = 3 * time.Second

// announce logs transitions; a steady state is silent.
func (l *loop) announce(s *summary) {
	text := strings.Join(s.reasons, "; ")
	if l.said != nil && *l.said == text || l.said == nil && !s.ready && time.Since(l.started) < settling {
		return
	}
	l.said = &text
	if s.ready {
		l.log.WithFields(logrus.Fields{"peers": s.desired, "took": s.took.Round(time.Millisecond).String()}).Info("ready")
		return
	}
	l.log.WithField("reason", text).Warn("not ready")
}

// ask runs f in the loop's goroutine, where its state may be read, or gives up
// when ctx ends first: a status query must not hang on a stuck kernel.
func (l *loop) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case l.asks <- func() { f(); close(done) }:
	case <-ctx.Done():
		return ctx.Err()
	}
	<-done
	return nil
}
