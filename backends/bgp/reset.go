package bgp

import "github.com/weft-net/weft/fabric"

// Resets says why a session that is up must come down to change from old to
// new, in words; nothing where it can be changed in place. Both have one Key.
// What is not named here, a speaker must be able to change in place.
func Resets(before, after Session) []string { return nil }

// GlobalResets says why all sessions must come down for a change of what they
// share.
func GlobalResets(before, after Global) []string { return nil }

// Waiting is a change that waits for its turn.
type Waiting struct {
	Key     string // of the session; "*": all of them, Global changes
	Reasons []string
}

// Stage is what may be done now of what is wanted: sessions that are
// established and would be reset keep what they have of what resets them,
// unless permitted is their key. "*" permits a change of Global, and with it
// everything.
func Stage(inForce, wanted Desired, established func(key string) bool, permitted string) (now Desired, waiting []Waiting) {
	return wanted, nil
}

// Objects are what operators write.
type Objects struct {
	Spec *fabric.Spec
	BGP  *fabric.BGP
}

// DiffResets says, a line each, which sessions of which nodes a change of the
// objects would reset or end, and why.
func DiffResets(before, after Objects, nodes []*fabric.Peer) []string { return nil }
