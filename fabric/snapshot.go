package fabric

import (
	"iter"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// NodeID identifies a host for as long as it exists, whatever its name or
// addresses are.
type NodeID string

// PathKind is a way in which a node can receive packets for its pods.
type PathKind string

// The ways there are.
const (
	PathVXLAN  PathKind = "vxlan"
	PathDirect PathKind = "direct"
	PathBGP    PathKind = "bgp"
)

// Node is what an agent says of its own host under `nodes/<name>`.
type Node struct {
	Name  string `json:"name"`
	ID    NodeID `json:"id"`
	Index uint32 `json:"index"` // small, unique, from 1; chosen by the store
	// Underlay is where other hosts reach this one.
	Underlay PerFamily[netip.Addr] `json:"underlay"`
	VTEPMAC  MAC                   `json:"vtepMAC"`
	MTU      int                   `json:"mtu"` // of the underlay interface, bytes
	ASN      uint32                `json:"asn,omitempty"`
	Labels   map[string]string     `json:"labels,omitempty"`
	Receives []PathKind            `json:"receives"`
	// Features are abilities of the agent that others must know of, like
	// FeatureMigrate.
	Features []string `json:"features,omitempty"`
	Version  string   `json:"version,omitempty"` // of weftd
}

// CanReceive reports whether the node says that it accepts packets by path k.
func (n *Node) CanReceive(k PathKind) bool { return slices.Contains(n.Receives, k) }

// Subnet is the record under `subnets/<family>/<addr>-<len>`: a lease, or,
// with For set and no owner yet, a reservation waiting for its node.
type Subnet struct {
	Prefix netip.Prefix `json:"-"` // from the key
	Owner  NodeID       `json:"owner,omitempty"`
	// Epoch grows each time a node loses and regains subnets, so that traces
	// of an older ownership can be told apart.
	Epoch uint64 `json:"epoch,omitempty"`
	For   string `json:"for,omitempty"` // the node's name, where it is a reservation

	CreateRevision int64 `json:"-"` // its age: the smaller, the older
	ModRevision    int64 `json:"-"`
	EtcdLease      int64 `json:"-"` // 0: none, the record stays until removed
}

// Peer is a node with everything that the fabric knows of it. A *Peer is
// immutable: the same pointer in two snapshots means that nothing changed.
type Peer struct {
	Node
	Alive bool // its agent renews its alive key
	// Held is true while its records are gone from etcd but its removal is
	// held back because too many went at once.
	Held bool
	// Subnets are those owned and in force (collisions settled), IPv4 first and
	// the oldest first: what rests on the first of a family stays when the node
	// gets a further one.
	Subnets []Subnet
	// CreateRevision of the node record: its age.
	CreateRevision int64
}

// SubnetsOf are the peer's subnets of one family, the oldest first.
func (p *Peer) SubnetsOf(f Family) iter.Seq[netip.Prefix] {
	return func(yield func(netip.Prefix) bool) {
		for i := range p.Subnets {
			if prefix := p.Subnets[i].Prefix; FamilyOf(prefix.Addr()) == f && !yield(prefix) {
				return
			}
		}
	}
}

// FirstSubnet is the first of them; false: there is none.
func (p *Peer) FirstSubnet(f Family) (netip.Prefix, bool) {
	for prefix := range p.SubnetsOf(f) {
		return prefix, true
	}
	return netip.Prefix{}, false
}

// Problem is a record that weft does not act on, and why.
type Problem struct {
	Key    string `json:"key"`
	Reason string `json:"reason"`
}

// Snapshot is the fabric as it was at one etcd revision. It is immutable.
type Snapshot struct {
	ClusterID uint64
	Revision  int64
	Taken     time.Time // when etcd last confirmed it
	Cached    bool      // read from the state directory, etcd not heard yet
	Spec      *Spec     // nil: there is no Fabric object
	SpecRev   int64     // mod revision of the Fabric object
	Peers     []*Peer   // every node, this one included, sorted by ID
	BGP       *BGP      // nil: there is no object of BGP
	// Drained nodes by name: operators want traffic to leave them. The same map
	// in two snapshots means that nothing changed; nil: there are none.
	Drained map[string]Drain
	// Migration under way, nil: none. Reports are those of the nodes on it, by
	// name. The same pointer and map in two snapshots mean that nothing changed.
	Migration *Migration
	Reports   map[string]MigrationReport
	// Reservations not owned by anybody, by prefix.
	Reservations []Subnet
	Problems     []Problem // sorted by key
	// Hold is set while a mass disappearance is held back.
	Hold *Hold
}

// Drain is the record under `drained/<name>`: an operator wants the extra
// prefixes of a node gone, and how far that is.
type Drain struct {
	Since time.Time `json:"since"`
	// State is what the node's agent says: "" (not seen yet), "leaving" (sent
	// with the graceful-shutdown community), "withdrawn", "quiet" (withdrawn, and
	// no packet to them came for a while).
	State  string    `json:"state,omitempty"`
	Reason string    `json:"reason,omitempty"` // in words, like the packets still seen
	At     time.Time `json:"at,omitzero"`      // when State was set
}

// Hold describes a mass disappearance that is not acted upon yet.
type Hold struct {
	Since time.Time `json:"since"`
	Peers int       `json:"peers"`
	// Objects are those of BGP, drains and a migration that are gone from etcd and
	// stay in force; Snapshot.Problems names each.
	Objects int    `json:"objects,omitempty"`
	Reason  string `json:"reason"`
}

// Peer returns the peer with the given id, or nil.
func (s *Snapshot) Peer(id NodeID) *Peer {
	i, ok := slices.BinarySearchFunc(s.Peers, id, func(p *Peer, id NodeID) int { return strings.Compare(string(p.ID), string(id)) })
	if !ok {
		return nil
	}
	return s.Peers[i]
}
