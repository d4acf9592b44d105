package speaker

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends/bgp"
)

// GoBGP says that it rejected a route, not why. This file evaluates the same
// rules a second time, for people: its verdicts decide nothing.

// boundary is what "_" stands for in a regular expression over an AS path; the
// same as in GoBGP (ASPATH_REGEXP_MAGIC in its policy.go).
const boundary = "(^|[,{}() ]|$)"

// compileASPath compiles the field's notation.
func compileASPath(expr string) (*regexp.Regexp, error) {
	re, err := regexp.Compile(strings.ReplaceAll(expr, "_", boundary))
	if err != nil {
		return nil, fmt.Errorf("AS path expression %q: %w", expr, err)
	}
	return re, nil
}

// judge evaluates a session's rules on routes.
type judge struct {
	rules []bgp.Rule
	paths []*regexp.Regexp // for each rule, nil where it does not look at the path
}

// newJudge compiles rules. An error names the rule; such a session must not be
// configured, as one bad expression makes GoBGP refuse everybody's policies.
func newJudge(rules []bgp.Rule) (*judge, error) {
	j := &judge{rules: rules, paths: make([]*regexp.Regexp, len(rules))}
	for i, r := range rules {
		if err := checkRule(r); err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		if r.Match.ASPath == "" {
			continue
		}
		re, err := compileASPath(r.Match.ASPath)
		if err != nil {
			return nil, fmt.Errorf("rule %s: %w", r.Name, err)
		}
		j.paths[i] = re
	}
	return j, nil
}

func checkRule(r bgp.Rule) error {
	for _, p := range r.Match.Prefixes {
		switch {
		case !p.Prefix.IsValid():
			return fmt.Errorf("a prefix is missing")
		case p.Min > p.Max || p.Min < 0 || p.Max > p.Prefix.Addr().BitLen():
			return fmt.Errorf("prefix %s: lengths %d to %d are impossible", p.Prefix, p.Min, p.Max)
		}
	}
	return nil
}

// decide reports whether a route is accepted and by which rule that was
// decided. Communities that an earlier rule with action Next sets or removes
// count for the later ones, as they do in GoBGP.
func (j *judge) decide(p bgp.Path) (accepted bool, rule string) {
	communities := slices.Clone(p.Communities)
	large := slices.Clone(p.LargeCommunities)
	for i, r := range j.rules {
		if !j.matches(i, p, communities, large) {
			continue
		}
		if r.Action != bgp.Next {
			return r.Action == bgp.Accept, r.Name
		}
		communities = slices.DeleteFunc(communities, func(c bgp.Community) bool {
			return slices.Contains(r.Set.RemoveCommunities, c)
		})
		communities = append(communities, r.Set.Communities...)
		large = append(large, r.Set.LargeCommunities...)
	}
	return false, "no rule accepts it"
}

func (j *judge) matches(i int, p bgp.Path, communities []bgp.Community, large []bgp.LargeCommunity) bool {
	m := j.rules[i].Match
	if len(m.Prefixes) > 0 && !slices.ContainsFunc(m.Prefixes, func(r bgp.PrefixRange) bool { return inRange(r, p.Prefix) }) {
		return false
	}
	if len(m.Communities) > 0 && !slices.ContainsFunc(m.Communities, func(c bgp.Community) bool { return slices.Contains(communities, c) }) {
		return false
	}
	if len(m.LargeCommunities) > 0 && !slices.ContainsFunc(m.LargeCommunities, func(c bgp.LargeCommunity) bool { return slices.Contains(large, c) }) {
		return false
	}
	return j.paths[i] == nil || j.paths[i].MatchString(pathString(p.ASPath))
}

func inRange(r bgp.PrefixRange, p netip.Prefix) bool {
	return r.Min <= p.Bits() && p.Bits() <= r.Max && r.Prefix.Contains(p.Addr())
}

func pathString(path []uint32) string {
	words := make([]string, len(path))
	for i, asn := range path {
		words[i] = fmt.Sprint(asn)
	}
	return strings.Join(words, " ")
}
