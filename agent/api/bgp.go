package api

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
)

// The paths under which the speaker is asked about. Queries: PathBGPRoutes
// takes `prefix` (an address: its longest match; all where there is none);
// PathBGPAdvertised and PathBGPReceived take `session` (a key, an address or a BGPPeer's name; all
// where there is none); PathBGPWhy takes `prefix`, also an address.
const (
	PathBGP           = "/v1/bgp"
	PathBGPRoutes     = "/v1/bgp/routes"
	PathBGPAdvertised = "/v1/bgp/advertised"
	PathBGPReceived   = "/v1/bgp/received"
	PathBGPWhy        = "/v1/bgp/why"
	// PathBGPShutdown (POST) makes the traffic leave, withdraws everything and
	// closes the sessions, and answers when that is done: for a host that is
	// about to go down. Only a new start of the agent undoes it.
	PathBGPShutdown = "/v1/bgp/shutdown"
)

// BGP is what `GET /v1/bgp` answers.
type BGP struct {
	Enabled  bool       `json:"enabled"` // the fabric's backend is bgp
	ASN      uint32     `json:"asn,omitempty"`
	RouterID netip.Addr `json:"routerID,omitzero"`
	// State is "starting", "running", "shutting down" or "shut down".
	State    string                 `json:"state,omitempty"`
	Reason   string                 `json:"reason,omitempty"`
	Sessions []BGPSession           `json:"sessions,omitempty"`
	Synced   fabric.PerFamily[bool] `json:"synced"` // end-of-RIB was heard from all
	// Announced are this node's own routes.
	Announced []BGPAnnouncement `json:"announced,omitempty"`
	// Pending are changes of sessions that wait for their turn, with what they
	// wait for.
	Pending  []string         `json:"pending,omitempty"`
	Problems []fabric.Problem `json:"problems,omitempty"`
	Drain    *fabric.Drain    `json:"drain,omitempty"`
	// FIB counts the routes from the speaker that the kernel should hold and
	// holds.
	FIB BGPFIB `json:"fib"`
}

// BGPFIB is how far the kernel is with what the speaker learnt.
type BGPFIB struct {
	Routes   int `json:"routes"`   // wanted
	Groups   int `json:"groups"`   // sets of next hops
	Lacking  int `json:"lacking"`  // not in the kernel
	Refused  int `json:"refused"`  // not wanted although learnt, see `why`
	Retained int `json:"retained"` // of an earlier life, kept until the peers told all
}

// BGPSession is one session.
type BGPSession struct {
	Key        string                             `json:"key"`
	Address    netip.Addr                         `json:"address,omitzero"`
	State      string                             `json:"state"`
	Since      time.Time                          `json:"since,omitzero"`
	RemoteASN  uint32                             `json:"remoteASN,omitempty"`
	RouterID   netip.Addr                         `json:"routerID,omitzero"`
	Flaps      uint64                             `json:"flaps"`
	Reason     string                             `json:"reason,omitempty"` // why it is, or last was, not established
	Restarting bool                               `json:"restarting,omitempty"`
	Hold       fabric.Duration                    `json:"hold,omitzero"`
	Families   fabric.PerFamily[BGPSessionFamily] `json:"families"`
}

// BGPSessionFamily counts routes on a session.
type BGPSessionFamily struct {
	Negotiated bool   `json:"negotiated"`
	EndOfRIB   bool   `json:"endOfRIB"`
	Received   uint64 `json:"received"`
	Accepted   uint64 `json:"accepted"`
	Rejected   uint64 `json:"rejected"`
	Advertised uint64 `json:"advertised"`
	Stale      uint64 `json:"stale"`
}

// BGPAnnouncement is a route of this node's own.
type BGPAnnouncement struct {
	Prefix netip.Prefix `json:"prefix"`
	Why    string       `json:"why"` // "lease", "prefix NAME"
	// Withheld says why it is not announced now, empty where it is.
	Withheld string `json:"withheld,omitempty"`
}

// BGPRoute is one route that a peer told or was told.
type BGPRoute struct {
	Prefix           netip.Prefix  `json:"prefix"`
	NextHop          netip.Addr    `json:"nextHop,omitzero"`  // none: our own
	Session          string        `json:"session,omitempty"` // empty: our own
	ASPath           []uint32      `json:"asPath,omitempty"`
	Communities      []string      `json:"communities,omitempty"`
	LargeCommunities []string      `json:"largeCommunities,omitempty"`
	MED              *uint32       `json:"med,omitempty"`
	LocalPreference  *uint32       `json:"localPreference,omitempty"`
	Best             bool          `json:"best"` // among those in use
	Stale            bool          `json:"stale,omitempty"`
	Rejected         string        `json:"rejected,omitempty"` // the rule that keeps it out
	Age              time.Duration `json:"age"`                // nanoseconds
	// Kernel is what the kernel holds for the prefix, in words, for
	// PathBGPRoutes and routes that a peer told.
	Kernel string `json:"kernel,omitempty"`
}

// Station is one step on the way of a prefix, for `weft bgp why`.
type Station struct {
	// Name is lease, announced, session, received, best, kernel or probe.
	Name string `json:"name"`
	// State is "ok", "fault" or "unknown" (nothing can be said from this node).
	State  string `json:"state"`
	Detail string `json:"detail"`
}

// Why is what `GET /v1/bgp/why` answers: the first fault is the cause.
type Why struct {
	Prefix   netip.Prefix `json:"prefix"`
	Owner    string       `json:"owner,omitempty"` // the node's name
	Stations []Station    `json:"stations"`
}
