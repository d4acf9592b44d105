// Package backends holds what every backend is given. A backend turns the
// fabric's snapshot into the kernel objects that this host should have: two
// pure functions, Base for what is there whoever the peers are, and Peer for
// what one peer needs. What is desired is their union, so a change of one peer
// costs one peer: the agent takes away what Peer said before and adds what it
// says now. Backends do no I/O and keep no state; they know the vocabulary,
// the configuration and the kernel's value types, nothing else. What all of
// them need is here too, see the function Base.
package backends

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Input is what a backend computes with besides the peer. It is immutable.
type Input struct {
	Spec     *fabric.Spec
	Self     fabric.NodeID
	Underlay kernel.Underlay
	// Subnets are this node's own; the first of a family gives the VTEP's
	// address. Base depends on them, Peer must not.
	Subnets []netip.Prefix
	// Uplinks are further devices by which packets of the fabric arrive and
	// leave, besides that of Underlay: a host has several where it peers with
	// two switches.
	Uplinks []string
}

// Remote is another node and what this host found out about it.
type Remote struct {
	*fabric.Peer
	// Down is true when its agent is gone and its host answers no probe.
	Down bool
}

// Way is how a peer is reached.
type Way struct {
	Kind   fabric.PathKind // empty: not reached
	Reason string          // in words, for operators
}

// Unreachable is the Kind of a peer whose host is down.
const Unreachable fabric.PathKind = "unreachable"
