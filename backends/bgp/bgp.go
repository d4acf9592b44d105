// Package bgp is the routing backend: it turns the fabric's snapshot into what
// this node's speaker should do (Desired), and what the speaker learnt into
// kernel objects (FIB). It is pure: no I/O, no clock, no goroutine, and no
// GoBGP. Package speaker below it carries a Desired out; the agent and the
// lab's router put the two together.
package bgp

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Desired is everything that a speaker should do. It is a value: two that are
// deeply equal ask for the same, and the speaker carries out the difference.
type Desired struct {
	Global   Global
	Sessions []Session // sorted by Key
	Ranges   []Range   // sorted by prefix
	// Announcements are this node's own routes, sorted by prefix.
	Announcements []Announcement
}

// Global is what all sessions share. A change of what GlobalResets names stops
// the speaker and starts it anew; the restart times are those of sessions that
// come up later.
type Global struct {
	ASN      uint32
	RouterID netip.Addr   // IPv4 form
	Listen   []netip.Addr // local addresses; empty: all
	Port     uint16
	// Multipath is the number of equal ways that are used at most, at least 1.
	Multipath int
	// RestartTime is the graceful-restart time told to peers, whole seconds; 0
	// switches it off. LongLived likewise.
	RestartTime, LongLived time.Duration
	BMP                    []string // host:port
	// Transit lets routes learnt from one peer go to the others: for the lab's
	// routers only, never set by Plan.
	Transit bool
}

// Session is one session with one neighbour.
type Session struct {
	// Key names the session: the BGPPeer object's name and the far end, like
	// "tors/198.18.1.1" or "uplinks/eth1".
	Key string
	Opening
	Hold, Keepalive, ConnectRetry time.Duration
	MaxPrefixes                   uint32
	NextHopSelf                   bool
	// Import and Export are complete: what no rule accepts is rejected, and
	// Export sees this node's own routes only (reflectors see all). Sessions may
	// share them: nobody changes them.
	Import, Export []Rule
	Description    string
}

// Opening is what a session's connection is made with and what is told when it
// is opened. A change of any of it resets the session (see Resets); all else of
// a Session is changed in place.
type Opening struct {
	// Address of the far end; with a zone where it is link-local. Invalid while
	// Interface is set: the link-local neighbour there is looked up.
	Address   netip.Addr
	Interface string
	// RemoteASN 0 accepts any AS but our own.
	RemoteASN       uint32
	LocalASN        uint32 // 0: Global.ASN
	SourceAddress   netip.Addr
	SourceInterface string
	Port            uint16 // of the far end
	Passive         bool
	Multihop, GTSM  uint8 // as in fabric.BGPPeerSpec
	// Password is the MD5 secret, never logged. HeldDown, when not empty, is
	// why there must be no session now (the password's file cannot be read).
	Password    Secret
	HeldDown    string
	AllowOwnASN uint8
	Families    fabric.PerFamily[bool]
	// ReflectorClient makes the far end our client. ClusterID is ours, also
	// towards other reflectors; invalid: we are none.
	ReflectorClient bool
	ClusterID       netip.Addr
}

// Range accepts sessions from addresses in a prefix, all configured like
// Template (whose Key, Address and Interface mean nothing).
type Range struct {
	Prefix   netip.Prefix
	Template Session
}

// Secret is a password. It prints as stars.
type Secret string

func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return "***"
}

// GoString keeps %#v from showing it.
func (s Secret) GoString() string { return s.String() }

// MarshalText keeps encoders from showing it.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// Rule is one step of a policy: the first whose Match holds is applied, and
// ends the evaluation unless Action is Next.
type Rule struct {
	Name   string // policy and number, like "tors-in/2", or "default/own-subnets"
	Match  Match
	Set    Set
	Action Action
}

// Action is what a rule decides.
type Action uint8

// The actions. The zero value rejects.
const (
	Reject Action = iota
	Accept
	Next
)

// Match holds when each of its lists that is not empty has an item that holds.
type Match struct {
	Prefixes         []PrefixRange
	Communities      []Community
	LargeCommunities []LargeCommunity
	ASPath           string // regular expression, "_" a boundary
}

// PrefixRange holds for prefixes inside Prefix with a length of Min to Max.
type PrefixRange struct {
	Prefix   netip.Prefix
	Min, Max int
}

// Set alters a route.
type Set struct {
	RemoveCommunities []Community
	Attributes
}

// Community is a community (RFC 1997), the AS in its upper half.
type Community uint32

// LargeCommunity is a large community (RFC 8092).
type LargeCommunity struct{ Global, Local1, Local2 uint32 }

// GracefulShutdown is the well-known community 65535:0 (RFC 8326).
const GracefulShutdown Community = 0xffff0000

// Attributes are attached to a route.
type Attributes struct {
	Communities      []Community
	LargeCommunities []LargeCommunity
	MED              *uint32
	LocalPreference  *uint32
	Prepend          uint8
}

// Announcement is a route of this node's own.
type Announcement struct {
	Prefix netip.Prefix
	Attributes
	// Why names its origin: "lease" or "prefix NAME".
	Why string
}

// Change is a prefix whose ways changed: all that are equally best now, at most
// Global.Multipath; none where it was withdrawn. A link-local next hop has the
// interface as its zone.
type Change struct {
	Prefix   netip.Prefix
	NextHops []netip.Addr // sorted, without repetition
}

// State of a session in words: idle, connect, active, opensent, openconfirm,
// established (RFC 4271, 8.2.2), or held where HeldDown says why.
type State string

// The states that callers test for.
const (
	Established State = "established"
	Held        State = "held"
)

// SessionStatus is what is known of a session.
type SessionStatus struct {
	Key       string
	Address   netip.Addr
	Dynamic   bool // it came out of a range, and has no status while it is down
	State     State
	Since     time.Time // of the state
	RemoteASN uint32    // as the far end says, 0 before it did
	RouterID  netip.Addr
	Flaps     uint64 // times that it left Established
	// LastError says in words why the session is or was last down: wrong AS,
	// wrong password, GTSM, family, hold timer expired, the far end's
	// NOTIFICATION.
	LastError  string
	Families   fabric.PerFamily[FamilyStatus]
	Hold       time.Duration // negotiated
	Restarting bool          // the far end restarts gracefully; its routes are stale
}

// FamilyStatus counts routes of one family on a session.
type FamilyStatus struct {
	Negotiated bool
	EndOfRIB   bool // the far end has told all
	Received   uint64
	Accepted   uint64
	Rejected   uint64
	Advertised uint64
	Stale      uint64
}

// Path is one route as a peer told it or as it was told to a peer.
type Path struct {
	Prefix           netip.Prefix
	NextHop          netip.Addr
	From             netip.Addr // the peer; invalid: our own
	Session          string     // its Session.Key
	ASPath           []uint32
	Communities      []Community
	LargeCommunities []LargeCommunity
	MED              *uint32
	LocalPreference  *uint32
	Best             bool // among those used
	Stale            bool
	// Rejected names the rule that keeps it out, empty where it is in.
	Rejected string
	Age      time.Duration
}
