// Package api is the agent's control socket: the types that cross it and the
// client. The socket is <runDir>/weftd.sock, HTTP with JSON bodies, for root
// only. The command line and the lab use this package; it imports the
// vocabulary and nothing else of weft.
package api

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Socket is the control socket's name in the run directory.
const Socket = "weftd.sock"

// Status is what `GET /v1/status` answers: this node as its agent sees it.
type Status struct {
	Node    string        `json:"node"`
	NodeID  fabric.NodeID `json:"nodeID"`
	Version string        `json:"version"`
	Started time.Time     `json:"started"`
	Ready   bool          `json:"ready"`
	// NotReady says in words what is missing, most important first.
	NotReady []string     `json:"notReady,omitempty"`
	Lease    Lease        `json:"lease"`
	Etcd     Etcd         `json:"etcd"`
	Underlay Underlay     `json:"underlay"`
	Peers    []Peer       `json:"peers"`
	Hold     *fabric.Hold `json:"hold,omitempty"`
	// Problems are records not acted upon, Conflicts kernel objects of others
	// at our keys, Failed what the kernel refuses.
	Problems  []fabric.Problem `json:"problems,omitempty"`
	Conflicts []string         `json:"conflicts,omitempty"`
	Failed    []string         `json:"failed,omitempty"`
	// Repaired counts, by kind, what others altered and the agent put right.
	Repaired map[string]uint64 `json:"repaired"`
	// Writes counts the netlink requests sent since the start.
	Writes uint64 `json:"netlinkWrites"`
	// MTU is the pods'.
	MTU int `json:"mtu"`
	// Reduced are the paths that drop packets of full size, Silent the peers whose
	// path in use answers no probe, by name.
	Reduced []Reduced `json:"reduced,omitempty"`
	Silent  []string  `json:"silent,omitempty"`
	// Migration is how far the one under way is, nil: there is none.
	Migration *Migration `json:"migration,omitempty"`
}

// Migration is a migration as this node sees it.
type Migration struct {
	Phase string `json:"phase"` // as in fabric.Progress
	Moved int    `json:"moved"` // of this node's peers
	Total int    `json:"total"`
	// Paused says why, empty: it is not. Reason is what this node waits for.
	Paused string `json:"paused,omitempty"`
	Reason string `json:"reason,omitempty"`
}

// Lease is this node's share of the fabric.
type Lease struct {
	// State is one of waiting, leased, exhausted, refused, fenced.
	State string `json:"state"`
	// Reason is why it is not leased, or why there is not all that is wanted.
	Reason  string         `json:"reason,omitempty"`
	Index   uint32         `json:"index,omitempty"`
	Subnets []netip.Prefix `json:"subnets,omitempty"`
	Epoch   uint64         `json:"epoch,omitempty"`
}

// Etcd is the state of the connection.
type Etcd struct {
	Connected bool      `json:"connected"`
	Error     string    `json:"error,omitempty"`
	Revision  int64     `json:"revision"`
	Taken     time.Time `json:"taken"` // when etcd last confirmed the snapshot
	Cached    bool      `json:"cached"`
}

// Underlay is where this node sends from.
type Underlay struct {
	Interface string                       `json:"interface"`
	Addrs     fabric.PerFamily[netip.Addr] `json:"addrs"`
	MTU       int                          `json:"mtu"`
}

// Peer is another node as this one reaches it.
type Peer struct {
	Name     string         `json:"name"`
	ID       fabric.NodeID  `json:"id"`
	Alive    bool           `json:"alive"`
	Held     bool           `json:"held,omitempty"`
	Subnets  []netip.Prefix `json:"subnets"`
	Underlay netip.Addr     `json:"underlay"`
	// Path is vxlan, direct, bgp, unreachable or none; Reason says why, and by
	// which next hops where it is bgp.
	Path   string `json:"path"`
	Reason string `json:"reason,omitempty"`
	// Programmed is true while the kernel holds all that this peer needs.
	Programmed bool `json:"programmed"`
}
