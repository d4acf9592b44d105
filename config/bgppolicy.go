package config

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// What a rule may decide.
const (
	ActionAccept = "accept"
	ActionReject = "reject"
	ActionNext   = "next"
)

const (
	maxRules = 256
	maxItems = 4096 // of a list in a rule
)

func newBGPPolicy() *fabric.BGPPolicySpec { return new(fabric.BGPPolicySpec) }

// completeBGPPolicy writes out the end of a range of lengths that is left open,
// and addresses in the form in which they are compared.
func completeBGPPolicy(s *fabric.BGPPolicySpec) {
	for _, rule := range s.Rules {
		for i, peer := range rule.Match.Peers {
			if a, err := netip.ParseAddr(peer); err == nil {
				rule.Match.Peers[i] = a.String()
			}
		}
		for i := range rule.Match.Prefixes {
			r := &rule.Match.Prefixes[i]
			switch {
			case !r.Prefix.IsValid() || r.Min == 0 && r.Max == 0:
			case r.Max == 0:
				r.Max = r.Prefix.Addr().BitLen()
			case r.Min == 0:
				r.Min = r.Prefix.Bits()
			}
		}
	}
}

func validateBGPPolicy(s *fabric.BGPPolicySpec) *problem {
	switch n := len(s.Rules); {
	case n == 0:
		return problemf("rules", "is missing, want at least one (like {match: {communities: [no-export]}, action: reject})")
	case n > maxRules:
		return problemf("rules", "has %d rules, want %d at most", n, maxRules)
	}
	for i := range s.Rules {
		if err := validateRule(item("rules", i), &s.Rules[i]); err != nil {
			return err
		}
	}
	return nil
}

func validateRule(path string, r *fabric.BGPRule) *problem {
	known := []string{ActionAccept, ActionReject, ActionNext}
	sets := len(r.Set.RemoveCommunities)+len(r.Set.Communities)+len(r.Set.LargeCommunities) > 0 ||
		r.Set.MED != nil || r.Set.LocalPreference != nil || r.Set.Prepend != 0
	switch {
	case r.Action == "":
		return problemf(join(path, "action"), "is missing, want accept, reject or next")
	case !slices.Contains(known, r.Action):
		return problemf(join(path, "action"), "%q is not one of accept, reject, next%s", r.Action, didYouMean(nearest(r.Action, known)))
	case r.Action == ActionReject && sets:
		return problemf(join(path, "set"), "changes what the rule rejects")
	case r.Action == ActionNext && !sets:
		return problemf(join(path, "action"), "next does nothing where set is empty")
	}
	if err := validateMatch(join(path, "match"), &r.Match); err != nil {
		return err
	}
	set := join(path, "set")
	if err := validateCommunities(join(set, "removeCommunities"), r.Set.RemoveCommunities, ParseCommunity); err != nil {
		return err
	}
	return validateAttributes(set, &r.Set.BGPAttributes)
}

func validateMatch(path string, m *fabric.BGPMatch) *problem {
	if n := max(len(m.Prefixes), len(m.Communities), len(m.LargeCommunities), len(m.Peers)); n > maxItems {
		return problemf(path, "has a list of %d, want %d at most", n, maxItems)
	}
	for i, r := range m.Prefixes {
		if err := validatePrefixRange(item(join(path, "prefixes"), i), r); err != nil {
			return err
		}
	}
	if err := validateCommunities(join(path, "communities"), m.Communities, ParseCommunity); err != nil {
		return err
	}
	if err := validateCommunities(join(path, "largeCommunities"), m.LargeCommunities, ParseLargeCommunity); err != nil {
		return err
	}
	if m.ASPath != "" {
		if _, err := ParseASPath(m.ASPath); err != nil {
			return problemf(join(path, "asPath"), "%v", err)
		}
	}
	for i, peer := range m.Peers {
		at := item(join(path, "peers"), i)
		a, err := netip.ParseAddr(peer)
		if err == nil {
			if err := checkPeerAddress(a.WithZone("")); err != nil && !a.IsLinkLocalUnicast() {
				return problemf(at, "%v", err)
			}
			continue
		}
		if _, err := parseNodeName(peer); err != nil {
			return problemf(at, "%q is neither the name of a BGPPeer nor an address", peer)
		}
	}
	return nil
}

func validatePrefixRange(path string, r fabric.BGPPrefixRange) *problem {
	if err := validatePrefix(join(path, "prefix"), r.Prefix); err != nil {
		return err
	}
	bits, longest := r.Prefix.Bits(), r.Prefix.Addr().BitLen()
	switch {
	case r.Min == 0 && r.Max == 0:
	case r.Min < bits:
		return problemf(join(path, "min"), "%d is shorter than %s itself (%d to %d)", r.Min, r.Prefix, bits, longest)
	case r.Max > longest:
		return problemf(join(path, "max"), "%d is out of range (%d to %d)", r.Max, bits, longest)
	case r.Min > r.Max:
		return problemf(join(path, "max"), "%d is less than min (%d)", r.Max, r.Min)
	}
	return nil
}
