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
// What is not named here, a speaker must be able to change in place: policies,
// next hops, limits, timers (which are those of the next session), descriptions.
func Resets(before, after Session) []string {
	var out []string
	for _, f := range sessionFields {
		if from, to := f.text(&before), f.text(&after); from != to {
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
	text func(*Session) string
}

func (f field) change(from, to string) string { return changes(f.name, from, to) }

func changes(name, from, to string) string {
	return fmt.Sprintf("%s changes from %s to %s", name, cmp.Or(from, "none"), cmp.Or(to, "none"))
}

// sessionFields must agree with keep, which carries them over.
var sessionFields = [...]field{
	{"the far end's address", func(s *Session) string { return addrText(s.Address) }},
	{"the interface", func(s *Session) string { return s.Interface }},
	{"the far end's AS", func(s *Session) string {
		if s.RemoteASN == 0 {
			return "any other"
		}
		return fmt.Sprint(s.RemoteASN)
	}},
	{"the local AS", func(s *Session) string { return number(s.LocalASN) }},
	{"the source address", func(s *Session) string { return addrText(s.SourceAddress) }},
	{"the source interface", func(s *Session) string { return s.SourceInterface }},
	{"the far end's port", func(s *Session) string { return number(uint32(s.Port)) }},
	{"passive", func(s *Session) string { return fmt.Sprint(s.Passive) }},
	{"multihop", func(s *Session) string { return number(uint32(s.Multihop)) }},
	{"gtsm", func(s *Session) string { return number(uint32(s.GTSM)) }},
	{"allowOwnASN", func(s *Session) string { return number(uint32(s.AllowOwnASN)) }},
	{"the set of families", func(s *Session) string { return familiesText(s.Families) }},
	{"being our reflector client", func(s *Session) string { return fmt.Sprint(s.ReflectorClient) }},
	{"the cluster id", func(s *Session) string { return addrText(s.ClusterID) }},
}

// keep gives after what would reset the session as before has it.
func keep(before, after Session) Session {
	after.Address, after.Interface = before.Address, before.Interface
	after.RemoteASN, after.LocalASN = before.RemoteASN, before.LocalASN
	after.SourceAddress, after.SourceInterface = before.SourceAddress, before.SourceInterface
	after.Port, after.Passive = before.Port, before.Passive
	after.Multihop, after.GTSM = before.Multihop, before.GTSM
	after.AllowOwnASN = before.AllowOwnASN
	after.Families = before.Families
	after.ReflectorClient, after.ClusterID = before.ReflectorClient, before.ClusterID
	after.Password, after.HeldDown = before.Password, before.HeldDown
	return after
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

// keepGlobal is keep for what all sessions share.
func keepGlobal(before, after Global) Global {
	after.ASN, after.RouterID = before.ASN, before.RouterID
	after.Listen, after.Port, after.Transit = before.Listen, before.Port, before.Transit
	return after
}
