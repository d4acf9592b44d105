package routing

import (
	"context"
	"net/netip"
	"reflect"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/agent/health"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/bgp/speaker"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

const (
	// tick is the time between two steps that no news caused: stages, files
	// and turns go on.
	tick = time.Second
	// setAgain is how often the speaker is told again what it has been told:
	// a session that could not be configured is tried anew.
	setAgain = 10 * time.Second
)

// Inputs are what the rest of the agent knows. They are immutable.
type Inputs struct {
	Snapshot *fabric.Snapshot
	Index    uint32 // of this node, 0: not known
	// Own are the subnets that this node answers for: those leased and those
	// that it keeps although it cannot know whether they are. OwnKnown is false
	// until the reconcile loop has said so for the first time.
	Own      []netip.Prefix
	OwnKnown bool
	Underlay kernel.Underlay
}

// Options are what a Task is made of. Inputs, Changed, Lock and ReportDrain are
// called from the task's goroutine or others and must not block, Lock aside.
type Options struct {
	Log    *logrus.Entry
	Self   fabric.Node // name, id and labels
	File   string      // the node's own BGP objects; may be absent
	RunDir string      // keeps the probes' verdicts over a restart
	Inputs func() Inputs
	// Changed says that Take, Synced, Sessions or Status have news.
	Changed     func()
	Lock        func(ctx context.Context, name string) (unlock func(), err error)
	ReportDrain func(fabric.Drain)
}

// Task is the routing of one node.
type Task struct {
	opt     Options
	kick    chan struct{} // one element
	stops   chan chan error
	asks    chan func()
	speaker atomic.Pointer[speaker.Speaker] // nil: there is none
	status  atomic.Pointer[Status]

	// What follows belongs to Run's goroutine.
	files    files
	gateways gateways
	addrs    fabric.PerFamily[netip.Addr] // this node's, see keepAddrs
	links    func() []link
	checks   *health.Checker
	drain    drainer
	stop     stopping
	turns    turns
	inForce  bgp.Desired
	set      time.Time // when inForce was last told the speaker
	setErr   error
}

// New makes a task that does nothing before Run.
func New(o Options) *Task {
	t := &Task{opt: o, kick: make(chan struct{}, 1), stops: make(chan chan error), asks: make(chan func()), gateways: gateways{}, links: readLinks}
	t.files = files{own: ownFile{file: file{path: o.File}}, secrets: secrets{}}
	t.checks = health.New(health.Options{Log: o.Log, Earlier: t.earlierVerdicts(), Changed: t.Kick})
	t.drain = drainer{log: o.Log, report: o.ReportDrain}
	t.turns = turns{lock: o.Lock, kick: t.Kick}
	t.status.Store(&Status{})
	return t
}

// Kick says that Inputs has news.
func (t *Task) Kick() {
	select {
	case t.kick <- struct{}{}:
	default: // one is waiting already
	}
}

// Run works until ctx ends; then the speaker goes without a word, so that the
// peers keep this node's routes until its agent is back.
func (t *Task) Run(ctx context.Context) error {
	defer t.close()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		case <-t.kick:
		case done := <-t.stops:
			t.stop.begin(done, time.Now())
		case ask := <-t.asks:
			ask()
			continue
		}
		t.step(ctx, time.Now())
	}
}

func (t *Task) close() {
	if s := t.speaker.Load(); s != nil && !t.stop.over {
		s.Detach()
	}
	t.turns.close()
	t.checks.Close()
	t.drain.close()
	t.stop.fail()
}

// step brings the speaker in line with what is known now. While too little is
// known it stays as it is.
func (t *Task) step(ctx context.Context, now time.Time) {
	in := t.opt.Inputs()
	was := t.status.Load()
	if in.Snapshot == nil || in.Snapshot.Spec == nil {
		t.unplanned(ctx)
		return
	}
	next := &Status{}
	if !in.Snapshot.Routes() {
		t.off(ctx, in, now)
	} else {
		next = t.route(ctx, in, now)
	}
	next.Drain = t.drain.reported
	t.status.Store(next)
	if !reflect.DeepEqual(was, next) {
		t.opt.Changed()
	}
}

