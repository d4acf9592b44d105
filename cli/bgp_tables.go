package cli

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

const stateEstablished = "established"

// established counts the sessions that are, and all.
func established(sessions []api.BGPSession) (up, all int) {
	for _, s := range sessions {
		if s.State == stateEstablished {
			up++
		}
	}
	return up, len(sessions)
}

// announced counts the routes of this node's own that go out.
func announced(b *api.BGP) int {
	n := 0
	for _, x := range b.Announced {
		if x.Withheld == "" {
			n++
		}
	}
	return n
}

// sum adds a count over the families of a session.
func sum(s api.BGPSession, of func(api.BGPSessionFamily) uint64) string {
	var n uint64
	for _, f := range fabric.Families {
		n += of(s.Families.Get(f))
	}
	return strconv.FormatUint(n, 10)
}

func accepted(f api.BGPSessionFamily) uint64   { return f.Accepted }
func rejected(f api.BGPSessionFamily) uint64   { return f.Rejected }
func advertised(f api.BGPSessionFamily) uint64 { return f.Advertised }
func stale(f api.BGPSessionFamily) uint64      { return f.Stale }

// asn writes a number that is 0 while it is not known.
func asn(n uint32) string {
	if n == 0 {
		return "-"
	}
	return strconv.FormatUint(uint64(n), 10)
}

func sessionsTable(sessions []api.BGPSession, now time.Time, wide bool) *table {
	head := []string{"SESSION…", "AS", "STATE", "FOR", "IN", "REJECTED", "OUT", "FLAPS"}
	if wide {
		head = append(head, "STALE", "FAMILIES", "HOLD", "ADDRESS", "ROUTER-ID", "REASON")
	}
	t := newTable(wide, head...)
	for _, s := range sessions {
		since := "-"
		if !s.Since.IsZero() {
			since = span(now.Sub(s.Since))
		}
		state := s.State
		if s.Restarting {
			state = "restarting"
		}
		cells := []string{s.Key, asn(s.RemoteASN), state, since, sum(s, accepted), sum(s, rejected), sum(s, advertised), strconv.FormatUint(s.Flaps, 10)}
		if wide {
			hold := "-"
			if s.Hold != 0 {
				hold = s.Hold.String()
			}
			cells = append(cells, sum(s, stale), familiesWords(s), hold, text(s.Address), text(s.RouterID), cmp.Or(s.Reason, "-"))
		}
		t.add(cells...)
	}
	return t
}

// familiesWords are the families on a session; "ipv4..." has not told all yet.
func familiesWords(s api.BGPSession) string {
	var out []string
	for _, f := range fabric.Families {
		switch x := s.Families.Get(f); {
		case x.Negotiated && x.EndOfRIB:
			out = append(out, f.String())
		case x.Negotiated:
			out = append(out, f.String()+"...")
		}
	}
	return cmp.Or(strings.Join(out, " "), "-")
}

// text writes an address, "-" if it is none.
func text(a interface {
	IsValid() bool
	fmt.Stringer
}) string {
	if !a.IsValid() {
		return "-"
	}
	return a.String()
}

// bgpText is the speaker's state in words, around the table of its sessions.
func bgpText(b *api.BGP, now time.Time, wide bool) string {
	var out strings.Builder
	say := sayer(&out, wide)
	if !b.Enabled {
		return "this fabric does not use BGP: its backend is another\n"
	}
	say("speaker", speakerWords(b)...)
	say("announces", announcedWords(b)...)
	say("kernel", fibWords(b.FIB))
	if b.Drain != nil {
		say("drain", drainWords(*b.Drain))
	}
	for _, p := range b.Pending {
		say("waiting", p)
	}
	for _, p := range b.Problems {
		say("problem", fmt.Sprintf("%s: %s", p.Key, p.Reason))
	}
	if len(b.Sessions) == 0 {
		out.WriteString("\nno BGPPeer object gives this host a session\n")
		return out.String()
	}
	out.WriteString("\n" + sessionsTable(b.Sessions, now, wide).String())
	gap := "\n"
	for _, s := range b.Sessions {
		if wide || s.State == stateEstablished && !s.Restarting {
			continue
		}
		out.WriteString(gap)
		gap = ""
		reason := s.Key + ": " + cmp.Or(s.Reason, "the far end has not answered yet")
		out.WriteString(strings.Join(wrap(reason, screen-2), "\n  ") + "\n")
	}
	return out.String()
}

