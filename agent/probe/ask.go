package probe

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// When a path is asked again.
const (
	confirmMin   = 2 * time.Second  // at least this between two sweeps
	confirmRate  = 20               // sweeps per second at most: half of the bound, the rest is for what they find
	raiseFirst   = 30 * time.Second // until a size that is reduced is tried to raise,
	raiseLast    = 10 * time.Minute // and twice as long each time, up to
	forgetEvery  = 10 * time.Second // see forget
	silenceFirst = time.Second      // and twice as long each time, up to
	silenceLast  = 10 * time.Second
	unsentPause  = 2 * time.Second // the device is down, or its queue is full
)

// question is a probe that is about to be sent by a path.
type question struct {
	path   int32
	serial uint32
	packet packet
	hop    kernel.Hop
	mac    fabric.MAC // zero: to be looked up
	rtt    uint32
	forget netip.Addr // the far host, where more is asked for by a tunnel; else invalid
}

// ask sends the probes that are due and may be sent, and says when the next
// will be; zero: nobody knows.
func (r *run) ask(now time.Time) time.Time {
	for {
		questions, next := r.due(now)
		if len(questions) == 0 {
			return next
		}
		r.putAll(questions, now)
	}
}

func (r *run) putAll(questions []question, now time.Time) {
	var hops []kernel.Hop
	for _, q := range questions {
		if q.mac == (fabric.MAC{}) {
			hops = append(hops, q.hop)
		}
	}
	macs := r.macs(hops)
	r.forget(questions, now)
	for _, q := range questions {
		if q.mac == (fabric.MAC{}) {
			q.mac = macs[q.hop]
		}
		r.put(q, now)
	}
}

// forget makes the kernel forget what keeps questions from leaving. For IPv4 it
// forgets all there is, and others lose a packet each to learn it anew, so once
// in a while is enough for all paths.
func (r *run) forget(questions []question, now time.Time) {
	var hosts []netip.Addr
	all := now.Sub(r.forgot) >= forgetEvery
	for _, q := range questions {
		if q.forget.Is6() || q.forget.Is4() && all {
			hosts = append(hosts, q.forget)
			if q.forget.Is4() {
				r.forgot = now
			}
		}
	}
	if len(hosts) > 0 {
		r.wire.forget(hosts)
	}
}

// due takes out of the queue what may be asked now.
func (r *run) due(now time.Time) (out []question, next time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	t := r.table
	for {
		i, at := t.first(now.Sub(r.start))
		if i < 0 {
			if at >= 0 {
				next = r.start.Add(at)
			}
			return out, next
		}
		if wait := r.budget.wait(now); wait > 0 {
			return out, now.Add(wait)
		}
		r.budget.take(now)
		t.drop(i)
		out = append(out, r.question(i, now))
	}
}

// question is what to ask by path i next.
func (r *run) question(i int32, now time.Time) question {
	p := &r.table.paths[i]
	raise := p.resting && !p.lost && p.mtu < p.full && now.Sub(r.start) >= p.raise
	if raise {
		p.failed = min(p.failed+1, 16)
		p.raise = now.Sub(r.start) + min(raiseLast, raiseFirst<<p.failed)
	}
	if p.resting {
		p.again(false, raise)
		p.resting = false
	}
	if !r.wire.can(p.method, p.family) {
		p.method = p.method.other()
	}
	q := question{
		path: i, serial: p.serial, hop: r.table.hop(p), mac: p.mac, rtt: p.rtt,
		packet: packet{
			method: p.method, from: r.table.routes[p.route].from, to: p.toAddr(),
			port: r.port(), size: p.size(), nonce: r.nonce(),
		},
	}
	if raise && r.table.kinds[p.kind].Kind == fabric.PathVXLAN {
		q.forget = p.underlayAddr()
	}
	return q
}

