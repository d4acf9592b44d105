package bgp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// describe writes a plan for a person, leaving out what is not set.
func describe(d Desired, problems []fabric.Problem) string {
	var b strings.Builder
	g := d.Global
	if g.ASN == 0 {
		b.WriteString("too little is known\n")
	} else {
		fmt.Fprintf(&b, "speaker AS %d id %s port %d multipath %d restart %s long-lived %s\n", g.ASN, g.RouterID, g.Port, g.Multipath, g.RestartTime, g.LongLived)
	}
	for _, a := range d.Announcements {
		fmt.Fprintf(&b, "announce %s (%s)%s\n", a.Prefix, a.Why, attributesText(a.Attributes))
	}
	for _, s := range d.Sessions {
		b.WriteString("session " + s.Key + "\n" + indent("  ", sessionText(s)))
	}
	for _, r := range d.Ranges {
		fmt.Fprintf(&b, "range %s as %s\n%s", r.Prefix, r.Template.Key, indent("  ", sessionText(r.Template)))
	}
	for _, p := range problems {
		fmt.Fprintf(&b, "problem %s: %s\n", p.Key, p.Reason)
	}
	return b.String()
}

func describeWithheld(list []Withheld) string {
	var b strings.Builder
	for _, w := range list {
		fmt.Fprintf(&b, "withhold %s (%s): %s\n", w.Prefix, w.Why, w.Reason)
	}
	return b.String()
}

func sessionText(s Session) string {
	var b strings.Builder
	words := []string{"to", addrText(s.Address), s.Interface}
	for _, f := range []struct {
		name, value string
	}{
		{"remote AS", number(s.RemoteASN)}, {"local AS", number(s.LocalASN)}, {"port", number(uint32(s.Port))},
		{"from", addrText(s.SourceAddress)}, {"from", s.SourceInterface}, {"multihop", number(uint32(s.Multihop))},
		{"gtsm", number(uint32(s.GTSM))}, {"allow own AS", number(uint32(s.AllowOwnASN))},
		{"families", familiesText(s.Families)}, {"cluster", addrText(s.ClusterID)},
		{"password", s.Password.String()}, {"held down:", s.HeldDown},
	} {
		if f.value != "" {
			words = append(words, f.name, f.value)
		}
	}
	for name, set := range map[string]bool{"passive": s.Passive} {
		if set {
			words = append(words, name)
		}
	}
	if s.NextHopSelf {
		words = append(words, "next-hop-self")
	}
	if s.ReflectorClient {
		words = append(words, "our client")
	}
	b.WriteString(strings.Join(strings.Fields(strings.Join(words, " ")), " ") + "\n")
	fmt.Fprintf(&b, "hold %s keepalive %s retry %s at most %d prefixes\n", s.Hold, s.Keepalive, s.ConnectRetry, s.MaxPrefixes)
	if s.Description != "" {
		fmt.Fprintf(&b, "described as %s\n", s.Description)
	}
	for _, r := range s.Import {
		b.WriteString("in  " + ruleText(r) + "\n")
	}
	for _, r := range s.Export {
		b.WriteString("out " + ruleText(r) + "\n")
	}
	return b.String()
}

func ruleText(r Rule) string {
	words := []string{r.Name + ":"}
	for _, p := range r.Match.Prefixes {
		words = append(words, fmt.Sprintf("%s[%d-%d]", p.Prefix, p.Min, p.Max))
	}
	for _, c := range r.Match.Communities {
		words = append(words, c.text())
	}
	for _, c := range r.Match.LargeCommunities {
		words = append(words, c.text())
	}
	if r.Match.ASPath != "" {
		words = append(words, "path "+r.Match.ASPath)
	}
	if len(words) == 1 {
		words = append(words, "everything")
	}
	for _, c := range r.Set.RemoveCommunities {
		words = append(words, "remove", c.text())
	}
	set := attributesText(r.Set.Attributes)
	action := map[Action]string{Accept: "accept", Reject: "reject", Next: "next"}[r.Action]
	return strings.Join(words, " ") + set + " => " + action
}

func attributesText(a Attributes) string {
	var b strings.Builder
	for _, c := range a.Communities {
		b.WriteString(" +" + c.text())
	}
	for _, c := range a.LargeCommunities {
		b.WriteString(" +" + c.text())
	}
	if a.MED != nil {
		fmt.Fprintf(&b, " med=%d", *a.MED)
	}
	if a.LocalPreference != nil {
		fmt.Fprintf(&b, " preference=%d", *a.LocalPreference)
	}
	if a.Prepend != 0 {
		fmt.Fprintf(&b, " prepend=%d", a.Prepend)
	}
	return b.String()
}

func (c Community) text() string { return fmt.Sprintf("%d:%d", c>>16, c&0xffff) }

func (c LargeCommunity) text() string { return fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2) }

func indent(by, text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		b.WriteString(by + line)
	}
	return b.String()
}

func sortedText(words []string) string {
	slices.Sort(words)
	return strings.Join(words, " + ")
}
