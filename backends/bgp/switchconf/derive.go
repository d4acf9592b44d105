package switchconf

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// maxPrefixes of one node and family, besides the extra ones: it has one lease
// and for a while the one before.
const maxPrefixes = 100

// For computes what a switch is to be told: every session that the BGP objects
// give the nodes with it. Objects and nodes that do not concern the switch, or
// of which too little is known, are left out; Switch.Notes says which and why.
// The error is about the place itself.
func For(f Fabric, p Place) (Switch, error) {
	if err := checkPlace(f, p); err != nil {
		return Switch{}, err
	}
	d := deriver{Fabric: f, place: p, taken: map[string]fabric.BGPPeer{}, sw: Switch{
		Name: p.Name, ASN: p.ASN, RouterID: p.RouterID,
		Multipath: max(f.Spec.BGP.Multipath, 1),
	}}
	if !d.sw.RouterID.IsValid() {
		d.sw.RouterID = firstIPv4(p.Addrs)
	}
	if gr := f.Spec.BGP.GracefulRestart; gr.Enabled {
		d.sw.RestartTime = time.Duration(gr.Time)
		if ll := f.Spec.BGP.LongLived; ll.Enabled { // it begins where the other ends (RFC 9494, 4.2)
			d.sw.LongLived = time.Duration(ll.Time)
		}
	}
	if f.BGP != nil {
		for _, o := range f.BGP.Peers {
			d.object(o)
		}
	}
	d.filters()
	if d.lacksIPv6() {
		d.note("IPv6 routes go over IPv4 sessions: for their next hops this switch and the nodes need IPv6 addresses on the segment")
	}
	if len(d.sw.Groups) == 0 {
		d.note("no BGPPeer object leads from any node to this switch")
	}
	return d.sw, nil
}

