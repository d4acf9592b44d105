package routing

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weft-net/weft/backends/bgp"
)

const (
	// turnMost is how long a reset may hold the far end's lock: a session that
	// does not come back must not keep others from theirs.
	turnMost = 30 * time.Second
	// turnPause is the time between two tries for a lock that cannot be had.
	turnPause = 5 * time.Second
)

// locker takes a fabric-wide lock; it waits for its turn and ends with ctx.
type locker func(ctx context.Context, name string) (unlock func(), err error)

// turns lets one session at a time of this node reset, and of all nodes' only
// one towards the same far end: the lock bears the far end's address. All
// methods are for one goroutine.
type turns struct {
	lock  locker
	kick  func() // a lock was taken, or not; must not block
	group sync.WaitGroup

	now    *turn
	failed string    // why the last try got no lock
	again  time.Time // no try before
}

// turn is one reset: first it wants its locks, then it holds them.
type turn struct {
	key      string
	expected []bgp.SessionStatus // that are to come back, as they were
	cancel   context.CancelFunc
	result   chan lockResult // one element
	answered bool            // result was received
	unlock   []func()
	taken    time.Time // zero while the locks are waited for
	applied  bool
}

type lockResult struct {
	unlock []func()
	err    error
}

// states are those of the sessions, by key.
type states map[string]bgp.SessionStatus

// established reports whether the session with a key is, or any that came out of
// the range that the key is of.
func (s states) established(key string) bool { return len(s.of(key)) > 0 }

// of are the established sessions that a plan's key means: the one session,
// those that came out of a range, or all. Ranges do not overlap, so an address
// says which of them a session came out of.
func (s states) of(key string) []bgp.SessionStatus {
	var means func(bgp.SessionStatus) bool
	_, far, _ := strings.Cut(key, "/")
	if within, err := netip.ParsePrefix(far); err == nil {
		means = func(x bgp.SessionStatus) bool { return x.Dynamic && within.Contains(x.Address.WithZone("")) }
	} else if key != bgp.Everything {
		if one := s[key]; one.State == bgp.Established {
			return []bgp.SessionStatus{one}
		}
		return nil
	}
	var out []bgp.SessionStatus
	for _, x := range s {
		if x.State == bgp.Established && (means == nil || means(x)) {
			out = append(out, x)
		}
	}
	return out
}

// now is how a session is, also when it has another name by now; false when
// there is none with its far end.
func (s states) now(was bgp.SessionStatus) (bgp.SessionStatus, bool) {
	if is, ok := s[was.Key]; ok || !was.Address.IsValid() {
		return is, ok
	}
	for _, is := range s {
		if is.Address == was.Address {
			return is, true
		}
	}
	return bgp.SessionStatus{}, false
}

// permitted is the key of what may reset now, empty for nothing.
func (t *turns) permitted(now time.Time) string {
	if t.now == nil {
		return ""
	}
	if !t.now.answered {
		t.collect(now)
	}
	if t.now == nil || t.now.taken.IsZero() {
		return ""
	}
	return t.now.key
}

// collect looks whether the locks are there.
func (t *turns) collect(now time.Time) {
	select {
	case r := <-t.now.result:
		t.now.answered = true
		if r.err == nil {
			t.now.unlock, t.now.taken, t.failed = r.unlock, now, ""
			return
		}
		t.failed, t.again = r.err.Error(), now.Add(turnPause)
		t.end()
	default:
	}
}

// follow takes what still waits after the permitted one was applied, and how
// the sessions are; it ends a turn that is over and begins the next.
func (t *turns) follow(ctx context.Context, waiting []bgp.Waiting, s states, now time.Time) {
	if t.now != nil {
		t.finish(waiting, s, now)
	}
	if t.now == nil && len(waiting) > 0 && !now.Before(t.again) {
		t.begin(ctx, waiting[0].Key, s)
	}
}

// finish ends the turn where nothing is left to do in it.
func (t *turns) finish(waiting []bgp.Waiting, s states, now time.Time) {
	waits := slices.ContainsFunc(waiting, func(w bgp.Waiting) bool { return w.Key == t.now.key })
	if t.now.taken.IsZero() {
		if !waits { // nobody wants the reset any more
			t.end()
		}
		return
	}
	t.now.applied = t.now.applied || !waits
	if now.Sub(t.now.taken) >= turnMost || t.now.applied && t.now.over(s) {
		t.end()
	}
}

// over reports whether the sessions are back, or gone for good: removed, or held
// down for a reason of their own. One that came out of a range has no status
// until its far end calls again.
func (t *turn) over(s states) bool {
	return !slices.ContainsFunc(t.expected, func(was bgp.SessionStatus) bool {
		status, there := s.now(was)
		back := status.State == bgp.Established && status.Since.After(t.taken)
		return (there || was.Dynamic) && status.State != bgp.Held && !back
	})
}

// begin asks for the locks in a goroutine of its own. They are taken in order of
// their names, so that two nodes cannot wait for each other.
func (t *turns) begin(ctx context.Context, key string, s states) {
	ctx, cancel := context.WithCancel(ctx)
	turn := &turn{key: key, cancel: cancel, result: make(chan lockResult, 1), expected: s.of(key)}
	names := lockNames(turn.expected)
	t.now = turn
	t.group.Go(func() {
		turn.result <- t.take(ctx, names)
		t.kick()
	})
}

// take takes all locks or none.
func (t *turns) take(ctx context.Context, names []string) (r lockResult) {
	for _, name := range names {
		unlock, err := t.lock(ctx, name)
		if err != nil {
			release(r.unlock)
			return lockResult{err: fmt.Errorf("lock %s: %w", name, err)}
		}
		r.unlock = append(r.unlock, unlock)
	}
	return r
}

// lockNames are the far ends' addresses, in order. Link-local ones are alike on
// many links; there the far end's BGP identifier names it.
func lockNames(sessions []bgp.SessionStatus) []string {
	var out []string
	for _, status := range sessions {
		name := status.Key
		switch a := status.Address; {
		case a.IsValid() && !a.IsLinkLocalUnicast():
			name = a.String()
		case status.RouterID.IsValid():
			name = status.RouterID.String()
		}
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// end gives up the turn and its locks, also one that is under way.
func (t *turns) end() {
	turn := t.now
	t.now = nil
	turn.cancel()
	release(turn.unlock)
	if !turn.answered { // the request was cancelled, so its answer comes soon
		t.group.Go(func() { release((<-turn.result).unlock) })
	}
}

// close ends everything and waits for it.
func (t *turns) close() {
	if t.now != nil {
		t.end()
	}
	t.group.Wait()
}

func release(unlock []func()) {
	for _, f := range slices.Backward(unlock) {
		f()
	}
}
