package config

import (
	"net/netip"
	"time"

	"github.com/weft-net/weft/fabric"
)

// DefaultFile is read where neither --config nor WEFT_CONFIG names another.
// It alone may be absent.
const DefaultFile = "/etc/weft/weftd.yaml"

// Node is the configuration of one host: what weftd.yaml, the environment and
// the flags say, checked, with defaults filled in.
type Node struct {
	NodeName string
	NodeID   fabric.NodeID
	Labels   map[string]string // what BGP's objects pick nodes by
	Etcd     Etcd
	Underlay Underlay
	RunDir   string // sockets, node file and address slots; gone after a reboot
	StateDir string // the last snapshot; survives a reboot
	BGPFile  string // objects that override the fabric's, for ParseBGPFile; may be absent
	CNI      CNI
	Listen   string // host:port of metrics and health
	Log      Log
}

// Etcd says where the fabric's records are and how to get in.
type Etcd struct {
	Endpoints    []string // URLs, each with scheme, host and port
	Prefix       string   // begins with a slash, does not end with one
	TLS          TLS
	Username     string
	PasswordFile string // the password itself is in no configuration
	DialTimeout  time.Duration
}

// TLS holds absolute paths of PEM files. CA alone, or cert with key, or all
// three may be set; where none is and the endpoints are https, the system's
// authorities are trusted.
type TLS struct{ CA, Cert, Key string }

// Any reports whether anything is set.
func (t TLS) Any() bool { return t != TLS{} }

// Underlay says which interface and address this host sends from. At most one
// is set; with none it is the interface of the default route.
type Underlay struct {
	Interface string
	Address   netip.Addr // one of this host's
	Reach     netip.Addr // the interface that the kernel would reach it by
}

// CNI says whether the agent writes the network's configuration for container
// runtimes, and where.
type CNI struct {
	ConfDir string
	Write   bool
}

// Log says how much is logged and in which form.
type Log struct {
	Level  string // error, warn, info, debug or trace
	Format string // text or json
}

// defaults returns a Node with everything that does not depend on the host or
// on other keys.
func defaults() *Node {
	return &Node{
		Etcd:     Etcd{Prefix: "/weft/v1", DialTimeout: 5 * time.Second},
		RunDir:   "/run/weft",
		StateDir: "/var/lib/weft",
		BGPFile:  "/etc/weft/bgp.yaml",
		CNI:      CNI{ConfDir: "/etc/cni/net.d"},
		Listen:   "127.0.0.1:9479",
		Log:      Log{Level: "info", Format: "text"},
	}
}
