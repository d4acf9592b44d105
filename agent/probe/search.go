package probe

// search is what is known of the size that a path carries, and what to ask
// next: a small state machine without clock or packets, in the spirit of packet
// layer path MTU discovery (RFC 8899, section 5). A path with several next hops
// carries what each of them does, so each is asked: a lane each.
//
// It asks for goal on one lane after the other. Where goal is what is in force
// (mtu) this confirms it; where it is more, it raises it. Where goal does not
// arrive, floor tells a path that drops large packets from one that drops all,
// and a search between what arrived and what did not finds the size.
type search struct {
	floor, full uint16 // what every link carries (RFC 791, RFC 8200), and what is wanted
	mtu         uint16 // in force
	goal        uint16
	lo, hi      uint16 // while searching: lo arrived, hi did not
	hint        uint16 // said by a router, or found in an earlier life; 0: none
	phase       phase
	lane, lanes uint8
	passed      uint8 // lanes that have carried goal in this sweep
	tries       uint8 // of this size on this lane, unanswered
	rounds      uint8 // of calls that nobody answered
	turn        uint8 // sweeps so far
	method      method
	// proven: a whole sweep arrived since the path is known. lost: nothing
	// arrives, and no sweep has since. called: floor has just arrived.
	proven, lost, called bool
	// heard: something once was answered. echoes: an ICMP echo was, so that
	// silence is not only the agent's.
	heard, echoes bool
}

type phase uint8

const (
	sweeping  phase = iota // asks for goal, lane by lane
	calling                // asks for floor: does anything arrive?
	searching              // between lo and hi
)

// pace is when to ask next.
type pace uint8

const (
	atOnce  pace = iota // in the middle of something
	idly                // likewise, but nobody waits for it: an attempt to raise
	settled             // all is known for the moment
	silence             // nothing arrives
)

const (
	floor4 = 576
	floor6 = 1280
	// grain is how close a search comes where no router says the size: links'
	// MTUs are mostly multiples of it.
	grain = 10
	// tries are what it takes to believe that a packet was dropped for its
	// size, or that a path is dead.
	triesBelief = 3
	// A search does not believe one loss either, but a mistake costs little.
	triesSearch = 2
	// roundsAgent is how many more silent rounds it takes where only the agent
	// ever answered: it may be being restarted, and the host not answer echo.
	roundsAgent = 4
	// turnsOther is how many sweeps it takes until the other method is tried
	// although this one works: to know that the far kernel answers before its
	// agent does not, and that the agent is back.
	turnsOther = 16
)

// newSearch begins with what is hoped for, or what an earlier life found.
func newSearch(v6 bool, full, earlier, lanes int) search {
	s := search{floor: floor4, full: uint16(min(full, 1<<16-1)), lanes: uint8(max(1, min(lanes, 255)))}
	if v6 {
		s.floor = floor6
	}
	s.full = max(s.full, smallest)
	s.floor = min(s.floor, s.full)
	s.mtu, s.goal = s.full, s.full
	if earlier >= int(s.floor) && earlier < int(s.full) {
		s.mtu, s.hint = uint16(earlier), uint16(earlier)
	}
	return s
}

// raising: what is asked for is more than what is in force. Nobody is hurt
// while it is not known.
func (s *search) raising() bool { return s.goal > s.mtu }

// size is what to ask for next, on lane.
func (s *search) size() uint16 {
	switch s.phase {
	case calling:
		return s.floor
	case searching:
		return s.pivot()
	}
	return s.goal
}

// again begins to ask anew: all lanes where something may have changed, else
// the next in turn; for more than is in force where raise is true.
func (s *search) again(all, raise bool) {
	if s.lost {
		return // calling goes on
	}
	s.sweep()
	if raise {
		s.goal = s.full
	}
	if !all && s.proven && !s.raising() {
		s.passed = s.lanes - 1
	}
	if s.turn++; s.turn%turnsOther == 2 && (!s.echoes || s.method == byKernel) {
		s.method = s.method.other()
	}
}

// sweep begins to ask all lanes for what is in force, or what is hoped for.
func (s *search) sweep() {
	s.phase, s.tries, s.passed, s.called = sweeping, 0, 0, false
	if s.goal = s.mtu; !s.proven {
		s.goal = s.full
	}
}

