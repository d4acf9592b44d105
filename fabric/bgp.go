package fabric

import (
	"net/netip"
	"time"
)

// BGP is what operators want of the speakers: every BGPPeer, BGPPolicy and
// BGPPrefix object, each list sorted by name. It is immutable: the same pointer
// in two snapshots means that nothing changed.
type BGP struct {
	Peers    []BGPPeer   `json:"peers,omitempty"`
	Policies []BGPPolicy `json:"policies,omitempty"`
	Prefixes []BGPPrefix `json:"prefixes,omitempty"`
}

// BGPPeer is an object of that kind with its name.
type BGPPeer struct {
	Name string      `json:"name"`
	Spec BGPPeerSpec `json:"spec"`
}

// BGPPolicy is an object of that kind with its name.
type BGPPolicy struct {
	Name string        `json:"name"`
	Spec BGPPolicySpec `json:"spec"`
}

// BGPPrefix is an object of that kind with its name.
type BGPPrefix struct {
	Name string        `json:"name"`
	Spec BGPPrefixSpec `json:"spec"`
}

// The rules by which nodes get their AS numbers, besides a number for all.
const (
	// ASNPerNode gives each node ASNBase plus its index: an AS of its own from
	// the private 4-byte range (RFC 6996).
	ASNPerNode = "perNode"
	// ASNPerLabel takes the number from BGPSpec.ASNs by the node's label
	// BGPSpec.ASNLabel: one AS per rack.
	ASNPerLabel = "perLabel"
	// ASNBase is the first private 4-byte AS number.
	ASNBase = 4200000000
)

// The rules by which nodes get their BGP identifiers (RFC 4271, 4.2).
const (
	// RouterIDUnderlay is the IPv4 underlay address, where there is one, and
	// RouterIDIndex otherwise.
	RouterIDUnderlay = "underlay"
	// RouterIDIndex is 0.0.0.0 plus the node's index.
	RouterIDIndex = "index"
)

// BGPSpec is `spec.bgp` of the Fabric: what all speakers have in common.
type BGPSpec struct {
	// ASN is a number in decimal, ASNPerNode or ASNPerLabel.
	ASN      string            `json:"asn"`
	ASNLabel string            `json:"asnLabel,omitempty"` // default "rack"
	ASNs     map[string]uint32 `json:"asns,omitempty"`     // by value of that label
	RouterID string            `json:"routerID"`           // RouterIDUnderlay or RouterIDIndex
	// Listen are the local addresses on which sessions are accepted; empty: all
	// of the host's. Port is the TCP port.
	Listen []netip.Addr `json:"listen,omitempty"`
	Port   uint16       `json:"port"`
	Timers BGPTimers    `json:"timers"`
	// GracefulRestart (RFC 4724) and LongLived (RFC 9494).
	GracefulRestart BGPRestart `json:"gracefulRestart"`
	LongLived       BGPRestart `json:"longLivedGracefulRestart"`
	// Multipath is how many equal ways to one prefix are used at most.
	Multipath int `json:"multipath"`
	// BMP are the monitoring stations (RFC 7854), as host:port.
	BMP []string `json:"bmp,omitempty"`
}

// BGPTimers are those of a session; zero takes the value of the level above.
type BGPTimers struct {
	Hold         Duration `json:"hold,omitzero"`
	Keepalive    Duration `json:"keepalive,omitzero"`
	ConnectRetry Duration `json:"connectRetry,omitzero"`
}

// BGPRestart switches a restart capability and says how long routes are kept.
type BGPRestart struct {
	Enabled bool     `json:"enabled"`
	Time    Duration `json:"time,omitzero"`
}

// Selector picks nodes by their labels: every pair must match. An empty one
// that is not nil matches every node; a nil one means that none was given.
type Selector map[string]string

