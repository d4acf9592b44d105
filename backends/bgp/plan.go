package bgp

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// Plan computes what this node's speaker should do. It is pure. What is wrong
// with an object costs that object alone and is told as a problem. A Desired
// whose Global.ASN is 0 says that too little is known: the speaker is to stay
// as it is.
func Plan(f Facts) (Desired, []fabric.Problem) { return Desired{}, nil }

// WithheldBy lists what Plan does not announce although an object wants it.
func WithheldBy(f Facts) []Withheld { return nil }

// Merge puts the objects of a node's own file over the fabric's: one of the
// same kind and name replaces. Neither argument is changed; both may be nil.
func Merge(base, own *fabric.BGP) *fabric.BGP { return base }

// ASNOf is the AS number of a node. Everybody derives it, so a node's own is
// the one that its peers expect.
func ASNOf(spec *fabric.BGPSpec, n *fabric.Node) (uint32, error) { return 0, nil }

// RouterIDOf is the BGP identifier of a node; invalid while its index is not
// known and it has no IPv4 underlay address.
func RouterIDOf(spec *fabric.BGPSpec, n *fabric.Node) netip.Addr { return netip.Addr{} }