// arrived takes in that size arrived on lane.
func (s *search) arrived() pace {
	s.echoes = s.echoes || s.method == byKernel
	s.heard, s.tries, s.rounds = true, 0, 0
	switch s.phase {
	case sweeping:
		return s.pass()
	case searching:
		s.lo = s.pivot()
		return s.narrow()
	}
	// Small packets arrive. Whether large ones were dropped for their size, or
	// everything was for a moment, is seen by asking for goal once more.
	s.sweep()
	s.called = true
	return atOnce
}

// pass counts a lane that carries goal.
func (s *search) pass() pace {
	s.called = false
	s.passed++
	s.lane = (s.lane + 1) % s.lanes
	if s.passed < s.lanes {
		return s.hurry()
	}
	s.mtu, s.proven, s.lost = s.goal, true, false
	if s.mtu == s.full {
		s.hint = 0
	}
	return settled
}

func (s *search) hurry() pace {
	if s.raising() && s.proven {
		return idly
	}
	return atOnce
}

// unanswered takes in that no answer came; the other method is next. sure says
// that the packet never left, as it is larger than the device's MTU.
func (s *search) unanswered(sure bool) pace {
	s.method = s.method.other()
	s.tries++
	if !sure && s.tries < s.patience() {
		return s.hurry()
	}
	s.tries = 0
	switch {
	case s.phase == searching:
		s.hi = s.pivot()
		return s.narrow()
	case s.phase == calling:
		return s.deaf()
	case s.raising() && s.proven && !s.lost:
		s.phase, s.lo, s.hi = searching, s.mtu, s.goal
		return s.narrow()
	case s.called && s.goal > s.floor:
		s.phase, s.lo, s.hi = searching, s.floor, s.goal
		return s.narrow()
	}
	s.phase, s.called = calling, false
	return atOnce
}

func (s *search) patience() uint8 {
	switch {
	case s.phase == calling && s.lost:
		return 1
	case s.phase == searching, s.called, s.raising() && s.proven:
		return triesSearch
	}
	return triesBelief
}

// deaf counts a round in which not even floor arrived.
func (s *search) deaf() pace {
	if s.rounds < 255 {
		s.rounds++
	}
	if s.echoes || !s.heard || s.rounds > roundsAgent {
		s.lost = true
	}
	return silence
}

// narrow goes on with a search, or ends it with what it found.
func (s *search) narrow() pace {
	if s.pivot() != 0 {
		return s.hurry()
	}
	if s.raising() && s.proven && s.lo <= s.mtu {
		s.phase, s.goal = sweeping, s.mtu
		return settled // as it was
	}
	// This lane carries it; the others are asked. Less than what is in force
	// counts at once, as packets are being dropped; more when all carry it.
	s.phase, s.goal, s.passed = sweeping, s.lo, 0
	s.mtu = min(s.mtu, s.goal)
	return s.pass()
}

// hinted takes in that somebody says that packets must not be larger than mtu;
// it reports whether that is worth a look.
func (s *search) hinted(mtu int) bool {
	if mtu < int(s.floor) || mtu >= int(s.full) {
		return false
	}
	if mtu >= int(s.mtu) && !s.raising() {
		return false // known
	}
	s.hint = uint16(mtu)
	return mtu < int(s.mtu)
}

// pivot is the size to ask for between lo and hi, 0 where they are close enough.
func (s *search) pivot() uint16 {
	between := func(v uint16) bool { return s.lo < v && v < s.hi }
	switch {
	case s.raising() && s.proven && s.lo == s.mtu: // does the smallest step up arrive?
		if up := s.mtu/grain*grain + grain; between(up) {
			return up
		}
	case between(s.hint):
		return s.hint
	case s.lo == s.hint && between(s.lo+1): // is the hint all there is?
		return s.lo + 1
	case s.lo < 1500 && s.hi > 2000: // one segment of Ethernet's own size
		return 1500
	}
	mid := (s.lo + (s.hi-s.lo)/2) / grain * grain
	switch {
	case between(mid):
		return mid
	case between(mid + grain):
		return mid + grain
	}
	return 0
}