// put sends a probe, or counts it as under way where the next hop is not known
// yet: if it never is, the path is as good as silent.
func (r *run) put(q question, now time.Time) {
	f := &flight{path: q.path, serial: q.serial, method: q.packet.method, to: q.packet.to, sent: now}
	if !r.wire.can(q.packet.method, fabric.FamilyOf(q.packet.to)) {
		r.unsent(f) // nothing would be heard, so silence means nothing
		return
	}
	if q.mac == (fabric.MAC{}) {
		f.unsent, f.deadline = true, now.Add(timeoutNeighbour)
		r.flights[q.packet.nonce] = f
		return
	}
	err := r.wire.send(q.packet, q.hop.Link, q.mac)
	switch {
	case err == nil:
		f.sent = time.Now()
		f.deadline = f.sent.Add(timeout(q.rtt))
		r.flights[q.packet.nonce] = f
	case errors.Is(err, unix.EMSGSIZE):
		r.counts.unsent.Add(1)
		r.outcome(f, func(p *path) pace { return p.unanswered(true) })
	default:
		r.unsent(f)
	}
}

func timeout(rtt uint32) time.Duration {
	if rtt == 0 {
		return timeoutMax
	}
	return min(timeoutMax, timeoutMin+4*time.Duration(rtt)*time.Microsecond)
}

// unsent tries again later, as if nothing had been tried.
func (r *run) unsent(f *flight) {
	r.counts.unsent.Add(1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := &r.table.paths[f.path]; p.serial == f.serial {
		r.table.put(f.path, time.Since(r.start)+unsentPause, false)
	}
}

// outcome tells a path what came of a probe, if it still is the path that was
// asked, and queues what to ask next.
func (r *run) outcome(f *flight, tell func(*path) pace) {
	r.mu.Lock()
	p := &r.table.paths[f.path]
	if p.serial != f.serial {
		r.mu.Unlock()
		return
	}
	mtu, lost := p.mtu, p.lost
	next := tell(p)
	now := time.Since(r.start)
	switch {
	case lost && !p.lost: // it may be another way by now
		p.failed, p.raise = 0, now
	case p.mtu != mtu:
		p.failed, p.raise = 0, now+raiseFirst
	}
	at, pressing := r.table.when(p, next)
	r.table.put(f.path, now+at, pressing)
	changed := r.table.judge(p, now)
	r.mu.Unlock()
	if changed {
		r.o.Changed()
	}
}

// when is how long to wait with the next question, and whether it goes before
// what is only routine.
func (t *table) when(p *path, next pace) (time.Duration, bool) {
	confirm := max(confirmMin, time.Duration(len(t.order))*time.Second/confirmRate)
	p.resting = next == settled || next == silence
	switch next {
	case atOnce:
		return 0, true
	case idly:
		return 0, false
	case settled:
		p.quiet = 0
		return spread(confirm), false
	}
	p.quiet = min(p.quiet+1, 16)
	if p.urgent {
		return silenceFirst, false
	}
	return spread(min(silenceFirst<<(p.quiet-1), max(silenceLast, confirm))), false
}

// spread keeps paths from being asked in step, by all nodes at once.
func spread(d time.Duration) time.Duration { return d + rand.N(d/4) }

// judge renews the verdict of p, and of its peer's other paths, which depend on
// each other: silence means nothing where nobody ever answered. It reports
// whether one has changed.
func (t *table) judge(p *path, now time.Duration) (changed bool) {
	relative := p.lost && !p.heard
	if !relative && p.state == p.verdict(false) && p.told == p.said() {
		return false
	}
	from, to := t.group(p.peer, p.family)
	answers := 0
	for _, i := range t.order[from:to] {
		if w := &t.paths[i]; w.proven && !w.lost {
			answers++
		}
	}
	for _, i := range t.order[from:to] {
		w := &t.paths[i]
		if state, mtu := w.verdict(answers > 0), w.said(); state != w.state || mtu != w.told {
			w.state, w.told, w.since = state, mtu, now
			changed = true
		}
	}
	return changed
}

// verdict is the state of a path; known says that its peer answers by another.
func (p *path) verdict(known bool) State {
	switch {
	case p.lost && (p.heard || known):
		return Silent
	case p.proven && !p.lost:
		return Answers
	}
	return Unknown
}