// off ends the speaker where the fabric no longer routes: nothing of this node's
// may stay with the peers.
func (t *Task) off(ctx context.Context, in Inputs, now time.Time) {
	t.unplanned(ctx)
	t.drain.unrouted(in.Snapshot.Drained, t.opt.Self.Name, now)
	s := t.speaker.Load()
	if s == nil {
		return
	}
	t.opt.Log.Info("the fabric no longer routes by BGP; the speaker goes")
	t.speaker.Store(nil) // first: should the fabric route again, nobody is to learn from this one
	if err := t.shutdown(ctx, s); err != nil {
		t.opt.Log.Error(err)
	}
	t.inForce = bgp.Desired{}
}

// route plans and applies.
func (t *Task) route(ctx context.Context, in Inputs, now time.Time) *Status {
	next := &Status{Enabled: true, State: Starting}
	if t.stop.over {
		next.State = ShutDown
		return next
	}
	facts, problems := t.facts(in, now)
	if next.Reason = lacks(in); next.Reason != "" {
		t.unplanned(ctx)
		next.Problems = problems
		return next
	}
	wanted, more := bgp.Plan(facts)
	next.Problems = append(problems, more...)
	if wanted.Global.ASN == 0 {
		t.unplanned(ctx)
		next.Reason = "this node's AS number is not known yet"
		if len(next.Problems) > 0 {
			next.Reason = next.Problems[0].Key + ": " + next.Problems[0].Reason
		}
		return next
	}
	listeners := t.apply(ctx, wanted, next, now)
	next.Withheld = bgp.WithheldBy(facts)
	switch {
	case t.stop.stage == staying:
		next.State = Running
	case t.stop.due(now, listeners):
		t.unplanned(ctx)
		next.State = ShutDown
	default:
		next.State = ShuttingDown
	}
	return next
}

// lacks says what must be known before anything is announced; a speaker that
// runs already stays as it is meanwhile.
func lacks(in Inputs) string {
	switch {
	case in.Underlay.MTU == 0:
		return "the underlay is not known yet"
	case in.Index == 0:
		return "this node's index is not known yet"
	case !in.OwnKnown:
		return "it is not known yet which subnets are this node's"
	}
	return ""
}

// apply tells the speaker what it may do now of what is wanted, and reports
// whether a session is established.
func (t *Task) apply(ctx context.Context, wanted bgp.Desired, next *Status, now time.Time) bool {
	s := t.speaker.Load()
	if s == nil {
		s = speaker.New(speaker.Options{Log: t.opt.Log, Kick: t.opt.Changed})
		t.speaker.Store(s)
	}
	have := sessionStates(s)
	staged, waiting := bgp.Stage(t.inForce, wanted, have.established, t.turns.permitted(now))
	if t.setErr != nil || now.Sub(t.set) >= setAgain || !reflect.DeepEqual(staged, t.inForce) {
		t.tell(ctx, s, staged, now)
	}
	t.turns.follow(ctx, waiting, have, now)
	if t.setErr != nil {
		next.Reason = t.setErr.Error()
	}
	next.ASN, next.RouterID = t.inForce.Global.ASN, t.inForce.Global.RouterID
	next.Announced, next.Sessions, next.Ranges = t.inForce.Announcements, len(t.inForce.Sessions), len(t.inForce.Ranges)
	next.Pending = pending(waiting, &t.turns)
	for key := range have {
		if have.established(key) {
			return true
		}
	}
	return false
}

// tell hands the speaker a plan. One that it could not take is tried again.
func (t *Task) tell(ctx context.Context, s *speaker.Speaker, d bgp.Desired, now time.Time) {
	err := s.Set(ctx, d)
	if ctx.Err() != nil {
		return
	}
	if err != nil && (t.setErr == nil || err.Error() != t.setErr.Error()) {
		t.opt.Log.WithError(err).Error("BGP speaker cannot do what it should; trying again")
	}
	if err == nil {
		t.inForce = d
	}
	t.set, t.setErr = now, err
}

func sessionStates(s *speaker.Speaker) states {
	out := states{}
	for _, status := range s.Sessions() {
		out[status.Key] = status
	}
	return out
}
