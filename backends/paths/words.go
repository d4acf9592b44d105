package paths

import "strings"

// why is the reason for a choice.
type why uint8

const (
	whyNone     why = iota // nothing can be used
	whyFirst               // it is the most preferred
	whyBest                // those that are preferred cannot be had
	whyStable              // one that is preferred must be stable first
	whyProbe               // one that is preferred has answered no probe yet
	whyDoubtful            // nothing is Up
	whyKept                // it is not preferred any more, but no other can be had
)

func (e *entry) because(list *ways, to int, at moment) why {
	switch {
	case to < 0:
		return whyNone
	case list.all[to].state == Doubtful:
		return whyDoubtful
	case e.next != 0 && !e.ordered && e.held(e.next.bit()) > at:
		return whyStable
	case e.next != 0:
		return whyProbe
	case to >= list.preferred:
		return whyKept
	case to == 0:
		return whyFirst
	}
	return whyBest
}

// words are the reason for operators. Without the list they name no facts of the
// ways.
func (e *entry) words(list *ways) string {
	next := string(e.next.path().Kind)
	switch e.why {
	case whyFirst:
		if list != nil && list.all[0].reason != "" {
			return list.all[0].reason
		}
		return "the most preferred"
	case whyBest:
		if list != nil {
			return list.words(list.at(e.current))
		}
		return "what is preferred to it cannot be had"
	case whyStable:
		return next + " was lost and has to be stable first"
	case whyProbe:
		return next + " is there and has to answer a probe first"
	case whyDoubtful:
		if list != nil {
			return "no way is sure; " + list.all[list.at(e.current)].words()
		}
		return "no way is sure"
	case whyKept:
		if list != nil && list.preferred > 0 {
			return "it is to be left, but " + list.words(list.preferred)
		}
		return "it is to be left, but nothing else can be had"
	}
	if list == nil || list.n == 0 {
		return "no way is there"
	}
	return list.words(list.n)
}

// words say what is wrong with a way.
func (w *way) words() string {
	kind := string(w.code.path().Kind)
	switch {
	case w.state != Gone && w.verdict == Silent:
		return kind + ": probes get no answer"
	case w.reason != "":
		return kind + ": " + w.reason
	case w.state == Gone:
		return kind + " is not there"
	}
	return kind + " is in doubt"
}

// words say what is wrong with the first n ways.
func (l *ways) words(n int) string {
	texts := make([]string, n)
	for i := range texts {
		texts[i] = l.all[i].words()
	}
	return strings.Join(texts, "; ")
}
