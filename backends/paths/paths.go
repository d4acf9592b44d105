// Package paths chooses how each peer is reached: of the ways that there are at
// the moment, the one that the operator prefers, without following a way that
// comes and goes. It is pure but for what it remembers, and belongs to one
// goroutine; where the facts come from and what is done with the choice is the
// agent's business.
package paths

import (
	"time"

	"github.com/weft-net/weft/fabric"
)

// Key is what a choice is made for: one family of one peer. Its subnets of that
// family go together.
type Key struct {
	Peer   fabric.NodeID
	Family fabric.Family
}

// State is what is known of a way.
type State uint8

// The states, worst first. A way that is Gone cannot be programmed; one that is
// Doubtful can, but there is evidence against it (all sessions are down, probes
// get no answer): it is used where nothing better is left.
const (
	Gone State = iota
	Doubtful
	Up
)

// Verdict is what probes found out about a way.
type Verdict uint8

// The verdicts.
const (
	Unknown Verdict = iota // nobody asked yet, or nobody ever answered by any way
	Answers
	Silent
)

// Offer is one way to a peer and what is known of it.
type Offer struct {
	Path    fabric.Path
	State   State
	Verdict Verdict
	Reason  string // in words: how ("via 198.18.1.1 on eth0"), or why not
}

// Choice is the way that is in use, and why.
type Choice struct {
	Path   fabric.Path // Kind is empty where there is none
	Reason string
	Since  time.Time
	// Next is the way that will be taken when it has been stable and has answered
	// a probe; its Kind is empty where there is none. Whoever probes should probe
	// it.
	Next fabric.Path
	// Switches counts the changes since the agent's start.
	Switches int
}
