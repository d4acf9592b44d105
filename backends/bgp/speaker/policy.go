package speaker

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/osrg/gobgp/v4/api"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// The two policies that GoBGP has: all rules of all sessions are in them, each
// under a neighbour set, as GoBGP ignores a policy given to one peer. A route
// that none accepts is rejected.
const (
	importPolicy = "import"
	exportPolicy = "export"
)

// party is a session as the policies see it.
type party struct {
	*bgp.Session
	// far is the far end: an address without zone, or the prefix of a range.
	far netip.Prefix
	asn uint32 // ours on this session
	// hops are the next hops to tell for a family in place of the session's own
	// address, which GoBGP would tell even if it is of the other family.
	// A family that is in mute has no next hop and must not be told.
	hops fabric.PerFamily[netip.Addr]
	mute fabric.PerFamily[bool]
	// tellExternal and tellInternal: it hears what we learnt from other ASes, and
	// from our own, too.
	tellExternal, tellInternal bool
}

func (p *party) external() bool { return p.RemoteASN != p.asn }

// importKey and exportKey say in full what a session's policies do: two with
// the same key share their statements.
func (p *party) importKey() string {
	return fmt.Sprintf("%v %s", p.RemoteASN == 0, ruleKey(p.Import))
}

func (p *party) exportKey() string {
	return fmt.Sprintf("%v %v %v %v %d %v %v %s", p.tellExternal, p.tellInternal, p.NextHopSelf, p.external(), p.asn, p.hops, p.mute, ruleKey(p.Export))
}

func ruleKey(rules []bgp.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%v %v %v %v %v %s %s;", r.Match, r.Action, r.Set.RemoveCommunities,
			r.Set.Communities, r.Set.LargeCommunities, optional(r.Set.MED)+"/"+optional(r.Set.LocalPreference), fmt.Sprint(r.Set.Prepend))
	}
	return b.String()
}

func optional(v *uint32) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprint(*v)
}

// compiler gathers statements and the sets that they name.
type compiler struct {
	sets       []*api.DefinedSet
	statements []*api.Statement
}

// compile is a pure function: what GoBGP must be told so that each session
// follows its rules.
func compile(parties []*party, own []bgp.Announcement) *api.SetPoliciesRequest {
	in, out := &compiler{}, &compiler{}
	// GoBGP runs our own routes through the import policy as well.
	in.add(&api.Conditions{RouteType: api.Conditions_ROUTE_TYPE_LOCAL}, &api.Actions{}, bgp.Accept)
	for i, group := range groups(parties, (*party).importKey) {
		in.importGroup(fmt.Sprintf("in%d", i), group)
	}
	prepends := prependSets(out, own)
	for i, group := range groups(parties, (*party).exportKey) {
		out.exportGroup(fmt.Sprintf("out%d", i), group, prepends)
	}
	in.name(importPolicy)
	out.name(exportPolicy)
	return &api.SetPoliciesRequest{
		DefinedSets: append(in.sets, out.sets...),
		Policies: []*api.Policy{
			{Name: importPolicy, Statements: in.statements},
			{Name: exportPolicy, Statements: out.statements},
		},
	}
}

// groups puts parties with the same key together, in the order of first
// appearance: a mesh of hundreds costs as many statements as one session.
func groups(parties []*party, key func(*party) string) [][]*party {
	var out [][]*party
	index := map[string]int{}
	for _, p := range parties {
		k := key(p)
		i, ok := index[k]
		if !ok {
			i = len(out)
			index[k] = i
			out = append(out, nil)
		}
		out[i] = append(out[i], p)
	}
	return out
}

func (c *compiler) neighbours(name string, group []*party) *api.MatchSet {
	set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_NEIGHBOR, Name: name}
	for _, p := range group {
		set.List = append(set.List, p.far.String())
	}
	c.sets = append(c.sets, set)
	return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name}
}

func (c *compiler) importGroup(name string, group []*party) {
	from := c.neighbours(name, group)
	p := group[0]
	if p.RemoteASN == 0 {
		// "Any AS but our own": GoBGP takes any. The session is closed when this
		// is seen, and until then nothing is believed.
		c.add(&api.Conditions{NeighborSet: from, RouteType: api.Conditions_ROUTE_TYPE_INTERNAL}, &api.Actions{}, bgp.Reject)
	}
	c.rules(name, from, p.Import, p.asn)
	c.add(&api.Conditions{NeighborSet: from}, &api.Actions{}, bgp.Reject)
}

