package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
)

const (
	// sayEvery is how often a follower that writes to a file says how far it is.
	sayEvery = 10 * time.Second
	// stuckAfter is how long nothing may move before the follower names who it
	// waits for, whatever it writes to.
	stuckAfter = 30 * time.Second
)

// ending is how a migration came out, for whoever follows it.
type ending uint8

const (
	endNone    ending = iota // it goes on
	endReached               // what was asked for
	endRefused               // a check failed
	endPaused
	endTurned // somebody else took it back
	endGone   // the record is gone: somebody ended it
)

// story tells a migration from one snapshot to the next. It is pure but for
// what it remembers having told.
type story struct {
	undo    bool // what is waited for is that all is as it was
	watched bool // only looked at: whoever began it takes it away
	checked bool // the checks are told
	phase   string
	left    map[string]string // by name: why they take no part
	since   time.Time         // of the phase
	first   int               // peers moved when it began

	moved    time.Time // when anything last changed
	progress string    // as it was then
	stuck    bool      // it was said
}

// chapter is what a snapshot adds.
type chapter struct {
	text string // lines that stay
	// line is how far it is now, with the word in its margin; both empty: there
	// is nothing to wait for.
	what, line string
	end        ending
}

// tell compares a snapshot with what was told.
func (s *story) tell(snap *fabric.Snapshot, now time.Time) chapter {
	var b strings.Builder
	say := sayer(&b, false)
	t := tallyOf(snap)
	s.tellLeft(t, say)
	if t.Phase == fabric.PhaseRefused || !s.checked && t.Phase != fabric.PhaseChecking && !snap.Migration.Undo {
		s.checked = true
		b.WriteString(checksText(snap))
	}
	if t.Phase != s.phase {
		s.tellPhase(t, now, say)
	}
	c := chapter{end: s.end(t)}
	c.what, c.line = s.line(t, now)
	if s.lingers(t, c.line, now) {
		say("waits", t.waitWords(now)...)
	}
	if c.end == endPaused {
		say("paused", pauseWords(t.Pause, now)...)
	}
	c.text = b.String()
	return c
}

// tellLeft names nodes that take no part, each once for each reason.
func (s *story) tellLeft(t tally, say func(string, ...string)) {
	by := map[string][]string{}
	next := map[string]string{}
	for name, why := range t.why {
		next[name] = why
		if s.left[name] != why {
			by[why] = append(by[why], name)
		}
	}
	var back []string
	for name := range s.left {
		if next[name] == "" {
			back = append(back, name)
		}
	}
	s.left = next
	for _, why := range []string{whyGone, whyOld} {
		if names := by[why]; len(names) > 0 && !(s.undo && why == whyOld) {
			say("left out", fmt.Sprintf("%s: %s", some(names, 3), why))
		}
	}
	if len(back) > 0 {
		say("joins", fmt.Sprintf("%s: takes part again", some(back, 3)))
	}
}

// tellPhase closes the phase that was and opens the next.
func (s *story) tellPhase(t tally, now time.Time, say func(string, ...string)) {
	was := s.phase
	switch t.Phase {
	case fabric.PhaseMoving:
		if was == fabric.PhaseArming || was == fabric.PhaseChecking {
			say("armed", count(t.nodes, "node receives", "nodes receive")+" both the old way and the new one")
		}
	case fabric.PhaseMoved:
		text := fmt.Sprintf("%s the new way, %s in all", count(t.done, "node sends", "nodes send"), count(t.peersDone, "peer", "peers"))
		if was == fabric.PhaseMoving && now.Sub(s.since) >= time.Second {
			text += ", in " + span(now.Sub(s.since))
		}
		say("moved", text)
	case fabric.PhaseUndoing:
		if !s.undo {
			say("undoing", "somebody takes it back: the nodes return to the old way")
		}
	case fabric.PhaseUndone:
		say("undone", "every node sends the old way")
	}
	s.phase, s.since, s.first = t.Phase, now, t.peersDone
}

// lingers reports, once each time, that nothing has changed for long.
func (s *story) lingers(t tally, line string, now time.Time) bool {
	progress := fmt.Sprint(t.Phase, t.Waiting, t.peersDone, t.answered, t.armed)
	switch {
	case progress != s.progress:
		s.progress, s.moved, s.stuck = progress, now, false
	case !s.stuck && line != "" && now.Sub(s.moved) >= stuckAfter:
		s.stuck = true
		return true
	}
	return false
}

func (s *story) end(t tally) ending {
	switch {
	case t.Pause != nil:
		return endPaused
	case s.undo && t.Phase == fabric.PhaseUndone:
		return endReached
	case t.Phase == fabric.PhaseUndone:
		return endTurned
	case t.Phase == fabric.PhaseRefused:
		return endRefused
	case t.Phase == fabric.PhaseMoved || t.Phase == fabric.PhaseChecked:
		return endReached
	}
	return endNone
}

// line says how far the phase is, with the word for its margin.
func (s *story) line(t tally, now time.Time) (what, text string) {
	switch t.Phase {
	case fabric.PhaseChecking:
		text = fmt.Sprintf("%d of %s looked", t.answered, count(t.nodes, "node has", "nodes have"))
	case fabric.PhaseArming:
		text = fmt.Sprintf("%d of %s both ways", t.armed, count(t.nodes, "node receives", "nodes receive"))
	case fabric.PhaseMoving:
		text = fmt.Sprintf("%d of %s, %d of %s", t.done, count(t.movers, "node", "nodes"), t.peersDone, count(t.peersAll, "peer", "peers"))
		text += s.estimate(t.peersAll-t.peersDone, t.peersDone-s.first, t.rate, now)
	case fabric.PhaseUndoing:
		text = fmt.Sprintf("%s and %s to go back", count(len(t.Waiting), "node", "nodes"), count(t.peersDone, "peer", "peers"))
		text += s.estimate(t.peersDone, s.first-t.peersDone, t.rate, now)
	default:
		return "", ""
	}
	if who := cmp.Or(t.busy, t.first()); who != "" {
		text += "; " + who
	}
	return t.Phase, text
}

// estimate says how long the rest takes, by how long it took so far, or by the
// rate that was asked for where that says nothing yet.
func (s *story) estimate(rest, done, rate int, now time.Time) string {
	took := now.Sub(s.since)
	var left time.Duration
	switch {
	case rest <= 0:
		return ""
	case done > 0 && took > time.Second:
		left = time.Duration(float64(took) / float64(done) * float64(rest))
	case rate > 0:
		left = time.Duration(rest) * time.Second / time.Duration(rate)
	}
	return fmt.Sprintf(", about %s left", span(max(left.Round(time.Second), time.Second)))
}

// some lists the first few names and counts the rest.
func some(names []string, most int) string {
	names = slices.Sorted(slices.Values(names))
	text := strings.Join(names[:min(most, len(names))], ", ")
	if more := len(names) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
