package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// How long a volley waits for its answers, by each method, and for a MAC.
const (
	volleyTimeout   = 500 * time.Millisecond
	volleyNeighbour = time.Second
	volleyAgain     = 50 * time.Millisecond // between two looks for a MAC
)

// volley is a call of Volley. It belongs to Run's goroutine until done is closed.
type volley struct {
	ctx     context.Context
	aims    []*aim
	results []Result
	left    int // aims that are not finished
	done    chan struct{}
}

// aim is one target of a volley.
type aim struct {
	volley *volley
	result *Result
	target Target
	size   int
	n      int // probes by each hop
	method method
	shots  []*shot // not sent yet
	flying int
	since  time.Time // when a MAC was asked for first
	next   time.Time // not before
}

// shot is one probe of a volley.
type shot struct {
	aim *aim
	hop kernel.Hop
}

// Volley asks n times at once by every next hop of each target, by packets of
// the given size (0: full size), and waits for the answers, about a second
// beyond the time that its own bound of 200 packets a second takes. Where the
// far agent answers none at all, the far kernel is asked as often. Where Run
// does not run, it waits for that, or for the end of ctx.
func (p *Prober) Volley(ctx context.Context, targets []Target, n, size int) []Result {
	v := &volley{ctx: ctx, results: make([]Result, len(targets)), left: len(targets), done: make(chan struct{})}
	for i, t := range targets {
		v.results[i].Key = t.Key
		a := &aim{volley: v, result: &v.results[i], target: t, size: size, n: n}
		if size == 0 {
			a.size = t.Full
		}
		a.size = max(smallest, min(a.size, 1<<16-1))
		a.load(byAgent)
		v.aims = append(v.aims, a)
	}
	if len(targets) == 0 || n <= 0 {
		return v.results
	}
	select {
	case p.asked <- v:
	case <-ctx.Done():
		for i := range v.results {
			v.results[i].Err = ctx.Err().Error()
		}
		return v.results
	}
	<-v.done // soon, also when ctx ends
	return v.results
}

// load makes the shots ready.
func (a *aim) load(m method) {
	a.method, a.result.Sent = m, 0
	for range a.n {
		for _, h := range a.target.Hops {
			a.shots = append(a.shots, &shot{aim: a, hop: h})
		}
	}
}

// done takes in what came of a shot. Where the agent answered some, the rest is
// lost; where none, it may be away, and its kernel is asked.
func (s *shot) done(answered bool) {
	a := s.aim
	if a.volley == nil {
		return // it was ended, and its results are somebody else's by now
	}
	a.flying--
	if answered {
		a.result.Answered++
	}
	if a.flying > 0 || len(a.shots) > 0 {
		return
	}
	if a.method == byAgent && a.result.Answered == 0 {
		a.load(byKernel)
		return
	}
	a.finish("")
}

// finish ends an aim; why says why nothing could be sent, if so.
func (a *aim) finish(why string) {
	if a.volley == nil {
		return
	}
	a.shots = nil
	a.result.Err = why
	v := a.volley
	a.volley = nil
	if v.left--; v.left == 0 {
		close(v.done)
	}
}

// shoot sends what volleys have ready, and says when to be called next; zero:
// when an answer comes or is overdue.
func (r *run) shoot(now time.Time) (next time.Time) {
	volleys := r.volleys[:0]
	for _, v := range r.volleys {
		if err := v.ctx.Err(); err != nil {
			v.end(err)
		}
		if v.left > 0 {
			volleys = append(volleys, v)
		}
	}
	clear(r.volleys[len(volleys):])
	r.volleys = volleys
	if len(volleys) == 0 {
		return next
	}
	macs := r.aimed(now)
	for _, v := range volleys {
		for _, a := range v.aims {
			if at := r.fire(a, macs, now); !at.IsZero() && (next.IsZero() || at.Before(next)) {
				next = at
			}
		}
	}
	if next.IsZero() { // a context that ends is looked at soon
		next = now.Add(volleyAgain)
	}
	return next
}

// aimed looks up the MACs that the shots to be sent now need.
func (r *run) aimed(now time.Time) map[kernel.Hop]fabric.MAC {
	var hops []kernel.Hop
	for _, v := range r.volleys {
		for _, a := range v.aims {
			if len(hops) >= volleyRate {
				break
			}
			if len(a.shots) > 0 && a.target.MAC == (fabric.MAC{}) && !now.Before(a.next) {
				hops = append(hops, a.target.Hops...)
			}
		}
	}
	return r.macs(hops)
}

// fire sends an aim's shots as far as the rate allows, and says when to go on.
func (r *run) fire(a *aim, macs map[kernel.Hop]fabric.MAC, now time.Time) time.Time {
	switch kernelToo := r.wire.can(byKernel, a.target.Family); {
	case a.volley == nil:
		return time.Time{}
	case r.wire.can(a.method, a.target.Family):
	case a.method == byAgent && kernelToo:
		a.shots = nil
		a.load(byKernel)
	default:
		a.finish("no answer can be heard here: there is no socket for it")
		return time.Time{}
	}
	for len(a.shots) > 0 && !now.Before(a.next) {
		if wait := r.volleyBudget.wait(now); wait > 0 {
			return now.Add(wait)
		}
		s := a.shots[0]
		if mac := a.mac(macs, s, now); mac != (fabric.MAC{}) {
			a.shots = a.shots[1:]
			r.volleyBudget.take(now)
			r.send(s, mac)
		}
	}
	if len(a.shots) > 0 {
		return a.next
	}
	if a.volley != nil && a.flying == 0 {
		a.finish("there is no next hop to send by")
	}
	return time.Time{}
}

// mac is where a shot goes. While the kernel does not know, the aim waits a
// while.
func (a *aim) mac(macs map[kernel.Hop]fabric.MAC, s *shot, now time.Time) fabric.MAC {
	if a.target.MAC != (fabric.MAC{}) {
		return a.target.MAC
	}
	mac := macs[s.hop]
	if mac != (fabric.MAC{}) {
		return mac
	}
	if a.since.IsZero() {
		a.since = now
	}
	if a.next = now.Add(volleyAgain); now.Sub(a.since) > volleyNeighbour {
		a.finish(fmt.Sprintf("the neighbour %s on %s does not answer", s.hop.Gateway, s.hop.Link))
	}
	return mac
}

// send gives a shot to the wire.
func (r *run) send(s *shot, mac fabric.MAC) {
	a := s.aim
	q := packet{
		method: a.method, from: a.target.From, to: a.target.To, port: r.port(), size: uint16(a.size), nonce: r.nonce(),
	}
	err := r.wire.send(q, s.hop.Link, mac)
	switch {
	case errors.Is(err, unix.EMSGSIZE):
		a.finish(fmt.Sprintf("%s has a smaller MTU than %d", s.hop.Link, a.size))
		return
	case err != nil:
		a.finish(err.Error())
		return
	}
	a.result.Sent++
	a.flying++
	now := time.Now()
	r.flights[q.nonce] = &flight{path: notQueued, shot: s, method: a.method, to: a.target.To, sent: now, deadline: now.Add(volleyTimeout)}
}

// end ends a volley that is not finished, for a reason.
func (v *volley) end(why error) {
	for _, a := range v.aims {
		a.finish(why.Error())
	}
}