func (c *compiler) exportGroup(name string, group []*party, prepends []prepend) {
	to := c.neighbours(name, group)
	p := group[0]
	if !p.tellInternal {
		c.add(&api.Conditions{NeighborSet: to, RouteType: api.Conditions_ROUTE_TYPE_INTERNAL}, &api.Actions{}, bgp.Reject)
	}
	if !p.tellExternal {
		c.add(&api.Conditions{NeighborSet: to, RouteType: api.Conditions_ROUTE_TYPE_EXTERNAL}, &api.Actions{}, bgp.Reject)
	}
	c.hopStatements(to, p)
	for _, pre := range prepends {
		if p.external() {
			c.add(&api.Conditions{NeighborSet: to, PrefixSet: pre.set, RouteType: api.Conditions_ROUTE_TYPE_LOCAL},
				&api.Actions{AsPrepend: &api.AsPrependAction{Asn: p.asn, Repeat: uint32(pre.times)}}, bgp.Next)
		}
	}
	c.rules(name, to, p.Export, p.asn)
	c.add(&api.Conditions{NeighborSet: to}, &api.Actions{}, bgp.Reject)
}

// hopStatements set next hops: our own address where the session says so, and
// an address of the route's family where the session runs over the other one.
func (c *compiler) hopStatements(to *api.MatchSet, p *party) {
	learnt := []api.Conditions_RouteType{api.Conditions_ROUTE_TYPE_INTERNAL, api.Conditions_ROUTE_TYPE_EXTERNAL}
	if p.NextHopSelf {
		for _, t := range learnt {
			c.add(&api.Conditions{NeighborSet: to, RouteType: t}, &api.Actions{Nexthop: &api.NexthopAction{Self: true}}, bgp.Next)
		}
	}
	for _, f := range fabric.Families {
		is := &api.Conditions{NeighborSet: to, AfiSafiIn: []*api.Family{apiFamily(f)}}
		if p.mute.Get(f) {
			c.add(is, &api.Actions{}, bgp.Reject)
			continue
		}
		hop := p.hops.Get(f)
		if !hop.IsValid() {
			continue
		}
		if !p.external() && !p.NextHopSelf {
			is.RouteType = api.Conditions_ROUTE_TYPE_LOCAL // a reflected route keeps its own
		}
		c.add(is, &api.Actions{Nexthop: &api.NexthopAction{Address: hop.String()}}, bgp.Next)
	}
}

// rules compiles a session's own. What a rule matches it must still match when
// its first half is done, so communities are added first and removed last.
func (c *compiler) rules(name string, far *api.MatchSet, rules []bgp.Rule, asn uint32) {
	for i, r := range rules {
		prefixSets := c.prefixSets(fmt.Sprintf("%s.%d", name, i), r.Match.Prefixes)
		base := c.conditions(fmt.Sprintf("%s.%d", name, i), r.Match)
		base.NeighborSet = far
		for _, set := range prefixSets {
			when := &api.Conditions{
				NeighborSet: far, PrefixSet: set, AsPathSet: base.AsPathSet,
				CommunitySet: base.CommunitySet, LargeCommunitySet: base.LargeCommunitySet,
			}
			first, last := actions(r.Set, asn)
			if first != nil {
				c.add(when, first, bgp.Next)
			}
			c.add(when, last, r.Action)
		}
	}
}

// prefixSets makes one set per family, as GoBGP wants it; one nil set where
// every prefix matches.
func (c *compiler) prefixSets(name string, ranges []bgp.PrefixRange) []*api.MatchSet {
	if len(ranges) == 0 {
		return []*api.MatchSet{nil}
	}
	var out []*api.MatchSet
	for _, f := range fabric.Families {
		set := &api.DefinedSet{DefinedType: api.DefinedType_DEFINED_TYPE_PREFIX, Name: fmt.Sprintf("%s.%s", name, f)}
		for _, r := range ranges {
			if fabric.FamilyOf(r.Prefix.Addr()) == f {
				set.Prefixes = append(set.Prefixes, &api.Prefix{
					IpPrefix: r.Prefix.Masked().String(), MaskLengthMin: uint32(r.Min), MaskLengthMax: uint32(r.Max),
				})
			}
		}
		if len(set.Prefixes) > 0 {
			c.sets = append(c.sets, set)
			out = append(out, &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: set.Name})
		}
	}
	return out
}

func (c *compiler) conditions(name string, m bgp.Match) *api.Conditions {
	set := func(kind api.DefinedType, suffix string, list []string) *api.MatchSet {
		if len(list) == 0 {
			return nil
		}
		c.sets = append(c.sets, &api.DefinedSet{DefinedType: kind, Name: name + suffix, List: list})
		return &api.MatchSet{Type: api.MatchSet_TYPE_ANY, Name: name + suffix}
	}
	var path []string
	if m.ASPath != "" {
		path = []string{m.ASPath}
	}
	return &api.Conditions{
		AsPathSet:         set(api.DefinedType_DEFINED_TYPE_AS_PATH, ".aspath", path),
		CommunitySet:      set(api.DefinedType_DEFINED_TYPE_COMMUNITY, ".community", communityStrings(m.Communities)),
		LargeCommunitySet: set(api.DefinedType_DEFINED_TYPE_LARGE_COMMUNITY, ".large", largeStrings(m.LargeCommunities)),
	}
}

