package bgp

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// Resets says why a session that is up must come down to change from before to
// after, in words; nothing where it can be changed in place. Both have one Key.
// What is not in Opening, a speaker must be able to change in place: policies,
// next hops, limits, timers (which are those of the next session), descriptions.
func Resets(before, after Session) []string {
	return before.resets(&after.Opening)
}

// sessionResets is Resets for sessions that may be of objects with different
// names.
func sessionResets(before, after *Session) []string {
	reasons := before.resets(&after.Opening)
	if before.Key != after.Key {
		reasons = append(reasons, changes("the object's name", objectOf(before), objectOf(after)))
	}
	return reasons
}

// objectOf is the name of a session's BGPPeer object.
func objectOf(s *Session) string {
	object, _, _ := strings.Cut(s.Key, "/")
	return object
}

// predecessors finds for each session that comes the one whose place it takes,
// nil where there is none: the one with its key, else one with its far end that
// nobody else follows. Those that nobody follows are gone. Both lists are sorted
// by key.
func predecessors(before, after []Session) (of []*Session, gone []*Session) {
	of = make([]*Session, len(after))
	var fresh []int
	i := 0
	for j := range after {
		for ; i < len(before) && before[i].Key < after[j].Key; i++ {
			gone = append(gone, &before[i])
		}
		if i < len(before) && before[i].Key == after[j].Key {
			of[j] = &before[i]
			i++
		} else {
			fresh = append(fresh, j)
		}
	}
	for ; i < len(before); i++ {
		gone = append(gone, &before[i])
	}
	if len(gone) == 0 || len(fresh) == 0 {
		return of, gone
	}
	type farEnd struct {
		addr  netip.Addr
		iface string
	}
	at := make(map[farEnd]int, len(gone))
	for i, s := range gone {
		at[farEnd{s.Address, s.Interface}] = i
	}
	for _, j := range fresh {
		far := farEnd{after[j].Address, after[j].Interface}
		if i, ok := at[far]; ok {
			of[j], gone[i] = gone[i], nil
			delete(at, far)
		}
	}
	return of, slices.DeleteFunc(gone, func(s *Session) bool { return s == nil })
}

func (before *Opening) resets(after *Opening) []string {
	if *before == *after {
		return nil
	}
	var out []string
	for _, f := range sessionFields {
		if from, to := f.text(before), f.text(after); from != to {
			out = append(out, f.change(from, to))
		}
	}
	if before.Password != after.Password {
		out = append(out, "the password changes")
	}
	if before.HeldDown != after.HeldDown {
		out = append(out, cmp.Or(after.HeldDown, "it is no longer held down"))
	}
	return out
}

// field is one that is told when a session is opened, or by which the
// connection is made. Its text shows two values apart; empty: not set.
type field struct {
	name string
	text func(*Opening) string
}

func (f field) change(from, to string) string { return changes(f.name, from, to) }

func changes(name, from, to string) string {
	return fmt.Sprintf("%s changes from %s to %s", name, cmp.Or(from, "none"), cmp.Or(to, "none"))
}

// sessionFields are those of Opening, but for the password and what holds the
// session down.
var sessionFields = [...]field{
	{"the far end's address", func(s *Opening) string { return addrText(s.Address) }},
	{"the interface", func(s *Opening) string { return s.Interface }},
	{"the far end's AS", func(s *Opening) string {
		if s.RemoteASN == 0 {
			return "any other"
		}
		return fmt.Sprint(s.RemoteASN)
	}},
	{"the local AS", func(s *Opening) string { return number(s.LocalASN) }},
	{"the source address", func(s *Opening) string { return addrText(s.SourceAddress) }},
	{"the source interface", func(s *Opening) string { return s.SourceInterface }},
	{"the far end's port", func(s *Opening) string { return number(uint32(s.Port)) }},
	{"passive", func(s *Opening) string { return fmt.Sprint(s.Passive) }},
	{"multihop", func(s *Opening) string { return number(uint32(s.Multihop)) }},
	{"gtsm", func(s *Opening) string { return number(uint32(s.GTSM)) }},
	{"allowOwnASN", func(s *Opening) string { return number(uint32(s.AllowOwnASN)) }},
	{"the set of families", func(s *Opening) string { return familiesText(s.Families) }},
	{"being our reflector client", func(s *Opening) string { return fmt.Sprint(s.ReflectorClient) }},
	{"the cluster id", func(s *Opening) string { return addrText(s.ClusterID) }},
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func number(n uint32) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprint(n)
}

func familiesText(of fabric.PerFamily[bool]) string {
	var out []string
	for _, f := range fabric.Families {
		if of.Get(f) {
			out = append(out, f.String())
		}
	}
	return strings.Join(out, "+")
}

// GlobalResets says why all sessions must come down for a change of what they
// share.
func GlobalResets(before, after Global) []string {
	var out []string
	for _, f := range []struct{ name, from, to string }{
		{"the AS", number(before.ASN), number(after.ASN)},
		{"the BGP identifier", addrText(before.RouterID), addrText(after.RouterID)},
		{"the set of addresses to listen on", addrsText(before.Listen), addrsText(after.Listen)},
		{"the port to listen on", number(uint32(before.Port)), number(uint32(after.Port))},
		{"transit", fmt.Sprint(before.Transit), fmt.Sprint(after.Transit)},
	} {
		if f.from != f.to {
			out = append(out, changes(f.name, f.from, f.to))
		}
	}
	return out
}

func addrsText(addrs []netip.Addr) string {
	if len(addrs) == 0 {
		return "all"
	}
	texts := make([]string, len(addrs))
	for i, a := range slices.SortedFunc(slices.Values(addrs), netip.Addr.Compare) {
		texts[i] = a.String()
	}
	return strings.Join(texts, ", ")
}

// keepGlobal gives after what would reset the sessions as before has it.
func keepGlobal(before, after Global) Global {
	after.ASN, after.RouterID = before.ASN, before.RouterID
	after.Listen, after.Port, after.Transit = before.Listen, before.Port, before.Transit
	return after
}