// Matches reports whether a node with these labels is selected.
func (s Selector) Matches(labels map[string]string) bool {
	if s == nil {
		return false
	}
	for k, v := range s {
		if have, ok := labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// BGPPeerSpec says which nodes have a session with whom, and how.
type BGPPeerSpec struct {
	Description string    `json:"description,omitempty"`
	Nodes       Selector  `json:"nodes"`
	Peer        BGPTarget `json:"peer"`
	// ASN of the far end: a number in decimal, "external" (any but our own) or
	// "internal" (our own).
	ASN      string `json:"asn"`
	LocalASN uint32 `json:"localASN,omitempty"` // 0: the node's
	// Source is where the session starts from; at most one is set.
	SourceAddress   netip.Addr `json:"sourceAddress,omitzero"`
	SourceInterface string     `json:"sourceInterface,omitempty"`
	Port            uint16     `json:"port,omitempty"` // of the far end; 0: 179
	Passive         bool       `json:"passive,omitempty"`
	// Multihop is the TTL of a session over several hops (RFC 4271 leaves it
	// at 1 for external ones); GTSM the number of hops away from which packets
	// are accepted (RFC 5082). At most one is set.
	Multihop uint8   `json:"multihop,omitempty"`
	GTSM     uint8   `json:"gtsm,omitempty"`
	Auth     BGPAuth `json:"auth,omitzero"`
	// Timers override the Fabric's.
	Timers BGPTimers `json:"timers,omitzero"`
	// MaxPrefixes per family takes the session down when it is exceeded; 0: a
	// default that no fabric reaches.
	MaxPrefixes uint32 `json:"maxPrefixes,omitempty"`
	AllowOwnASN uint8  `json:"allowOwnASN,omitempty"` // occurrences in the AS path
	// Families on the session, "ipv4", "ipv6"; empty: those of the fabric's
	// networks, on one session.
	Families    []string `json:"families,omitempty"`
	NextHopSelf bool     `json:"nextHopSelf,omitempty"`
	// RouteReflector makes the nodes that Peer.Nodes selects reflectors
	// (RFC 4456) towards those that Nodes selects. Where Peer is an address or a
	// range, the nodes that Nodes selects reflect, and who is there is a client:
	// switches that forward between next hops and so must know the pods' subnets.
	RouteReflector *BGPReflector `json:"routeReflector,omitempty"`
	// Import and Export name BGPPolicy objects, evaluated in order, before the
	// defaults.
	Import []string `json:"import,omitempty"`
	Export []string `json:"export,omitempty"`
	// What is attached to every route sent.
	BGPAttributes
}

// BGPTarget is the far end of sessions; exactly one field is set.
type BGPTarget struct {
	// Gateways "all" means each gateway of the node's default routes.
	Gateways  string     `json:"gateways,omitempty"`
	Address   netip.Addr `json:"address,omitzero"`
	Interface string     `json:"interface,omitempty"` // the IPv6 link-local neighbour there (RFC 5549)
	// Nodes are other nodes of the fabric; {} is a full mesh.
	Nodes Selector `json:"nodes,omitzero"`
	// Range accepts sessions from any address in it.
	Range netip.Prefix `json:"range,omitzero"`
}

// BGPAuth authenticates a session. The secret is in a file on the node and
// nowhere else.
type BGPAuth struct {
	MD5File string `json:"md5File,omitempty"` // RFC 2385; up to 80 bytes, a newline at the end does not count
}

// BGPReflector configures route reflection.
type BGPReflector struct {
	ClusterID netip.Addr `json:"clusterID"` // IPv4 form (RFC 4456, section 8)
}

// BGPAttributes are attached to routes.
type BGPAttributes struct {
	Communities      []string `json:"communities,omitempty"`      // "65000:100" or a well-known name (RFC 1997)
	LargeCommunities []string `json:"largeCommunities,omitempty"` // "65000:1:2" (RFC 8092)
	MED              *uint32  `json:"med,omitempty"`
	LocalPreference  *uint32  `json:"localPreference,omitempty"`
	Prepend          uint8    `json:"prepend,omitempty"` // own AS that many times more
}

// BGPPolicySpec is an ordered list of rules: the first that matches and does
// not say "next" decides; a route that none decides goes on to the next policy
// and at last to the defaults.
type BGPPolicySpec struct {
	Rules []BGPRule `json:"rules"`
}

// BGPRule changes and decides what matches.
type BGPRule struct {
	Match  BGPMatch `json:"match,omitzero"` // empty: everything
	Set    BGPSet   `json:"set,omitzero"`
	Action string   `json:"action"` // "accept", "reject" or "next"
}

// BGPMatch holds when each of its fields that are set does; a list holds when
// one of its items does.
type BGPMatch struct {
	Prefixes         []BGPPrefixRange `json:"prefixes,omitempty"`
	Communities      []string         `json:"communities,omitempty"`
	LargeCommunities []string         `json:"largeCommunities,omitempty"`
	ASPath           string           `json:"asPath,omitempty"` // a regular expression in the field's notation, "_" a boundary
	Peers            []string         `json:"peers,omitempty"`  // names of BGPPeer objects or addresses
}

// BGPPrefixRange is a prefix and the lengths that more specific ones may have;
// both zero: the prefix itself only.
type BGPPrefixRange struct {
	Prefix netip.Prefix `json:"prefix"`
	Min    int          `json:"min,omitempty"`
	Max    int          `json:"max,omitempty"`
}

// BGPSet alters a route. RemoveCommunities is done before those of
// BGPAttributes are added.
type BGPSet struct {
	RemoveCommunities []string `json:"removeCommunities,omitempty"`
	BGPAttributes
}

// BGPPrefixSpec announces prefixes that are no leases: anycast and service
// addresses. Whoever serves them is on the node itself.
type BGPPrefixSpec struct {
	Nodes    Selector       `json:"nodes"`
	Prefixes []netip.Prefix `json:"prefixes"`
	// Health withdraws them while it fails; nil: they are always announced.
	Health *BGPHealth `json:"health,omitempty"`
	BGPAttributes
}

// BGPHealth is a condition; exactly one of TCP, HTTP and Interface is set.
type BGPHealth struct {
	TCP  string `json:"tcp,omitempty"`  // host:port that accepts a connection
	HTTP string `json:"http,omitempty"` // URL that answers 2xx or 3xx
	// Interface must hold an address in each of the prefixes.
	Interface string   `json:"interface,omitempty"`
	Interval  Duration `json:"interval,omitzero"` // default 2s
	Timeout   Duration `json:"timeout,omitzero"`  // default 1s
	Rise      int      `json:"rise,omitempty"`    // successes in a row that announce, default 2
	Fall      int      `json:"fall,omitempty"`    // failures in a row that withdraw, default 3
}

// The defaults of sessions.
const (
	BGPPort          = 179
	BGPHold          = Duration(9 * time.Second)
	BGPKeepalive     = Duration(3 * time.Second)
	BGPConnectRetry  = Duration(5 * time.Second)
	BGPRestartTime   = Duration(30 * time.Second)
	BGPLongLivedTime = Duration(time.Hour)
	BGPMultipath     = 16
	BGPMaxPrefixes   = 200000
)