// lacksIPv6 reports whether IPv6 routes have to go over IPv4 at a switch of
// which no IPv6 address is known.
func (d *deriver) lacksIPv6() bool {
	return slices.ContainsFunc(d.sw.Groups, func(g Group) bool { return g.Over == fabric.IPv4 && g.Families.IPv6 }) &&
		!slices.ContainsFunc(d.place.Addrs, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

func checkPlace(f Fabric, p Place) error {
	switch {
	case f.Spec == nil:
		return fmt.Errorf("there is no Fabric")
	case p.ASN == 0:
		return fmt.Errorf("the switch's AS number is missing")
	case len(p.Addrs) == 0 && len(p.Ports) == 0:
		return fmt.Errorf("the switch has neither an address nor a port towards the nodes")
	case !p.RouterID.IsValid() && !firstIPv4(p.Addrs).IsValid():
		return fmt.Errorf("the switch has no IPv4 address to take its router id from, and none is given")
	case p.RouterID.IsValid() && !p.RouterID.Is4():
		return fmt.Errorf("router id %s is not in IPv4 form", p.RouterID)
	}
	return nil
}

// firstIPv4 returns the first IPv4 address, or an invalid one.
func firstIPv4(addrs []netip.Prefix) netip.Addr {
	for _, p := range addrs {
		if p.Addr().Is4() {
			return p.Addr()
		}
	}
	return netip.Addr{}
}

// deriver is one computation.
type deriver struct {
	Fabric
	place Place
	sw    Switch
	taken map[string]fabric.BGPPeer // far ends that have a session: whose it is
}

func (d *deriver) note(format string, args ...any) {
	d.sw.Notes = append(d.sw.Notes, fmt.Sprintf(format, args...))
}

// end is a session's end at a node.
type end struct {
	Neighbor
	over fabric.Family
}

// object adds the groups of one BGPPeer object, if it is about this switch.
func (d *deriver) object(o fabric.BGPPeer) {
	if n, err := config.ParseASN(o.Spec.ASN); err == nil && n != d.place.ASN {
		d.note("BGPPeer %s expects AS %d, this switch has %d: left out", o.Name, n, d.place.ASN)
		return
	}
	ends := slices.DeleteFunc(d.ends(o), func(e end) bool { return !d.take(o, e.Port+e.Address.String()) })
	ranges := slices.DeleteFunc(d.ranges(o), func(r Segment) bool { return !d.take(o, r.Prefix.String()) })
	first := fabric.IPv6
	if slices.ContainsFunc(ends, func(e end) bool { return e.over == fabric.IPv4 }) ||
		slices.ContainsFunc(ranges, func(r Segment) bool { return r.Prefix.Addr().Is4() }) {
		first = fabric.IPv4
	}
	for _, over := range fabric.Families {
		g := d.group(o, over)
		if over == fabric.IPv6 && first == fabric.IPv4 {
			g.Name += "-v6" // beside one over IPv4
		}
		for _, e := range ends {
			if e.over == over {
				g.Neighbors = append(g.Neighbors, e.Neighbor)
			}
		}
		for _, r := range ranges {
			if fabric.FamilyOf(r.Prefix.Addr()) == over {
				g.Ranges = append(g.Ranges, r)
			}
		}
		d.split(o, g)
	}
}

// take gives a far end to the first object that leads to it: two may where, for
// instance, each is about one interface of the nodes and either can be at the
// other end of a port. It matters only where they ask for different things.
func (d *deriver) take(o fabric.BGPPeer, far string) bool {
	first, taken := d.taken[far]
	if !taken {
		d.taken[far] = o
		return true
	}
	if !alike(first.Spec, o.Spec) {
		d.note("BGPPeer %s: %s has what BGPPeer %s asks for, which differs", o.Name, strings.TrimSuffix(far, "invalid IP"), first.Name)
	}
	return false
}

// alike reports whether two objects ask the same of the switch.
func alike(a, b fabric.BGPPeerSpec) bool {
	for _, s := range []*fabric.BGPPeerSpec{&a, &b} {
		s.Description, s.Nodes, s.Peer, s.Import, s.Export = "", nil, fabric.BGPTarget{}, nil, nil
		s.SourceInterface, s.MaxPrefixes, s.BGPAttributes = "", 0, fabric.BGPAttributes{}
	}
	return reflect.DeepEqual(a, b)
}

// group is a group without neighbours.
func (d *deriver) group(o fabric.BGPPeer, over fabric.Family) Group {
	t := d.Spec.BGP.Timers
	g := Group{
		Name: identifier(o.Name), Description: plain(o.Spec.Description), Over: over,
		Hold:         time.Duration(cmp.Or(o.Spec.Timers.Hold, t.Hold, fabric.BGPHold)),
		Keepalive:    time.Duration(cmp.Or(o.Spec.Timers.Keepalive, t.Keepalive, fabric.BGPKeepalive)),
		ConnectRetry: time.Duration(cmp.Or(o.Spec.Timers.ConnectRetry, t.ConnectRetry)),
		Multihop:     o.Spec.Multihop, GTSM: o.Spec.GTSM,
		Port:        cmp.Or(d.Spec.BGP.Port, fabric.BGPPort),
		MaxPrefixes: maxPrefixes,
	}
	if o.Spec.RouteReflector != nil {
		g.MaxPrefixes = fabric.BGPMaxPrefixes // the nodes tell of all the others
	}
	for _, f := range fabric.Families {
		g.Families.Set(f, d.Spec.Network.Get(f).IsValid() && (len(o.Spec.Families) == 0 || slices.Contains(o.Spec.Families, f.String())))
	}
	if o.Spec.Auth.MD5File != "" {
		g.Secret = Placeholder(o.Name)
	}
	if o.Spec.Port != 0 && o.Spec.Port != fabric.BGPPort && len(d.sw.Groups) == 0 {
		d.note("BGPPeer %s: the nodes connect to port %d of this switch", o.Name, o.Spec.Port)
	}
	return g
}

// split adds a group, divided into internal and external neighbours: no system
// has a group of both.
func (d *deriver) split(o fabric.BGPPeer, g Group) {
	external, internal := g, g
	external.Neighbors, internal.Neighbors = nil, nil
	internal.Internal, internal.Ranges = true, nil
	internal.Reflects = o.Spec.RouteReflector == nil // else the nodes do
	if asn, ok := d.oneASN(o); ok && asn == d.place.ASN {
		external.Ranges, internal.Ranges = nil, g.Ranges
	}
	for _, n := range g.Neighbors {
		if n.ASN == d.place.ASN {
			internal.Neighbors = append(internal.Neighbors, n)
		} else {
			external.Neighbors = append(external.Neighbors, n)
		}
	}
	if len(external.Neighbors)+len(external.Ranges) > 0 {
		internal.Name += "-internal"
		if o.Spec.AllowOwnASN == 0 {
			external.SharedASNs = d.sharedASNs(o, external)
		}
		if len(external.Ranges) > 0 || d.onlyPorts(external) {
			external.ASNs = d.possibleASNs(o, external)
		}
		d.add(external)
	}
	if len(internal.Neighbors)+len(internal.Ranges) > 0 {
		d.add(internal)
	}
}

// add gives a group a name that no other has: objects whose names differ in a
// sign only, or look like what is put behind another's, would be one to a switch.
func (d *deriver) add(g Group) {
	g.Name = unused(g.Name, "-", func(name string) bool {
		return slices.ContainsFunc(d.sw.Groups, func(other Group) bool { return other.Name == name })
	})
	d.sw.Groups = append(d.sw.Groups, g)
}

// filters computes what nodes may announce and what they are told.
func (d *deriver) filters() {
	for _, f := range fabric.Families {
		network := d.Spec.Network.Get(f)
		if !network.IsValid() {
			continue
		}
		length := d.Spec.SubnetLength.Get(f)
		from := []Range{{network, length, length}}
		to := []Range{{network, network.Bits(), length}}
		for _, p := range d.extra(f) {
			from = append(from, Range{p, p.Bits(), p.Bits()})
			to = append(to, Range{p, p.Bits(), p.Bits()})
		}
		if d.place.Default {
			def := netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			if f == fabric.IPv4 {
				def = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			}
			to = append(to, Range{def, 0, 0})
		}
		d.sw.FromNodes.Set(f, from)
		d.sw.ToNodes.Set(f, to)
	}
	for i := range d.sw.Groups {
		d.sw.Groups[i].MaxPrefixes += max(len(d.sw.FromNodes.IPv4), len(d.sw.FromNodes.IPv6))
	}
}

// extra are the prefixes of BGPPrefix objects, each once, in order.
func (d *deriver) extra(f fabric.Family) []netip.Prefix {
	if d.BGP == nil {
		return nil
	}
	var out []netip.Prefix
	for _, o := range d.BGP.Prefixes {
		for _, p := range o.Spec.Prefixes {
			if fabric.FamilyOf(p.Addr()) == f {
				out = append(out, p.Masked())
			}
		}
	}
	slices.SortFunc(out, func(a, b netip.Prefix) int { return cmp.Or(a.Addr().Compare(b.Addr()), a.Bits()-b.Bits()) })
	return slices.Compact(out)
}

// identifier makes a name fit for every system's identifiers.
func identifier(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, name)
}

// plain keeps of a text what cannot end a line, a string or a statement in any
// system's configuration.
func plain(text string) string {
	return strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' || strings.ContainsRune("\"'`\\;{}#!?<>|$", r) {
			return ' '
		}
		return r
	}, text)), " ")
}
