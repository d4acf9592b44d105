package bgp

import (
	"slices"
	"strings"
)

// Waiting is a change that waits for its turn.
type Waiting struct {
	Key     string // of the session or a range's template; Everything: Global changes
	Reasons []string
}

// Everything permits a change of Global, and with it every other.
const Everything = "*"

// Stage is what may be done now of what is wanted: sessions that are
// established and would be reset keep what they have of what resets them, and
// take the rest, unless permitted is their key. So does one whose object has
// another name now: to a speaker that is another session with the same far end,
// so it keeps its key. A change of Global that would reset sessions waits until
// Everything is permitted, and all others wait with it, as they would be reset
// twice. A session that comes or goes waits for nobody.
//
// A range goes by the key of its template: established says for this key
// whether a session that came out of the range is. Keys are those in force;
// waiting is sorted by them.
//
// A session whose password's file cannot be read any more goes on with the
// password that it was opened with: that the file is gone is no reason to lose
// the routes. One that had none is held down when its turn comes.
func Stage(inForce, wanted Desired, established func(key string) bool, permitted string) (now Desired, waiting []Waiting) {
	switch {
	case wanted.Global.ASN == 0:
		return inForce, nil // too little is known to change anything
	case permitted == Everything || inForce.Global.ASN == 0:
		return wanted, nil
	}
	s := stage{established: established, permitted: permitted}
	now = wanted
	reasons := GlobalResets(inForce.Global, wanted.Global)
	all := len(reasons) > 0 && s.anyUp(inForce)
	if all {
		now.Global, s.permitted = keepGlobal(inForce.Global, wanted.Global), ""
	}
	now.Sessions = s.sessions(inForce.Sessions, wanted.Sessions)
	now.Ranges = s.ranges(inForce.Ranges, wanted.Ranges)
	if all {
		return now, []Waiting{{Key: Everything, Reasons: reasons}}
	}
	slices.SortFunc(s.waiting, func(a, b Waiting) int { return strings.Compare(a.Key, b.Key) })
	return now, s.waiting
}

// stage is one computation of Stage.
type stage struct {
	established func(string) bool
	permitted   string
	waiting     []Waiting
}

func (s *stage) anyUp(d Desired) bool {
	return slices.ContainsFunc(d.Sessions, func(x Session) bool { return s.established(x.Key) }) ||
		slices.ContainsFunc(d.Ranges, func(x Range) bool { return s.established(x.Template.Key) })
}

func (s *stage) sessions(inForce, wanted []Session) []Session {
	out := slices.Clone(wanted)
	before, _ := predecessors(inForce, wanted)
	for i := range out {
		if before[i] != nil {
			s.turn(before[i], &out[i], sessionResets(before[i], &out[i]))
		}
	}
	return sortedSessions(out) // some may have kept an earlier key
}

func (s *stage) ranges(inForce, wanted []Range) []Range {
	out := slices.Clone(wanted)
	for i := range out {
		to := &out[i].Template
		for j := range inForce {
			if before := &inForce[j].Template; inForce[j].Prefix == out[i].Prefix {
				s.turn(before, to, Resets(*before, *to))
			}
		}
	}
	return out
}

// turn holds back in a session what would reset it before its turn has come.
func (s *stage) turn(before, after *Session, reasons []string) {
	if len(reasons) == 0 || !s.established(before.Key) {
		return
	}
	unreadable := after.HeldDown != "" && before.HeldDown == "" && before.Password != ""
	if before.Key == s.permitted && !unreadable {
		return
	}
	if !unreadable {
		s.waiting = append(s.waiting, Waiting{Key: before.Key, Reasons: reasons})
	}
	after.Key, after.Opening = before.Key, before.Opening
}
