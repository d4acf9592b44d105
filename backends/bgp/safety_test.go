package bgp

import (
	"cmp"
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// decides is what rules come to for a route: that of the first that matches
// and does not say next. Paths are not looked at: a rule that asks for one may
// match, so both ways must be safe.
func decides(rules []Rule, p netip.Prefix, tags []Community, paths bool) Action {
	for _, r := range rules {
		in := func(x PrefixRange) bool {
			return inside(p, x.Prefix) && p.Bits() >= x.Min && p.Bits() <= x.Max
		}
		tagged := func(c Community) bool { return slices.Contains(tags, c) }
		m := r.Match
		if len(m.Prefixes) > 0 && !slices.ContainsFunc(m.Prefixes, in) ||
			len(m.Communities) > 0 && !slices.ContainsFunc(m.Communities, tagged) ||
			len(m.LargeCommunities) > 0 || m.ASPath != "" && !paths || r.Action == Next {
			continue
		}
		return r.Action
	}
	return Accept // the rules must be complete, so this is a fault
}

// The defaults let in what the fabric needs and nothing else.
func TestDefaultImport(t *testing.T) {
	f := factsOf(parsed(t, dualStack+tors), node(1))
	f.Gateways = []netip.Addr{addr("198.18.0.254")}
	d, _ := Plan(f)
	for p, want := range map[string]Action{
		"10.244.2.0/24": Accept, "10.244.0.0/16": Accept, "10.244.0.0/20": Accept, "fd00:244:0:2::/64": Accept,
		"10.244.1.0/24":     Reject, // our own
		"10.244.1.7/32":     Reject,
		"10.244.2.0/25":     Reject, // longer than a lease
		"10.244.2.7/32":     Reject,
		"10.0.0.0/8":        Reject, // more than the network
		"0.0.0.0/0":         Reject,
		"::/0":              Reject,
		"198.18.0.0/24":     Reject, // the management network, connected ones
		"192.0.2.0/24":      Reject,
		"fd00:244:0:1::/64": Reject,
		"fd00::/16":         Reject,
	} {
		for _, tags := range [][]Community{nil, {GracefulShutdown}} {
			if got := decides(d.Sessions[0].Import, prefix(p), tags, true); got != want {
				t.Errorf("%s %v: got %d, want %d", p, tags, got, want)
			}
		}
	}
}

// A lease that is longer than new ones would be is in force still.
func TestEarlierLeasesAreLetIn(t *testing.T) {
	other := node(2)
	other.Subnets = append(other.Subnets, fabric.Subnet{Prefix: prefix("10.244.7.64/26"), Owner: other.ID})
	f := factsOf(parsed(t, ipv4Only+tors), node(1), node(1), other)
	f.Gateways = []netip.Addr{addr("198.18.0.254")}
	d, _ := Plan(f)
	for p, want := range map[string]Action{"10.244.7.64/26": Accept, "10.244.2.0/24": Accept, "10.244.7.64/27": Reject} {
		if got := decides(d.Sessions[0].Import, prefix(p), nil, true); got != want {
			t.Errorf("%s: got %d, want %d", p, got, want)
		}
	}
}

func TestDefaultExport(t *testing.T) {
	f := factsOf(parsed(t, ipv4Only+tors+prefixes), node(1, "role=dns"), node(1, "role=dns"), node(2))
	f.Gateways = []netip.Addr{addr("198.18.0.254")}
	d, _ := Plan(f)
	for p, want := range map[string]Action{
		"10.244.1.0/24": Accept, "203.0.113.53/32": Accept, "203.0.113.0/28": Accept,
		"203.0.113.99/32": Reject, // another node's
		"203.0.113.54/32": Reject,
		"198.18.0.0/24":   Reject,
		"0.0.0.0/0":       Reject,
	} {
		if got := decides(d.Sessions[0].Export, prefix(p), nil, true); got != want {
			t.Errorf("%s: got %d, want %d", p, got, want)
		}
	}
}

// A list that is empty would match everything, so there is no rule with one.
func TestWithoutNetworksNothingIsLetIn(t *testing.T) {
	f := factsOf(parsed(t, dualStack+tors), node(1))
	f.Gateways = []netip.Addr{addr("198.18.0.254")}
	f.Spec.Network = fabric.PerFamily[netip.Prefix]{}
	f.Subnets = nil
	f.BGP.Peers[0].Spec.Families = []string{"ipv4"}
	d, _ := Plan(f)
	for _, p := range []string{"10.244.2.0/24", "192.0.2.0/24", "0.0.0.0/0"} {
		if s := d.Sessions[0]; decides(s.Import, prefix(p), nil, true) != Reject || decides(s.Export, prefix(p), nil, true) != Reject {
			t.Errorf("%s passes", p)
		}
	}
}

// A policy that accepts everything does not mean the default route.
func TestDefaultRouteIsAskedForByName(t *testing.T) {
	policy := `
  import: [all]
---
apiVersion: weft/v1
kind: BGPPolicy
metadata: {name: all}
spec: {rules: [RULES]}
`
	for rules, want := range map[string][2]Action{
		`{action: accept}`: {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0, max: 32}]}, action: accept}`:                                    {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}]}, action: reject}, {action: accept}`:                           {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}], communities: [no-export]}, action: reject}, {action: accept}`: {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}], peers: [other]}, action: reject}, {action: accept}`:           {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}], peers: [other]}, action: accept}, {action: accept}`:           {Reject, Reject},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}]}, action: accept}`:                                             {Accept, Reject},
		`{match: {prefixes: [{prefix: "::/0"}]}, action: accept}`:                                                {Reject, Accept},
		`{match: {prefixes: [{prefix: 0.0.0.0/0}]}, set: {localPreference: 1}, action: next}, {action: accept}`:  {Accept, Reject},
	} {
		f := factsOf(parsed(t, dualStack+tors+strings.ReplaceAll(policy, "RULES", rules)), node(1))
		f.Gateways = []netip.Addr{addr("198.18.0.254")}
		d, problems := Plan(f)
		if len(problems) != 0 {
			t.Fatal(problems)
		}
		for i, p := range []string{"0.0.0.0/0", "::/0"} {
			if got := decides(d.Sessions[0].Import, prefix(p), nil, true); got != want[i] {
				t.Errorf("%s: %s: got %d, want %d", rules, p, got, want[i])
			}
		}
		if got := decides(d.Sessions[0].Import, prefix("10.244.1.7/32"), nil, true); got != Reject {
			t.Errorf("%s: our own subnet is let in", rules)
		}
	}
}