func speakerWords(b *api.BGP) []string {
	var out []string
	if b.ASN != 0 {
		out = append(out, fmt.Sprintf("AS %d, router id %s, %s", b.ASN, text(b.RouterID), b.State))
	} else {
		out = append(out, b.State)
	}
	if b.Reason != "" {
		out = append(out, b.Reason)
	}
	return out
}

// announcedWords says what goes out and what does not, and why.
func announcedWords(b *api.BGP) []string {
	var out, withheld []string
	for _, x := range b.Announced {
		if x.Withheld != "" {
			withheld = append(withheld, fmt.Sprintf("not %s (%s): %s", x.Prefix, x.Why, x.Withheld))
			continue
		}
		out = append(out, fmt.Sprintf("%s (%s)", x.Prefix, x.Why))
	}
	return append([]string{cmp.Or(strings.Join(out, ", "), "nothing")}, withheld...)
}

func fibWords(f api.BGPFIB) string {
	words := fmt.Sprintf("%s over %s", count(f.Routes, "route", "routes"), count(f.Groups, "set of next hops", "sets of next hops"))
	for _, more := range []struct {
		n    int
		what string
	}{
		{f.Lacking, "not in the kernel"}, {f.Refused, "refused (see `weft bgp why PREFIX`)"}, {f.Retained, "kept of an earlier life until all peers have told all"},
	} {
		if more.n > 0 {
			words += fmt.Sprintf(", %d %s", more.n, more.what)
		}
	}
	return words
}

// bgpWords is the speaker in one line, for `weft status`.
func bgpWords(b *api.BGP) string {
	up, all := established(b.Sessions)
	words := fmt.Sprintf("%d of %s established, %s", up, count(all, "session", "sessions"), count(b.FIB.Routes, "route", "routes"))
	if b.FIB.Lacking > 0 {
		words += fmt.Sprintf(", %d not in the kernel", b.FIB.Lacking)
	}
	if b.ASN != 0 {
		words = fmt.Sprintf("AS %d, %s", b.ASN, words)
	}
	if b.State != "running" {
		words = b.State + ": " + words
	}
	if b.Drain != nil {
		words += ", drained: " + cmp.Or(b.Drain.State, "wanted")
	}
	return words
}

// fault is the first station that is at fault: the cause.
func fault(w *api.Why) *api.Station {
	i := slices.IndexFunc(w.Stations, func(s api.Station) bool { return s.State == "fault" })
	if i < 0 {
		return nil
	}
	return &w.Stations[i]
}

func whyText(w *api.Why, wide bool) string {
	var b strings.Builder
	title := w.Prefix.String()
	if w.Owner != "" {
		title += " of " + w.Owner
	}
	b.WriteString(title + "\n\n")
	say := sayer(&b, wide)
	for _, s := range w.Stations {
		state := s.State
		if state == "fault" {
			state = "FAULT"
		}
		say(s.Name, state+": "+s.Detail)
	}
	switch f := fault(w); {
	case f != nil:
		fmt.Fprintf(&b, "\nthe way ends at %q\n", f.Name)
	case slices.ContainsFunc(w.Stations, func(s api.Station) bool { return s.State == "unknown" }):
		b.WriteString("\nno fault can be seen from this host\n")
	default:
		b.WriteString("\nall is well\n")
	}
	return b.String()
}
