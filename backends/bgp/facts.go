package bgp

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Facts is all that this node knows and that decides what its speaker does.
type Facts struct {
	Spec *fabric.Spec
	// BGP holds the fabric's objects with the node's own file merged in (see
	// Merge); nil: there are none.
	BGP *fabric.BGP
	// Self is this node: name, id, index (0: not known yet) and labels. Its
	// underlay addresses are those of Underlay.
	Self     fabric.Node
	Peers    []*fabric.Peer // every node, sorted by id, for targets by label
	Subnets  []netip.Prefix // leases of this node that are in force
	Underlay kernel.Underlay
	// Gateways are those of the default routes, with a zone where link-local.
	Gateways []netip.Addr
	// Secrets by the path of the file they come from. A path that is missing
	// has not been read yet.
	Secrets map[string]Credential
	// Healthy by BGPPrefix name; missing: not known yet, so not announced.
	Healthy map[string]bool
	// Leaving is the state of the extra prefixes (drain), Stopping that of
	// everything (the host goes down).
	Leaving, Stopping Leaving
}

// Credential is what was found in a secret's file, or why there is none.
type Credential struct {
	Secret Secret
	Err    string // in words; empty: Secret holds
}

// Leaving is how far traffic is being sent away from a node.
type Leaving uint8

// The steps, in order.
const (
	// Stay announces as ever.
	Stay Leaving = iota
	// Yielding announces with the GracefulShutdown community (RFC 8326) and the
	// lowest preference, so that others move away while the way still works.
	Yielding
	// Withdrawn announces nothing.
	Withdrawn
)

// Withheld is a prefix of an object that selects this node and is not
// announced now.
type Withheld struct {
	Prefix netip.Prefix
	Why    string // its origin, as in Announcement
	Reason string // why it is withheld, in words
}
