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
// take the rest, unless permitted is their key. A change of Global that would
// reset sessions waits until Everything is permitted, and all others wait with
// it, as they would be reset twice. A session that comes or goes waits for
// nobody. A range goes by the key of its template. Waiting is sorted by key.
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
	s := stage{inForce: inForce, established: established, permitted: permitted}
	now = wanted
	reasons := GlobalResets(inForce.Global, wanted.Global)
	if len(reasons) > 0 && s.anyUp() {
		now.Global, s.permitted = keepGlobal(inForce.Global, wanted.Global), ""
	}
	now.Sessions = slices.Clone(wanted.Sessions)
	for i, after := range now.Sessions {
		now.Sessions[i] = s.session(after)
	}
	now.Ranges = slices.Clone(wanted.Ranges)
	for i, after := range now.Ranges {
		now.Ranges[i].Template = s.template(after)
	}
	if len(reasons) > 0 && s.anyUp() {
		return now, []Waiting{{Key: Everything, Reasons: reasons}}
	}
	slices.SortFunc(s.waiting, func(a, b Waiting) int { return strings.Compare(a.Key, b.Key) })
	return now, s.waiting
}

// stage is one computation of Stage.
type stage struct {
	inForce     Desired
	established func(string) bool
	permitted   string
	waiting     []Waiting
}

func (s *stage) anyUp() bool {
	return slices.ContainsFunc(s.inForce.Sessions, func(x Session) bool { return s.established(x.Key) }) ||
		slices.ContainsFunc(s.inForce.Ranges, func(x Range) bool { return s.established(x.Template.Key) })
}

func (s *stage) session(after Session) Session {
	for _, before := range s.inForce.Sessions {
		if before.Key == after.Key {
			return s.turn(before, after)
		}
	}
	return after
}

func (s *stage) template(after Range) Session {
	for _, before := range s.inForce.Ranges {
		if before.Prefix == after.Prefix {
			return s.turn(before.Template, after.Template)
		}
	}
	return after.Template
}

// turn holds back what would reset a session before its turn has come.
func (s *stage) turn(before, after Session) Session {
	if after.HeldDown != "" && before.HeldDown == "" && before.Password != "" && s.established(after.Key) {
		return keep(before, after)
	}
	reasons := Resets(before, after)
	if len(reasons) == 0 || after.Key == s.permitted || !s.established(after.Key) {
		return after
	}
	s.waiting = append(s.waiting, Waiting{Key: after.Key, Reasons: reasons})
	return keep(before, after)
}
