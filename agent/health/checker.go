package health

import (
	"context"
	"maps"
	"reflect"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
)

// atOnce bounds the probes under way. Each ends after its timeout, so a probe
// waits for its turn no longer than that.
const atOnce = 64

// Verdict is what is known of one condition.
type Verdict struct {
	Healthy bool
	Known   bool   // false: too few answers yet to say
	Reason  string // why the last probe failed, empty where it did not
}

// Options are what a Checker is made of.
type Options struct {
	Log *logrus.Entry
	// Earlier are the verdicts of an earlier life, by name.
	Earlier map[string]bool
	// Changed is called from any goroutine after a verdict turned; it must not
	// block.
	Changed func()
	// Probe tries a condition once; nil: Probe of this package.
	Probe func(context.Context, fabric.BGPPrefixSpec) error
}

// Checker probes a set of conditions. Follow and Close are for one goroutine,
// Verdicts for any.
type Checker struct {
	opt   Options
	turns chan struct{} // an element for each probe under way
	group sync.WaitGroup

	running map[string]*running

	mu       sync.Mutex
	verdicts map[string]Verdict // guarded by mu
}

// running is a condition that is being probed.
type running struct {
	spec   fabric.BGPPrefixSpec
	cancel context.CancelFunc
}

// New makes a Checker that probes nothing yet.
func New(o Options) *Checker {
	if o.Probe == nil {
		o.Probe = Probe
	}
	c := &Checker{opt: o, turns: make(chan struct{}, atOnce), running: map[string]*running{}, verdicts: map[string]Verdict{}}
	for name, healthy := range o.Earlier {
		c.verdicts[name] = Verdict{Healthy: healthy, Known: true}
	}
	return c
}

// Follow probes these objects from now on, and no others; those without a
// condition are left out. One whose condition changed keeps its verdict until
// the new condition gives another.
func (c *Checker) Follow(prefixes []fabric.BGPPrefix) {
	want := map[string]fabric.BGPPrefixSpec{}
	for _, p := range prefixes {
		if p.Spec.Health != nil {
			want[p.Name] = p.Spec
		}
	}
	for name, r := range c.running {
		if _, wanted := want[name]; !wanted || !reflect.DeepEqual(want[name], r.spec) {
			r.cancel()
			delete(c.running, name)
		}
	}
	c.forget(want)
	for name, spec := range want {
		if c.running[name] != nil {
			continue
		}
		ctx, cancel := context.WithCancel(context.Background())
		c.running[name] = &running{spec: spec, cancel: cancel}
		c.group.Go(func() { c.watch(ctx, name, spec) })
	}
}

// Close ends all probes.
func (c *Checker) Close() {
	for _, r := range c.running {
		r.cancel()
	}
	clear(c.running)
	c.group.Wait()
}

// Verdicts are what is known now, by name of the object.
func (c *Checker) Verdicts() map[string]Verdict {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.verdicts)
}

// forget drops the verdicts on what is not wanted; its probes are cancelled.
func (c *Checker) forget(want map[string]fabric.BGPPrefixSpec) {
	c.mu.Lock()
	defer c.mu.Unlock()
	maps.DeleteFunc(c.verdicts, func(name string, _ Verdict) bool { _, wanted := want[name]; return !wanted })
}

// watch probes one condition until ctx ends.
func (c *Checker) watch(ctx context.Context, name string, spec fabric.BGPPrefixSpec) {
	every := orDefault(time.Duration(spec.Health.Interval), defaultInterval)
	streak := streak{rise: orDefault(spec.Health.Rise, defaultRise), fall: orDefault(spec.Health.Fall, defaultFall)}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		err := c.try(ctx, spec)
		if ctx.Err() != nil {
			return
		}
		c.take(ctx, name, &streak, err)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// try probes once, in its turn.
func (c *Checker) try(ctx context.Context, spec fabric.BGPPrefixSpec) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case c.turns <- struct{}{}:
	}
	defer func() { <-c.turns }()
	ctx, cancel := context.WithTimeout(ctx, orDefault(time.Duration(spec.Health.Timeout), defaultTimeout))
	defer cancel()
	return c.opt.Probe(ctx, spec)
}

// take records an answer.
func (c *Checker) take(ctx context.Context, name string, s *streak, err error) {
	turned := s.count(err == nil)
	c.mu.Lock()
	if ctx.Err() != nil { // Follow has forgotten it meanwhile
		c.mu.Unlock()
		return
	}
	was := c.verdicts[name]
	now := was
	now.Reason = ""
	if err != nil {
		now.Reason = err.Error()
	}
	if turned {
		now.Healthy, now.Known = err == nil, true
	}
	c.verdicts[name] = now
	c.mu.Unlock()
	if now.Healthy == was.Healthy && now.Known == was.Known {
		return
	}
	entry := c.opt.Log.WithField("prefix", name)
	if now.Healthy {
		entry.Info("condition of an announced prefix holds")
	} else {
		entry.WithField("reason", now.Reason).Warn("condition of an announced prefix fails")
	}
	c.opt.Changed()
}

// streak counts equal answers in a row.
type streak struct {
	rise, fall int
	ok         bool
	n          int
}

// count takes an answer and reports whether there were enough of its kind.
func (s *streak) count(ok bool) bool {
	if ok != s.ok {
		s.n = 0
	}
	s.ok = ok
	s.n++
	if ok {
		return s.n >= s.rise
	}
	return s.n >= s.fall
}

func orDefault[T int | time.Duration](v, def T) T {
	if v <= 0 {
		return def
	}
	return v
}