// checkSafe is what holds of every plan, whatever the objects say.
func checkSafe(t *testing.T, f Facts, d Desired) {
	t.Helper()
	keys := make(map[string]bool)
	sessions := slices.Clone(d.Sessions)
	for _, r := range d.Ranges {
		sessions = append(sessions, r.Template)
	}
	for _, s := range sessions {
		if keys[s.Key] {
			t.Errorf("two sessions are called %s", s.Key)
		}
		keys[s.Key] = true
		for _, rules := range [][]Rule{s.Import, s.Export} {
			if last := rules[len(rules)-1]; last.Action != Reject || !last.Match.empty() {
				t.Errorf("%s: the last rule is %+v", s.Key, last)
			}
		}
		within := s.RemoteASN != 0 && s.RemoteASN == cmp.Or(s.LocalASN, d.Global.ASN)
		if within && slices.ContainsFunc(s.Export, func(r Rule) bool { return r.Set.Prepend > 0 }) {
			t.Errorf("%s: a path within the AS would hold its number", s.Key)
		}
		for _, own := range f.Subnets {
			for _, p := range []netip.Prefix{own, netip.PrefixFrom(own.Addr(), own.Addr().BitLen())} {
				if decides(s.Import, p, nil, true) != Reject || decides(s.Import, p, []Community{GracefulShutdown}, false) != Reject {
					t.Errorf("%s: %s, our own, is let in", s.Key, p)
				}
			}
		}
		for _, family := range fabric.Families {
			if p := defaultRoute(family); !names(f.BGP, p) && decides(s.Import, p, nil, true) != Reject {
				t.Errorf("%s: a default route is let in that nobody named", s.Key)
			}
		}
		if s.Hold/3 < s.Keepalive || s.Families == (fabric.PerFamily[bool]{}) || s.MaxPrefixes == 0 {
			t.Errorf("%+v", s)
		}
	}
	for _, a := range d.Announcements {
		if a.Prefix.Bits() == 0 || a.Prefix != a.Prefix.Masked() || a.Prepend != 0 {
			t.Errorf("announces %+v", a)
		}
	}
}

func names(b *fabric.BGP, p netip.Prefix) bool {
	for _, policy := range b.Policies {
		for _, r := range policy.Spec.Rules {
			if slices.ContainsFunc(r.Match.Prefixes, func(x fabric.BGPPrefixRange) bool { return x.Prefix == p }) {
				return true
			}
		}
	}
	return false
}

func (m *Match) empty() bool {
	return len(m.Prefixes)+len(m.Communities)+len(m.LargeCommunities) == 0 && m.ASPath == ""
}

// FuzzPlan plans with objects that nobody validated: a newer version may have
// written them.
func FuzzPlan(f *testing.F) {
	for _, yaml := range []string{everyOption, mesh, ranges, tors + policies[len(tors):], tors + prefixes, faults} {
		objects := parsed(f, ipv4Only+yaml)
		text, err := json.Marshal(objects.BGP)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var b fabric.BGP
		if json.Unmarshal(text, &b) != nil {
			return
		}
		nodes := []*fabric.Peer{node(1), node(2)}
		facts := factsOf(parsed(t, dualStack), nodes[0], nodes...)
		facts.BGP, facts.Gateways = &b, []netip.Addr{addr("198.18.0.254"), addr("fe80::1%eth0")}
		d, problems := Plan(facts)
		if d.Global.ASN == 0 {
			t.Fatal(problems)
		}
		checkSafe(t, facts, d)
	})
}
