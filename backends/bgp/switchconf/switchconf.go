package switchconf

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Fabric is what is known of the fabric.
type Fabric struct {
	Spec  *fabric.Spec
	BGP   *fabric.BGP // nil: no objects
	Nodes []Node
}

// Node is a node with its addresses on the switch's segments, as far as they
// are known. Those of its record are its underlay's; a node with uplinks to
// several switches has others besides.
type Node struct {
	fabric.Node
	Addrs []netip.Addr // besides Node.Underlay
}

// Place is what is known of the switch.
type Place struct {
	Name string
	ASN  uint32
	// RouterID is in IPv4 form; invalid: the first IPv4 address.
	RouterID netip.Addr
	// Addrs are the switch's addresses towards the nodes, each with the length
	// of its segment's prefix.
	Addrs []netip.Prefix
	// Ports are those towards nodes over which sessions run between link-local
	// addresses (RFC 5549).
	Ports []Port
	// Listen takes sessions from anywhere on the segments, with any AS but the
	// switch's own, in place of one neighbour per node.
	Listen bool
	// Default passes the switch's own default route on to the nodes.
	Default bool
}

// Port is a port of the switch.
type Port struct {
	Name string // as the switch calls it
	Node string // at its other end; empty: not known
}

// Switch is what a switch is to be told.
type Switch struct {
	Name     string
	ASN      uint32
	RouterID netip.Addr // IPv4 form
	Groups   []Group
	// FromNodes is what nodes may announce: the fabric's networks at the length
	// of a lease, and the extra prefixes that are declared. ToNodes is what they
	// are told.
	FromNodes, ToNodes fabric.PerFamily[[]Range]
	Multipath          int
	// RestartTime and LongLived are in whole seconds; 0: off.
	RestartTime, LongLived time.Duration
	// Notes say in words what an operator must know, and what is left out.
	Notes []string
}

// Range holds for prefixes inside Prefix with a length of Min to Max.
type Range struct {
	Prefix   netip.Prefix
	Min, Max int
}

// Group is neighbours that differ in no more than address and AS: those that
// one BGPPeer object leads to, by the family that their sessions run over.
type Group struct {
	Name        string // fit for any system's identifiers: letters, digits, "-"
	Description string
	// Internal sessions are with nodes of the switch's own AS. Reflects makes
	// these its clients (RFC 4456).
	Internal, Reflects bool
	Families           fabric.PerFamily[bool]
	// Over is the family of the addresses that the sessions run between. IPv4
	// routes on a session over IPv6 have IPv6 next hops (RFC 5549).
	Over            fabric.Family
	Hold, Keepalive time.Duration
	ConnectRetry    time.Duration
	Multihop, GTSM  uint8  // as in fabric.BGPPeerSpec
	Port            uint16 // on which the nodes listen
	// Secret is the placeholder of the MD5 secret, empty where there is none.
	Secret string
	// MaxPrefixes of one node.
	MaxPrefixes int
	// SharedASNs are those that several nodes of the fabric have: they refuse
	// each other's routes unless the switch puts its own AS in their place
	// (as-override), or they are told to accept them.
	SharedASNs []uint32
	Neighbors  []Neighbor
	Ranges     []Segment
	// ASNs are those that nodes whose own is not known may come with; none
	// where each neighbour has its own.
	ASNs []ASNRange
}

// ASNRange is AS numbers from First to Last.
type ASNRange struct{ First, Last uint32 }

// String gives "65001" or "65001-65010".
func (r ASNRange) String() string {
	if r.First == r.Last {
		return strconv.FormatUint(uint64(r.First), 10)
	}
	return fmt.Sprintf("%d-%d", r.First, r.Last)
}

// Neighbor is one node.
type Neighbor struct {
	Node string // its name; empty: not known
	// Exactly one of Address and Port is set.
	Address netip.Addr
	Port    string
	ASN     uint32     // 0: any but the switch's own
	Local   netip.Addr // of the switch; invalid with Port
}

// Segment is where any node may come from, with any AS but the switch's own.
type Segment struct {
	Prefix netip.Prefix
	Local  netip.Addr // of the switch
}

// ExtendedNextHop reports whether IPv4 routes need IPv6 next hops.
func (g Group) ExtendedNextHop() bool { return g.Over == fabric.IPv6 && g.Families.IPv4 }

// Placeholder stands where the MD5 secret of a BGPPeer object's sessions
// belongs.
func Placeholder(peer string) string { return "REPLACE-WITH-THE-SECRET-OF-" + peer }

// AnyASN reports whether the AS of some neighbour is not known.
func (g Group) AnyASN() bool {
	return slices.ContainsFunc(g.Neighbors, func(n Neighbor) bool { return n.ASN == 0 })
}

// Distant reports whether the sessions cross routers.
func (g Group) Distant() bool { return g.Multihop > 1 || g.GTSM > 1 }

// Listens reports whether some group takes sessions from a segment.
func (s Switch) Listens() bool {
	return slices.ContainsFunc(s.Groups, func(g Group) bool { return len(g.Ranges) > 0 })
}

// Ports are those over which sessions run between link-local addresses.
func (s Switch) Ports() []string {
	var out []string
	for _, g := range s.Groups {
		for _, n := range g.Neighbors {
			if n.Port != "" {
				out = append(out, n.Port)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
