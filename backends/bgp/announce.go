package bgp

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// announcements are this node's own routes, and those that objects want and
// that are not announced now, both sorted by prefix.
func (p *planner) announcements() (told []Announcement, withheld []Withheld) {
	origin := make(map[netip.Prefix]string)
	put := func(prefix netip.Prefix, why string, a Attributes, keep string) {
		origin[prefix] = why
		if keep != "" {
			withheld = append(withheld, Withheld{Prefix: prefix, Why: why, Reason: keep})
			return
		}
		told = append(told, Announcement{Prefix: prefix, Why: why, Attributes: a})
	}
	for _, s := range p.Subnets {
		if s = s.Masked(); origin[s] == "" {
			put(s, "lease", yielding(Attributes{}, p.Stopping), leaving("the host is being shut down", p.Stopping))
		}
	}
	for i := range p.BGP.Prefixes {
		o := &p.BGP.Prefixes[i]
		prefixes := p.declared(o)
		if len(prefixes) == 0 {
			continue
		}
		attributes, err := attributesOf(&o.Spec.BGPAttributes)
		if err != nil {
			p.fault(prefixKind+o.Name, "%v", err)
			continue
		}
		// Told by export rules, see prepends: a path of our own towards our own
		// AS must not hold its number.
		attributes.Prepend = 0
		keep := p.withhold(o)
		for _, prefix := range prefixes {
			if other := origin[prefix]; other != "" {
				p.fault(prefixKind+o.Name, "%s is announced already (%s)", prefix, other)
				continue
			}
			put(prefix, "prefix "+o.Name, yielding(attributes, max(p.Leaving, p.Stopping)), keep)
		}
	}
	slices.SortFunc(told, func(a, b Announcement) int { return comparePrefixes(a.Prefix, b.Prefix) })
	slices.SortFunc(withheld, func(a, b Withheld) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return told, withheld
}

// declared are the prefixes of an object that this node may announce: neither
// the default route nor what lies within a subnet that another node leases.
func (p *planner) declared(o *fabric.BGPPrefix) []netip.Prefix {
	if !o.Spec.Nodes.Matches(p.Self.Labels) {
		return nil
	}
	if done, ok := p.extra[o.Name]; ok {
		return done
	}
	var out []netip.Prefix
	for _, prefix := range o.Spec.Prefixes {
		prefix = prefix.Masked()
		if !prefix.IsValid() || prefix.Bits() == 0 {
			p.fault(prefixKind+o.Name, "%s would draw all traffic to this node", prefix)
			continue
		}
		if owner, subnet := p.leased(prefix); owner != "" {
			p.fault(prefixKind+o.Name, "%s lies in %s, which node %s leases", prefix, subnet, owner)
			continue
		}
		if !slices.Contains(out, prefix) {
			out = append(out, prefix)
		}
	}
	p.extra[o.Name] = out
	return out
}

// leased finds the other node's subnet that a prefix lies in.
func (p *planner) leased(prefix netip.Prefix) (node string, subnet netip.Prefix) {
	for _, peer := range p.Peers {
		if peer.ID == p.Self.ID {
			continue
		}
		for _, s := range peer.Subnets {
			if inside(prefix, s.Prefix) {
				return peer.Name, s.Prefix
			}
		}
	}
	return "", netip.Prefix{}
}

// inside reports whether all of p lies in q.
func inside(p, q netip.Prefix) bool { return q.Bits() <= p.Bits() && q.Contains(p.Addr()) }

// withhold says why an object's prefixes are not announced now, if so.
func (p *planner) withhold(o *fabric.BGPPrefix) string {
	if why := leaving("the host is being shut down", p.Stopping); why != "" {
		return why
	}
	if why := leaving("the node is drained", p.Leaving); why != "" {
		return why
	}
	if o.Spec.Health == nil {
		return ""
	}
	switch healthy, known := p.Healthy[o.Name]; {
	case !known:
		return "its health is not known yet"
	case !healthy:
		return "its health condition fails"
	}
	return ""
}

func leaving(why string, l Leaving) string {
	if l >= Withdrawn {
		return why
	}
	return ""
}

// yielding marks what others are to move away from (RFC 8326, section 4.1).
// The preference is for sessions within the AS; the export rules make the path
// longer for the others.
func yielding(a Attributes, l Leaving) Attributes {
	if l != Yielding {
		return a
	}
	if !slices.Contains(a.Communities, GracefulShutdown) {
		a.Communities = append(slices.Clip(a.Communities), GracefulShutdown)
	}
	a.LocalPreference = new(uint32)
	return a
}