// add appends a statement, unless it would do nothing.
func (c *compiler) add(when *api.Conditions, do *api.Actions, decide bgp.Action) {
	switch decide {
	case bgp.Accept:
		do.RouteAction = api.RouteAction_ROUTE_ACTION_ACCEPT
	case bgp.Reject:
		do.RouteAction = api.RouteAction_ROUTE_ACTION_REJECT
	default:
		if do.Community == nil && do.LargeCommunity == nil && do.Med == nil && do.LocalPref == nil && do.AsPrepend == nil && do.Nexthop == nil {
			return
		}
	}
	c.statements = append(c.statements, &api.Statement{Conditions: when, Actions: do})
}

// name numbers the statements: GoBGP wants names that nobody else has.
func (c *compiler) name(policy string) {
	for i, s := range c.statements {
		s.Name = fmt.Sprintf("%s/%d", policy, i)
	}
}

// actions splits what a rule sets in two, as a statement of GoBGP's can add
// communities or remove some, not both. First may be nil.
func actions(set bgp.Set, asn uint32) (first, last *api.Actions) {
	last = &api.Actions{}
	if set.MED != nil {
		last.Med = &api.MedAction{Type: api.MedAction_TYPE_REPLACE, Value: int64(*set.MED)}
	}
	if set.LocalPreference != nil {
		// GoBGP takes 0 for "not set". 1 is as far below everybody's 100.
		last.LocalPref = &api.LocalPrefAction{Value: max(*set.LocalPreference, 1)}
	}
	if set.Prepend > 0 {
		last.AsPrepend = &api.AsPrependAction{Asn: asn, Repeat: uint32(set.Prepend)}
	}
	var large *api.CommunityAction
	if len(set.LargeCommunities) > 0 {
		large = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: largeStrings(set.LargeCommunities)}
	}
	var add, remove *api.CommunityAction
	if len(set.Communities) > 0 {
		add = &api.CommunityAction{Type: api.CommunityAction_TYPE_ADD, Communities: communityStrings(set.Communities)}
	}
	gone := slices.DeleteFunc(slices.Clone(set.RemoveCommunities), func(c bgp.Community) bool {
		return slices.Contains(set.Communities, c)
	})
	if len(gone) > 0 {
		remove = &api.CommunityAction{Type: api.CommunityAction_TYPE_REMOVE, Communities: communityStrings(gone)}
	}
	last.LargeCommunity = large
	switch {
	case add != nil && remove != nil:
		first, last.Community = &api.Actions{Community: add}, remove
	case add != nil:
		last.Community = add
	default:
		last.Community = remove
	}
	return first, last
}

// prepend is a set of our own prefixes that are told with a longer AS path.
type prepend struct {
	set   *api.MatchSet
	times uint8
}

func prependSets(c *compiler, own []bgp.Announcement) []prepend {
	byTimes := map[uint8][]bgp.PrefixRange{}
	for _, a := range own {
		if a.Prepend > 0 {
			byTimes[a.Prepend] = append(byTimes[a.Prepend], bgp.PrefixRange{Prefix: a.Prefix, Min: a.Prefix.Bits(), Max: a.Prefix.Bits()})
		}
	}
	var out []prepend
	for times := range 256 {
		if ranges := byTimes[uint8(times)]; len(ranges) > 0 {
			for _, set := range c.prefixSets(fmt.Sprintf("prepend%d", times), ranges) {
				out = append(out, prepend{set: set, times: uint8(times)})
			}
		}
	}
	return out
}

func communityStrings(list []bgp.Community) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = fmt.Sprintf("%d:%d", uint32(c)>>16, uint32(c)&0xffff)
	}
	return out
}

func largeStrings(list []bgp.LargeCommunity) []string {
	out := make([]string, len(list))
	for i, c := range list {
		out[i] = fmt.Sprintf("%d:%d:%d", c.Global, c.Local1, c.Local2)
	}
	return out
}

func apiFamily(f fabric.Family) *api.Family {
	if f == fabric.IPv4 {
		return &api.Family{Afi: api.Family_AFI_IP, Safi: api.Family_SAFI_UNICAST}
	}
	return &api.Family{Afi: api.Family_AFI_IP6, Safi: api.Family_SAFI_UNICAST}
}
