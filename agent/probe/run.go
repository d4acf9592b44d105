package probe

import (
	"context"
	"math/rand/v2"
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// The bounds, in packets per second, whatever the number of paths.
const (
	backgroundRate = 40
	volleyRate     = 200
	hintRate       = 10  // looks at paths because of ICMP errors
	scanRate       = 100 // searches for the paths that such an error is about
)

// How long an answer may take: a few of the usual times, but not less than a
// busy machine takes, nor more than is worth waiting for.
const (
	timeoutMin = 250 * time.Millisecond
	timeoutMax = time.Second
	// A neighbour that the kernel did not know is asked for by now.
	timeoutNeighbour = 100 * time.Millisecond
)

// This process itself may stand still: stopped, starved or with its machine. If
// a timer is late by stalled, answers may lie unread, so all are waited for anew.
const stalled = 200 * time.Millisecond

// upkeep is how often the port is asked for.
const upkeep = time.Second

// wire is how packets leave. See sockets.
type wire interface {
	// can reports whether answers to a method can be heard.
	can(m method, f fabric.Family) bool
	// send gives a packet to a device for a MAC address. The error is
	// unix.EMSGSIZE where the device's MTU is too small.
	send(p packet, link string, mac fabric.MAC) error
	// tend is called once a second with the port to listen at.
	tend(port uint16)
	// forget makes this host forget what it learnt about the path MTU to other
	// hosts: packets through a tunnel do not leave while it is remembered.
	forget(hosts []netip.Addr)
	close()
}

// reply is an answer as it came in.
type reply struct {
	nonce uint64
	from  netip.Addr
	at    time.Time
}

// flight is a probe that is under way.
type flight struct {
	path     int32 // in the table; of a volley: notQueued
	serial   uint32
	shot     *shot // of a volley
	method   method
	to       netip.Addr
	sent     time.Time
	deadline time.Time
	unsent   bool // its next hop's MAC is not known yet
}

// run is the state of Run's goroutine.
type run struct {
	*Prober
	wire                   wire
	flights                map[uint64]*flight // by nonce
	volleys                []*volley
	tended, forgot         time.Time
	budget, volleyBudget   window
	hintBudget, scanBudget window
}

// refuse answers volleys, where nothing can be sent, with the reason.
func (r *run) refuse(ctx context.Context, why error) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case v := <-r.asked:
			v.end(why)
		}
	}
}

func (r *run) loop(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	defer func() {
		for _, v := range r.volleys {
			v.end(context.Canceled)
		}
	}()
	wake := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.kick:
		case v := <-r.asked:
			r.volleys = append(r.volleys, v)
		case a := <-r.replies:
			r.replied(a)
		case h := <-r.hints:
			r.look(h)
		case <-timer.C:
		}
		now := time.Now()
		if now.Sub(wake) > stalled {
			r.forgive(now)
		}
		wake = r.step(now)
		timer.Reset(wake.Sub(now))
	}
}

// step does what is due and says when something will be.
func (r *run) step(now time.Time) time.Time {
	if now.Sub(r.tended) >= upkeep {
		r.wire.tend(r.port())
		r.tended = now
	}
	next := r.tended.Add(upkeep)
	sooner := func(t time.Time) {
		if !t.IsZero() && t.Before(next) {
			next = t
		}
	}
	r.expire(now)
	sooner(r.ask(now))
	sooner(r.shoot(now))
	for _, f := range r.flights {
		sooner(f.deadline)
	}
	return next
}

// forgive waits longer for what is under way.
func (r *run) forgive(now time.Time) {
	for _, f := range r.flights {
		f.deadline = later(f.deadline, now.Add(timeoutMin))
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// replied takes in an answer. Whoever cannot see the probe cannot guess its
// nonce, and nobody but the one asked may answer.
func (r *run) replied(a reply) {
	f := r.flights[a.nonce]
	if f == nil || f.to != a.from {
		r.counts.strays.Add(1)
		return
	}
	delete(r.flights, a.nonce)
	r.counts.answered.Add(1)
	if f.shot != nil {
		f.shot.done(true)
		return
	}
	r.outcome(f, func(p *path) pace {
		p.rtt = smooth(p.rtt, a.at.Sub(f.sent))
		return p.arrived()
	})
}

// smooth takes a round trip into the average, in microseconds.
func smooth(have uint32, rtt time.Duration) uint32 {
	us := uint32(max(1, min(rtt, time.Hour).Microseconds()))
	if have == 0 {
		return us
	}
	return have - have/8 + us/8
}

// expire takes in what was not answered in time.
func (r *run) expire(now time.Time) {
	for nonce, f := range r.flights {
		if now.Before(f.deadline) {
			continue
		}
		delete(r.flights, nonce)
		switch {
		case f.shot != nil:
			r.counts.lost.Add(1)
			f.shot.done(false)
			continue
		case f.unsent:
			r.counts.unsent.Add(1)
		default:
			r.counts.lost.Add(1)
		}
		r.outcome(f, func(p *path) pace { return p.unanswered(false) })
	}
}

// nonce is one that nothing under way has.
func (r *run) nonce() uint64 {
	for {
		if n := rand.Uint64(); r.flights[n] == nil { // ChaCha8, seeded by the kernel
			return n
		}
	}
}

// macs looks up the next hops that packets are about to leave by.
func (r *run) macs(hops []kernel.Hop) map[kernel.Hop]fabric.MAC {
	if len(hops) == 0 {
		return nil
	}
	found, err := r.o.Neighbours.Lookup(hops)
	if err != nil {
		r.o.Log.WithError(err).Debug("neighbours cannot be looked up")
	}
	return found
}
