package api

import (
	"time"

	"github.com/weft-net/weft/fabric"
)

// PathPeers answers `GET /v1/peers`, with `?peer=NAME` for one: []PeerPaths.
const PathPeers = "/v1/peers"

// PeerPaths is how a peer is reached, for each family that it has subnets of.
type PeerPaths struct {
	Name     string        `json:"name"`
	ID       fabric.NodeID `json:"id"`
	Alive    bool          `json:"alive"`
	Families []FamilyPath  `json:"families"`
}

// FamilyPath is the choice for one family.
type FamilyPath struct {
	Family string `json:"family"` // ipv4 or ipv6
	// Path is vxlan, direct, bgp, unreachable or none; Reason says why it was
	// chosen, Next what it will be soon, or nothing.
	Path     string    `json:"path"`
	Reason   string    `json:"reason"`
	Next     string    `json:"next,omitempty"`
	Since    time.Time `json:"since,omitzero"`
	Switches int       `json:"switches"` // since the agent's start
	// MTU is the largest packet that pods can send by it, bytes; Full what the
	// fabric means it to be. Where MTU is less, a route says so.
	MTU    int         `json:"mtu"`
	Full   int         `json:"full"`
	Offers []PathOffer `json:"offers"` // all ways, by preference
}

// PathOffer is one way that there is, or why there is none.
type PathOffer struct {
	Path   string `json:"path"`
	State  string `json:"state"`         // up, doubtful, gone
	Probe  string `json:"probe"`         // answers, silent, unknown
	MTU    int    `json:"mtu,omitempty"` // that probes found, 0: not known
	Reason string `json:"reason"`
}

// Reduced is a path that drops packets of full size.
type Reduced struct {
	Peer   string    `json:"peer"`
	Family string    `json:"family"`
	Path   string    `json:"path"`
	MTU    int       `json:"mtu"`
	Full   int       `json:"full"`
	Since  time.Time `json:"since"`
}
