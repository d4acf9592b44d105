package fabric

import (
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// Spec is what the operator wants of the whole fabric: the `spec` of the
// Fabric object under the key `fabric`. Agents read it leniently (fields of a
// newer version are ignored); operators' files are parsed strictly, defaulted
// and validated by package config before they are written.
type Spec struct {
	// Network is the range that pod subnets are cut from; either family or both.
	Network PerFamily[netip.Prefix] `json:"network"`
	// SubnetLength is the prefix length of one node's subnet.
	SubnetLength PerFamily[int] `json:"subnetLength"`
	// Reserved prefixes are never leased.
	Reserved []netip.Prefix `json:"reserved,omitempty"`
	Backend  string         `json:"backend"` // "vxlan" or "bgp"
	VXLAN    VXLANSpec      `json:"vxlan"`
	BGP      BGPSpec        `json:"bgp,omitzero"` // complete also while no plan routes
	// Paths are the ways to peers in order of preference, or Overlay is the word
	// for such a list; both empty: what the backend does by default.
	Paths      []PathKind     `json:"paths,omitempty"`
	Overlay    string         `json:"overlay,omitempty"`
	PathRules  []PathRule     `json:"pathRules,omitempty"`
	Probe      ProbeSpec      `json:"probe,omitzero"`
	Masquerade MasqueradeSpec `json:"masquerade"`
	Lease      LeaseSpec      `json:"lease"`
	Addresses  AddressSpec    `json:"addresses,omitzero"`
}

// VXLANSpec configures the overlay.
type VXLANSpec struct {
	VNI           uint32 `json:"vni"`
	Port          uint16 `json:"port"`          // UDP destination port
	DirectRouting bool   `json:"directRouting"` // no encapsulation between nodes on one segment
	MTU           int    `json:"mtu"`           // of the pods, in bytes; 0: the underlay's less the overhead
	UDPChecksum   bool   `json:"udpChecksum"`   // over IPv4; IPv6 always carries one
	// Generation of the overlay: a migration to another port or VNI makes a new
	// one beside the old one. Operators do not set it.
	Generation int `json:"generation,omitempty"`
}

// MasqueradeSpec says what happens to packets from pods that leave the fabric.
type MasqueradeSpec struct {
	Enabled bool           `json:"enabled"`
	Except  []netip.Prefix `json:"except,omitempty"` // destinations that see pods' own addresses
}

// LeaseSpec holds the lifetimes of the agents' records in etcd.
type LeaseSpec struct {
	TTL      Duration `json:"ttl"`      // of a subnet
	Liveness Duration `json:"liveness"` // of the alive key
}

// AddressSpec says when a node leases a further subnet and gives one back.
type AddressSpec struct {
	// MinFree is the share of a node's addresses of a family, in percent, below
	// which it leases a further subnet; 0: never.
	MinFree int `json:"minFree"`
	// MaxSubnets bounds a node's subnets per family.
	MaxSubnets int `json:"maxSubnets"`
	// ReturnAfter is how long a further subnet is kept with no pod in it.
	ReturnAfter Duration `json:"returnAfter"`
}

// Networks returns the networks that are set, IPv4 first.
func (s *Spec) Networks() []netip.Prefix {
	var out []netip.Prefix
	for _, f := range Families {
		if p := s.Network.Get(f); p.IsValid() {
			out = append(out, p)
		}
	}
	return out
}

// Duration is a time.Duration that is written as text ("24h", "15s").
type Duration time.Duration

// String gives time.Duration's form without zeros at the end: "24h", not
// "24h0m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes the form that UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText parses time.ParseDuration's form.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration (want a number with a unit, like 15s or 24h)", b)
	}
	*d = Duration(v)
	return nil
}
