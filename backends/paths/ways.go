package paths

import "github.com/weft-net/weft/fabric"

// way is an offer as it counts for a choice.
type way struct {
	code    code
	state   State // Up means that no probe speaks against it
	verdict Verdict
	reason  string
}

// ways are those that a choice is made among: the preferred ones in order, and
// last the one in use if it is none of them.
type ways struct {
	all       [8]way
	n         int
	preferred int // how many of them
}

// take lists the ways. One without an offer is Gone.
func (l *ways) take(e *entry, prefer []fabric.Path, offers []Offer) {
	for _, p := range prefer {
		if c := encode(p); c != 0 && l.at(c) < 0 && l.n < len(l.all)-1 {
			l.all[l.n].code = c
			l.n++
		}
	}
	l.preferred = l.n
	if e.current != 0 && l.at(e.current) < 0 {
		l.all[l.n].code = e.current
		l.n++
	}
	for i := range offers {
		o := &offers[i]
		if at := l.at(encode(o.Path)); at >= 0 {
			w := &l.all[at]
			w.state, w.verdict, w.reason = o.counts(), o.Verdict, o.Reason
		}
	}
}

// counts is the offer's state with what probes found.
func (o *Offer) counts() State {
	if o.State == Up && o.Verdict == Silent {
		return Doubtful
	}
	return o.State
}

// at is the place of a way in the list; -1: it has none.
func (l *ways) at(c code) int {
	for i := range l.n {
		if l.all[i].code == c {
			return i
		}
	}
	return -1
}

// name tells preferences apart; it is never 0.
func (l *ways) name() uint64 {
	name := uint64(1)
	for i := range l.preferred {
		name = name<<16 ^ name>>48 ^ uint64(l.all[i].code)
	}
	return name
}

// best is where to go from a way that is gone or in doubt, or from none; -1:
// nowhere. Of equals the preferred one, but from a doubtful one only to
// something better.
func (l *ways) best(e *entry, at moment) int {
	best, most := -1, 0
	if here := l.at(e.current); here >= 0 {
		best, most = here, l.worth(e, here, at)
		if most == 0 {
			best = -1
		}
	}
	for i := range l.n {
		if n := l.worth(e, i, at); n > most {
			best, most = i, n
		}
	}
	return best
}

// worth ranks a way for best; 0: it cannot be used.
func (l *ways) worth(e *entry, i int, at moment) int {
	w := &l.all[i]
	switch {
	case w.state == Gone:
		return 0
	case w.state == Doubtful && w.verdict == Silent:
		return 1
	case w.state == Doubtful && w.verdict == Unknown:
		return 2
	case w.state == Doubtful:
		return 3
	case e.held(w.code.bit()) > at:
		return 4
	case w.verdict == Unknown && e.known:
		return 5
	}
	return 6
}

// wait looks for ways that are preferred to the one at place to. It gives the
// first that can be gone to, else to; and it sets what the entry waits for. From
// a way that is not Up there is nothing better.
func (l *ways) wait(e *entry, to int, at moment) int {
	e.next, e.due = 0, 0
	if to < 0 || l.all[to].state != Up {
		return to
	}
	for i := range to {
		w := &l.all[i]
		if w.state != Up {
			continue
		}
		ready := e.ready(w, at)
		if ready <= at {
			return i
		}
		if e.next == 0 {
			e.next = w.code
		}
		if e.due == 0 || ready < e.due {
			e.due = ready
		}
	}
	return to
}

// ready is when a way that is Up can be gone to, if it stays as it is.
func (e *entry) ready(w *way, at moment) moment {
	ready := at
	if !e.ordered {
		ready = max(ready, e.held(w.code.bit()))
	}
	if w.verdict == Answers {
		return ready
	}
	t := e.track(w.code.bit())
	if t == nil {
		t = e.remember(track{bit: w.code.bit(), up: at})
	}
	return max(ready, t.up+moment(Patience))
}

// held is until when a way that is Up is not gone back to because it was lost.
func (e *entry) held(bit uint8) moment {
	if t := e.track(bit); t != nil && t.losses > 0 {
		return t.up + moment(min(Stable<<(t.losses-1), MostStable))
	}
	return 0
}

// mostLosses is enough for MostStable.
const mostLosses = 6

// remembered are the tracks.
func (e *entry) remembered() []track {
	if e.tracks == nil {
		return nil
	}
	return *e.tracks
}

func (e *entry) track(bit uint8) *track {
	tracks := e.remembered()
	for i := range tracks {
		if tracks[i].bit == bit {
			return &tracks[i]
		}
	}
	return nil
}

// remember adds a track.
func (e *entry) remember(t track) *track {
	if e.tracks == nil {
		e.tracks = new([]track)
	}
	*e.tracks = append(*e.tracks, t)
	return &(*e.tracks)[len(*e.tracks)-1]
}

// order takes in that operators changed the preference: that is followed as soon
// as a probe was answered, whatever was lost before.
func (e *entry) order(name uint64, at moment) {
	if e.prefer != 0 && e.prefer != name {
		e.ordered = true
		tracks := e.remembered()
		for i := range tracks {
			tracks[i].up = at // patience begins anew
		}
	}
	e.prefer = name
}

// bits are those of the preferred ways.
func (l *ways) bits() (bits uint8) {
	for i := range l.preferred {
		bits |= l.all[i].code.bit()
	}
	return bits
}

// note takes in which ways came and which were lost. One that is not preferred,
// or no more, is not lost: an operator may have taken it away.
func (e *entry) note(offers []Offer, preferred uint8, at moment) {
	var up uint8
	for i := range offers {
		if c := encode(offers[i].Path); c != 0 && offers[i].counts() == Up {
			up |= c.bit()
		}
	}
	came, lost := up&^e.up, e.up&^up&preferred
	e.up = up
	if tracks := e.remembered(); len(tracks) > 0 {
		kept := tracks[:0]
		for _, t := range tracks {
			if came&t.bit != 0 {
				t.up = at
			}
			if t.losses == 0 && e.next != 0 || t.losses > 0 && at-t.lost < moment(Forgotten) {
				kept = append(kept, t)
			}
		}
		*e.tracks = kept
	}
	for bit := uint8(1); lost != 0; bit <<= 1 {
		if lost&bit != 0 {
			lost &^= bit
			e.lose(bit, at)
		}
	}
	if len(e.remembered()) == 0 {
		e.tracks = nil
	}
}

func (e *entry) lose(bit uint8, at moment) {
	t := e.track(bit)
	if t == nil {
		t = e.remember(track{bit: bit})
	}
	t.losses, t.lost = min(t.losses+1, mostLosses), at
}

// enter makes the way at place to the current one.
func (e *entry) enter(list *ways, to int, at moment) {
	var c code
	if to >= 0 {
		c = list.all[to].code
	}
	if c != e.current || !e.known {
		if e.known {
			e.switches++
		}
		e.current, e.since, e.ordered, e.known = c, at, false, true
	}
	e.ordered = e.ordered && e.next != 0
	e.why = e.because(list, to, at)
}
