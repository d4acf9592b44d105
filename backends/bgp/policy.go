package bgp

import (
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// The rules that come from no BGPPolicy.
const (
	ruleOwnSubnets       = "default/own-subnets"
	ruleDefaultRoute     = "default/default-route"
	ruleGracefulShutdown = "default/graceful-shutdown"
	ruleNetworks         = "default/networks"
	ruleOwn              = "default/own"
	ruleReject           = "default/reject"
)

// farther is how much longer a path that yields is made for other ASes, whose
// speakers need not know the community.
const farther = 3

// rulesKey tells rules apart: those of an object's far ends are the same, but
// for a far end that a policy's rule is for by its address. (All are within our
// AS, or none is.)
type rulesKey struct{ object, far string }

type rules struct{ in, out []Rule }

// rules are those of a session, which shares them with others like it.
func (p *planner) rules(o *fabric.BGPPeer, far string, external bool) rules {
	key := rulesKey{object: o.Name}
	if p.meant[far] {
		key.far = far
	}
	done, ok := p.shared[key]
	if !ok {
		done = rules{in: p.importRules(o, far), out: p.exportRules(o, far, external)}
		p.shared[key] = done
	}
	return done
}

// meantBy are all whom rules of policies are for.
func meantBy(policies []fabric.BGPPolicy) map[string]bool {
	out := make(map[string]bool)
	for i := range policies {
		for j := range policies[i].Spec.Rules {
			for _, peer := range policies[i].Spec.Rules[j].Match.Peers {
				out[peer] = true
			}
		}
	}
	return out
}

// importRules are, in order: what no policy can allow, the policies, and the
// defaults. A route that its sender is about to withdraw has the lowest
// preference from the start (RFC 8326, section 4.2), so that it has it
// whichever rule accepts it; a rule that sets a preference of its own knows.
func (p *planner) importRules(o *fabric.BGPPeer, far string) []Rule {
	var out []Rule
	if own := within(p.Subnets); len(own) > 0 {
		out = append(out, Rule{Name: ruleOwnSubnets, Match: Match{Prefixes: own}, Action: Reject})
	}
	rules, named := p.policyRules(o, far, o.Spec.Import)
	var unasked []PrefixRange
	for _, f := range fabric.Families {
		if !named.Get(f) {
			unasked = append(unasked, PrefixRange{Prefix: defaultRoute(f)})
		}
	}
	if len(unasked) > 0 {
		out = append(out, Rule{Name: ruleDefaultRoute, Match: Match{Prefixes: unasked}, Action: Reject})
	}
	out = append(out, Rule{
		Name: ruleGracefulShutdown, Match: Match{Communities: []Community{GracefulShutdown}},
		Set: Set{Attributes: Attributes{LocalPreference: new(uint32)}}, Action: Next,
	})
	out = append(out, rules...)
	var networks []PrefixRange
	for _, f := range fabric.Families {
		if n := p.Spec.Network.Get(f); n.IsValid() {
			networks = append(networks, PrefixRange{Prefix: n.Masked(), Min: n.Bits(), Max: p.longest.Get(f)})
		}
	}
	return append(out, closing(ruleNetworks, networks)...)
}

// closing accepts some prefixes and nothing else. A rule with an empty list
// would match everything.
func closing(name string, accepted []PrefixRange) []Rule {
	reject := Rule{Name: ruleReject, Action: Reject}
	if len(accepted) == 0 {
		return []Rule{reject}
	}
	return []Rule{{Name: name, Match: Match{Prefixes: accepted}, Action: Accept}, reject}
}

// exportRules see this node's own routes, and on a reflector those that it
// reflects.
func (p *planner) exportRules(o *fabric.BGPPeer, far string, external bool) []Rule {
	var out []Rule
	if external {
		out = append(out, Rule{
			Name: ruleGracefulShutdown, Match: Match{Communities: []Community{GracefulShutdown}},
			Set: Set{Attributes: Attributes{Prepend: farther}}, Action: Next,
		})
		out = append(out, p.prepends()...)
	}
	attributes, err := attributesOf(&o.Spec.BGPAttributes)
	if err != nil {
		p.fault(peerKind+o.Name, "%v", err)
	} else if !attributes.empty() {
		out = append(out, Rule{Name: o.Name + "/attributes", Set: Set{Attributes: attributes}, Action: Next})
	}
	rules, _ := p.policyRules(o, far, o.Spec.Export)
	out = append(out, rules...)
	out = append(out, closing(ruleOwn, p.own())...)
	if !external {
		// Within an AS its number is not put on the path: the receiver would
		// take the route for a loop (RFC 4271, sections 5.1.2 and 9.1.2).
		for i := range out {
			out[i].Set.Prepend = 0
		}
	}
	return out
}

// own is what this node may tell: the fabric's networks, in which the leases
// are (one may be of an earlier network), and the prefixes declared for it.
func (p *planner) own() []PrefixRange {
	networks := p.Spec.Networks()
	out := within(networks)
	for _, s := range p.Subnets {
		if !slices.ContainsFunc(networks, func(n netip.Prefix) bool { return inside(s, n) }) {
			out = append(out, exactly([]netip.Prefix{s.Masked()})...)
		}
	}
	for i := range p.BGP.Prefixes {
		for _, r := range exactly(p.declared(&p.BGP.Prefixes[i])) {
			if !slices.Contains(out, r) {
				out = append(out, r)
			}
		}
	}
	return out
}

// prepends lengthen the paths of the extra prefixes that ask for it.
func (p *planner) prepends() []Rule {
	var out []Rule
	for i := range p.BGP.Prefixes {
		o := &p.BGP.Prefixes[i]
		if prefixes := p.declared(o); o.Spec.Prepend > 0 && len(prefixes) > 0 {
			out = append(out, Rule{
				Name: "prefix/" + o.Name, Match: Match{Prefixes: exactly(prefixes)},
				Set: Set{Attributes: Attributes{Prepend: o.Spec.Prepend}}, Action: Next,
			})
		}
	}
	return out
}

// policy is a compiled BGPPolicy.
type policy struct {
	rules []Rule
	peers [][]string // per rule, whom it is for; none: everybody
}

// policyRules are the rules of some policies that concern one session, and the
// families whose default route one of them asks for by its name. A policy that
// is not there or cannot be read is left out, whole: what remains are the other
// policies and the defaults, which are safe, while a session taken down would
// cost the node its routes.
func (p *planner) policyRules(o *fabric.BGPPeer, far string, names []string) (rules []Rule, named fabric.PerFamily[bool]) {
	for _, name := range names {
		compiled := p.policy(name)
		if compiled == nil {
			p.fault(peerKind+o.Name, "policy %s cannot be applied: there is none, or it has an error", name)
			continue
		}
		for i, r := range compiled.rules {
			to := compiled.peers[i]
			if len(to) > 0 && !slices.Contains(to, o.Name) && !slices.Contains(to, far) {
				continue
			}
			rules = append(rules, r)
			for _, f := range fabric.Families {
				if r.Action != Reject && slices.Contains(r.Match.Prefixes, PrefixRange{Prefix: defaultRoute(f)}) {
					named.Set(f, true)
				}
			}
		}
	}
	return rules, named
}

// policy compiles a policy once. It is nil where there is none to apply.
func (p *planner) policy(name string) *policy {
	if done, ok := p.policies[name]; ok {
		return done
	}
	p.policies[name] = nil
	i := slices.IndexFunc(p.BGP.Policies, func(o fabric.BGPPolicy) bool { return o.Name == name })
	if i < 0 {
		return nil
	}
	compiled, err := compile(&p.BGP.Policies[i])
	if err != nil {
		p.fault(policyKind+name, "%v", err)
		return nil
	}
	p.policies[name] = compiled
	return compiled
}

func compile(o *fabric.BGPPolicy) (*policy, error) {
	out := &policy{}
	for i := range o.Spec.Rules {
		from := &o.Spec.Rules[i]
		r := Rule{Name: fmt.Sprintf("%s/%d", o.Name, i+1)}
		var err error
		if r.Action, err = actionOf(from.Action); err == nil {
			r.Match, err = matchOf(&from.Match)
		}
		if err == nil {
			r.Set, err = setOf(&from.Set)
		}
		if err != nil {
			return nil, fmt.Errorf("rule %d: %w", i+1, err)
		}
		out.rules = append(out.rules, r)
		out.peers = append(out.peers, from.Match.Peers)
	}
	return out, nil
}

func actionOf(word string) (Action, error) {
	switch word {
	case config.ActionAccept:
		return Accept, nil
	case config.ActionReject:
		return Reject, nil
	case config.ActionNext:
		return Next, nil
	}
	return Reject, fmt.Errorf("action %q is none of accept, reject, next", word)
}

func matchOf(m *fabric.BGPMatch) (Match, error) {
	out := Match{ASPath: m.ASPath}
	if m.ASPath != "" {
		if _, err := config.ParseASPath(m.ASPath); err != nil {
			return Match{}, fmt.Errorf("asPath: %w", err)
		}
	}
	for _, r := range m.Prefixes {
		prefix := r.Prefix.Masked()
		if !prefix.IsValid() {
			return Match{}, fmt.Errorf("%v is not a prefix", r.Prefix)
		}
		to := PrefixRange{Prefix: prefix, Min: r.Min, Max: r.Max}
		switch {
		case r.Min == 0 && r.Max == 0:
			to.Min, to.Max = prefix.Bits(), prefix.Bits()
		case r.Max == 0:
			to.Max = prefix.Addr().BitLen()
		}
		to.Min = max(to.Min, prefix.Bits())
		out.Prefixes = append(out.Prefixes, to)
	}
	var err error
	if out.Communities, err = communities(m.Communities); err != nil {
		return Match{}, err
	}
	out.LargeCommunities, err = largeCommunities(m.LargeCommunities)
	return out, err
}

func setOf(s *fabric.BGPSet) (out Set, err error) {
	if out.RemoveCommunities, err = communities(s.RemoveCommunities); err != nil {
		return Set{}, err
	}
	out.Attributes, err = attributesOf(&s.BGPAttributes)
	return out, err
}

func attributesOf(a *fabric.BGPAttributes) (out Attributes, err error) {
	out = Attributes{MED: a.MED, LocalPreference: a.LocalPreference, Prepend: a.Prepend}
	if out.Communities, err = communities(a.Communities); err != nil {
		return Attributes{}, err
	}
	out.LargeCommunities, err = largeCommunities(a.LargeCommunities)
	return out, err
}

func (a *Attributes) empty() bool {
	return len(a.Communities)+len(a.LargeCommunities) == 0 && a.MED == nil && a.LocalPreference == nil && a.Prepend == 0
}

func communities(texts []string) (out []Community, err error) {
	for _, t := range texts {
		c, err := config.ParseCommunity(t)
		if err != nil {
			return nil, err
		}
		out = append(out, Community(c))
	}
	return out, nil
}

func largeCommunities(texts []string) (out []LargeCommunity, err error) {
	for _, t := range texts {
		c, err := config.ParseLargeCommunity(t)
		if err != nil {
			return nil, err
		}
		out = append(out, LargeCommunity{Global: c[0], Local1: c[1], Local2: c[2]})
	}
	return out, nil
}

// within matches prefixes and everything in them.
func within(prefixes []netip.Prefix) []PrefixRange {
	var out []PrefixRange
	for _, q := range prefixes {
		q = q.Masked()
		out = append(out, PrefixRange{Prefix: q, Min: q.Bits(), Max: q.Addr().BitLen()})
	}
	return out
}

// exactly matches prefixes themselves.
func exactly(prefixes []netip.Prefix) []PrefixRange {
	var out []PrefixRange
	for _, q := range prefixes {
		out = append(out, PrefixRange{Prefix: q, Min: q.Bits(), Max: q.Bits()})
	}
	return out
}

func defaultRoute(f fabric.Family) netip.Prefix {
	if f == fabric.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
