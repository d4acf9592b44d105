// Package backends turns what is known of the fabric into the kernel objects
// that this host should have. Base is what is there whoever the peers are; for
// each peer there are the ways to it (Direct, vxlan.Arm, and bgp.FIB for what
// the routers told), all of which are armed whichever is in use, and a Route to
// each of its subnets, which leads to the one that is. What is desired is the
// union, so a change of one peer costs one peer: the agent takes away what was
// said of it before and adds what is said now. Everything here is pure, but for
// the FIB's and the chooser's memory: no I/O, only the vocabulary, the
// configuration and the kernel's value types. Which way is used is chosen in
// package paths.
package backends

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Input is what a host's objects are computed from besides the peers. It is
// immutable.
type Input struct {
	Spec *fabric.Spec
	// Plans are those by which peers may send to this host; the first is the
	// specification's (Snapshot.Plans). None: that one alone.
	Plans    []fabric.Plan
	Self     fabric.NodeID
	Underlay kernel.Underlay
	// Subnets are this node's own; the first of a family gives the VTEP's
	// address. What a peer needs must not depend on them.
	Subnets []netip.Prefix
	// Uplinks are further devices by which packets of the fabric arrive and
	// leave, besides that of Underlay: a host has several where it peers with
	// two switches.
	Uplinks []string
}

// InForce are the plans by which peers may send to this host, one at least.
func (in *Input) InForce() []fabric.Plan {
	if len(in.Plans) == 0 {
		return []fabric.Plan{in.Spec.Plan()}
	}
	return in.Plans
}

// Remote is another node and what this host found out about it.
type Remote struct {
	*fabric.Peer
	// Down is true when its agent is gone and its host answers no probe.
	Down bool
}
