// Package probe finds out what the paths to the other nodes carry: whether
// packets of full size arrive, and where they do not, how large they may be
// (RFC 8899 in spirit). A probe is a packet that this node sends by one given
// path, whatever its routes say, to an address of the far node's in its pods'
// network; the far agent answers it, or, while that is gone, the far kernel
// answers an ICMP echo. The load is bounded whatever the number of peers.
//
// It decides nothing: the agent's loop tells it what to watch and asks for
// verdicts, migrations ask for volleys. It never touches a route. What is on the
// wire, and why, is in docs/design/probes.md.
//
// search is the state of one path, pure; table, queue and window say which is
// asked when, pure but for the time they are given; run is the one goroutine that
// puts the questions, and sockets are the wire.
package probe

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Key names a path that is watched.
type Key struct {
	Peer   fabric.NodeID
	Family fabric.Family
	Path   fabric.Path
}

// Target is a path and what it takes to send by it.
type Target struct {
	Key
	From, To netip.Addr // this node's and the far node's address in the pods' network
	// Hops are the next hops by which packets leave, each of which must carry
	// them. Where MAC is set there is one, and its gateway is not looked up: the
	// far VTEP on the overlay's device.
	Hops []kernel.Hop
	MAC  fabric.MAC
	// Underlay is where the far host answers outside of the pods' network.
	Underlay netip.Addr
	// Full is the size of the largest packet of a pod, bytes, its IP header
	// included; Earlier the size that was in force in an earlier life of the agent, 0: none.
	Full, Earlier int
	// Urgent: a choice waits for what is found.
	Urgent bool
}

// State is what is known of a path.
type State uint8

// The states.
const (
	Unknown State = iota // never answered, or not asked yet
	Answers
	Silent // it answered once, or another path to the same peer does, and does not
)

// Verdict is what the probes of a path found.
type Verdict struct {
	State State
	// MTU is the size of the largest packet that arrives, bytes; 0: not known,
	// Full: nothing is dropped.
	MTU   int
	Since time.Time // of this state and MTU
}

// Finding is a verdict and what it is about.
type Finding struct {
	Key
	Verdict
	Full int // what was asked for, bytes
}

// Result is the outcome of a volley.
type Result struct {
	Key
	Sent, Answered int
	Err            string // why nothing could be sent, empty: it was
}
