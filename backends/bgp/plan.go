package bgp

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Plan computes what this node's speaker should do. It is pure. What is wrong
// with an object costs that object alone and is told as a problem. A Desired
// whose Global.ASN is 0 says that too little is known: the speaker is to stay
// as it is.
func Plan(f Facts) (Desired, []fabric.Problem) {
	p := newPlanner(f)
	if !p.known() {
		return Desired{}, p.problems
	}
	d := Desired{Global: p.global}
	d.Announcements, _ = p.announcements()
	for i := range p.BGP.Peers {
		o := &p.BGP.Peers[i]
		if o.Spec.Peer.Range.IsValid() {
			d.Ranges = append(d.Ranges, p.ranges(o, d.Ranges)...)
		} else {
			d.Sessions = p.sessions(d.Sessions, o)
		}
	}
	d.Sessions = sortedSessions(d.Sessions)
	slices.SortFunc(d.Ranges, func(a, b Range) int { return comparePrefixes(a.Prefix, b.Prefix) })
	return d, p.sorted()
}

// sortedSessions are sorted by key. Sessions are large: what is moved about is
// their numbers.
func sortedSessions(sessions []Session) []Session {
	if slices.IsSortedFunc(sessions, func(a, b Session) int { return strings.Compare(a.Key, b.Key) }) {
		return sessions
	}
	order := make([]int, len(sessions))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return strings.Compare(sessions[i].Key, sessions[j].Key) })
	out := make([]Session, len(sessions))
	for to, from := range order {
		out[to] = sessions[from]
	}
	return out
}

// WithheldBy lists what Plan does not announce although an object wants it,
// sorted by prefix.
func WithheldBy(f Facts) []Withheld {
	p := newPlanner(f)
	_, withheld := p.announcements()
	return withheld
}

// planner is one computation of a plan.
type planner struct {
	Facts
	global   Global
	problems []fabric.Problem
	told     map[fabric.Problem]bool   // those in problems
	policies map[string]*policy        // compiled so far, by name
	meant    map[string]bool           // see meantBy
	shared   map[rulesKey]rules        // see rules
	extra    map[string][]netip.Prefix // by BGPPrefix, see declared
	taken    map[netip.Addr]string     // far ends that have a session: its key
	longest  fabric.PerFamily[int]     // lease that a route can be to, see leases
}

func newPlanner(f Facts) *planner {
	if f.BGP == nil {
		f.BGP = &fabric.BGP{}
	}
	f.Self.Underlay = f.Underlay.Addrs
	return &planner{
		Facts: f, told: make(map[fabric.Problem]bool),
		policies: make(map[string]*policy), meant: meantBy(f.BGP.Policies), shared: make(map[rulesKey]rules),
		extra: make(map[string][]netip.Prefix),
	}
}

// The first parts of the keys under which problems are told: those that the
// objects have in the store.
const (
	peerKind   = "bgppeers/"
	policyKind = "bgppolicies/"
	prefixKind = "bgpprefixes/"
	fabricKey  = "fabric"
)

// fault records a problem, once.
func (p *planner) fault(key, format string, args ...any) {
	problem := fabric.Problem{Key: key, Reason: fmt.Sprintf(format, args...)}
	if !p.told[problem] {
		p.told[problem] = true
		p.problems = append(p.problems, problem)
	}
}

func (p *planner) sorted() []fabric.Problem {
	slices.SortStableFunc(p.problems, func(a, b fabric.Problem) int { return strings.Compare(a.Key, b.Key) })
	return p.problems
}

// known fills in what all sessions share, and reports whether that is enough
// to speak.
func (p *planner) known() bool {
	if p.Spec == nil {
		p.fault(fabricKey, "there is no Fabric object")
		return false
	}
	b := &p.Spec.BGP
	asn, err := ASNOf(b, &p.Self)
	if err != nil {
		p.fault(fabricKey, "%v", err)
		return false
	}
	id := RouterIDOf(b, &p.Self)
	if !id.IsValid() {
		p.fault(fabricKey, "BGP identifier of node %s: it has no IPv4 underlay address, and its index is not known yet", p.Self.Name)
		return false
	}
	p.global = Global{
		ASN: asn, RouterID: id, Listen: b.Listen, Port: b.Port, Multipath: b.Multipath, BMP: b.BMP,
		RestartTime: restartTime(b.GracefulRestart, fabric.BGPRestartTime),
		LongLived:   restartTime(b.LongLived, fabric.BGPLongLivedTime),
	}
	if p.global.Port == 0 {
		p.global.Port = fabric.BGPPort
	}
	if p.global.Multipath < 1 {
		p.global.Multipath = fabric.BGPMultipath
	}
	p.leases()
	return true
}

// leases finds how long a prefix can be and still be a node's subnet: leases
// outlive a change of the Fabric's subnet length.
func (p *planner) leases() {
	for _, f := range fabric.Families {
		p.longest.Set(f, max(p.Spec.SubnetLength.Get(f), p.Spec.Network.Get(f).Bits()))
	}
	for _, peer := range p.Peers {
		for _, s := range peer.Subnets {
			f := fabric.FamilyOf(s.Prefix.Addr())
			p.longest.Set(f, max(p.longest.Get(f), s.Prefix.Bits()))
		}
	}
}

func restartTime(r fabric.BGPRestart, otherwise fabric.Duration) time.Duration {
	switch {
	case !r.Enabled:
		return 0
	case r.Time == 0:
		return time.Duration(otherwise)
	}
	return time.Duration(r.Time).Truncate(time.Second)
}

// comparePrefixes orders by address and then by length.
func comparePrefixes(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return a.Bits() - b.Bits()
}
