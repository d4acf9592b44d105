package lab

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/weft-net/weft/fabric"
)

// Topology is what a lab consists of. The zero value, completed, is the
// default: three dual-stack hosts, two in the first rack and one in the second.
type Topology struct {
	Racks  []Rack       `yaml:"racks,omitempty" json:"racks"`
	Spines []SwitchSpec `yaml:"spines,omitempty" json:"spines"` // default: one, static
	// Underlay says how the switches know each other's segments: "static" (the
	// default; the lab's routes), "bgp" (each ToR and spine speaks it) or "mixed"
	// (the lab's routes, and each speaks BGP about what nodes tell it).
	Underlay string     `yaml:"underlay,omitempty" json:"underlay"`
	Hosts    []HostSpec `yaml:"hosts,omitempty" json:"hosts"`
	Pods     []PodSpec  `yaml:"pods,omitempty" json:"pods,omitempty"`
	Etcd     EtcdSpec   `yaml:"etcd,omitempty" json:"etcd"`
	// Fabric is the spec of the Fabric object, as in `weft apply`. Where the
	// network is missing the lab's own is put in.
	Fabric map[string]any `yaml:"fabric,omitempty" json:"fabric,omitempty"`
	// BGP are BGPPeer, BGPPolicy and BGPPrefix objects, applied after the Fabric.
	BGP []map[string]any `yaml:"bgp,omitempty" json:"bgp,omitempty"`
}

// Rack is hosts behind one top-of-rack switch or two. Each switch has a
// layer-2 segment of its own, to which every host of the rack has an uplink,
// and is a default gateway of the hosts. Racks reach each other through the
// spines.
type Rack struct {
	Name string       `yaml:"name" json:"name"`
	MTU  int          `yaml:"mtu,omitempty" json:"mtu"`   // bytes, default 1500
	ToRs []SwitchSpec `yaml:"tors,omitempty" json:"tors"` // default: one, static, named as the rack
}

// SwitchSpec is a ToR or a spine.
type SwitchSpec struct {
	Name string `yaml:"name" json:"name"`
	// Kind is the routing daemon on it: KindNone, the default, KindFRR, KindBIRD
	// or KindRouter.
	Kind string `yaml:"kind,omitempty" json:"kind"`
	// ASN of the switch; by default one for all spines and one for each ToR.
	ASN uint32 `yaml:"asn,omitempty" json:"asn"`
}

// What runs on a switch.
const (
	KindNone   = "none"   // it forwards by the lab's static routes
	KindFRR    = "frr"    // Debian's frr: zebra and bgpd
	KindBIRD   = "bird"   // Debian's bird2
	KindRouter = "router" // the one that weft-lab has in it
)

// How the switches know each other's segments.
const (
	UnderlayStatic = "static"
	UnderlayBGP    = "bgp"
	// UnderlayMixed is an underlay that works whatever becomes of BGP.
	UnderlayMixed = "mixed"
)

// staticRoutes reports whether the lab's routes join the racks.
func (t *Topology) staticRoutes() bool { return t.Underlay != UnderlayBGP }

// switchesSpeak reports whether the switches have sessions with each other.
func (t *Topology) switchesSpeak() bool { return t.Underlay != UnderlayStatic }

// The AS numbers of switches that are given none, from the private range
// (RFC 6996), after the pattern of RFC 7938, 5.2.1.
const (
	spineASN = 64900
	torASN   = 64900 // + the ToR's number
)

// HostSpec is one host.
type HostSpec struct {
	Name string `yaml:"name" json:"name"`
	Rack string `yaml:"rack,omitempty" json:"rack"` // default: the first
	// Families of the underlay address, "ipv4" and "ipv6"; default both.
	Families []string `yaml:"families,omitempty" json:"families"`
	MTU      int      `yaml:"mtu,omitempty" json:"mtu"` // bytes, default the rack's
	// Labels of the node. Where there are any, or BGP objects, the label "rack"
	// is added.
	Labels map[string]string `yaml:"labels,omitempty" json:"labels,omitempty"`
}

// Has reports whether the host has an underlay address of family f.
func (h HostSpec) Has(f fabric.Family) bool { return slices.Contains(h.Families, f.String()) }

// PodSpec is a pod that is attached when the lab comes up.
type PodSpec struct {
	Name string `yaml:"name" json:"name"`
	Host string `yaml:"host" json:"host"`
}

// EtcdSpec says how etcd runs.
type EtcdSpec struct {
	// Server is "real" (the etcd program), "embedded" (a copy of weft-lab), or
	// "auto": the real one where it is installed.
	Server  string `yaml:"server,omitempty" json:"server"`
	Members int    `yaml:"members,omitempty" json:"members"` // 1 to 3, default 1
	TLS     bool   `yaml:"tls,omitempty" json:"tls"`         // with client certificates
}

// ReadTopology reads a topology file and completes it.
func ReadTopology(path string) (Topology, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Topology{}, err
	}
	t, err := ParseTopology(data)
	if err != nil {
		return t, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// ParseTopology parses YAML; a key it does not know is an error that names
// its line. The result is complete.
func ParseTopology(data []byte) (Topology, error) {
	var t Topology
	if err := yaml.UnmarshalWithOptions(data, &t, yaml.Strict()); err != nil {
		return t, fmt.Errorf("%s", strings.TrimSpace(yaml.FormatError(err, false, false)))
	}
	return t, t.Complete()
}

// Complete puts in the defaults and checks the whole.
func (t *Topology) Complete() error {
	if len(t.Hosts) == 0 {
		t.Hosts = []HostSpec{{Name: "h1", Rack: "r1"}, {Name: "h2", Rack: "r1"}, {Name: "h3", Rack: "r2"}}
	}
	t.completeRacks()
	t.completeSwitches()
	for i := range t.Hosts {
		t.completeHost(&t.Hosts[i])
	}
	if t.Etcd.Server == "" {
		t.Etcd.Server = "auto"
	}
	if t.Etcd.Members == 0 {
		t.Etcd.Members = 1
	}
	return t.check()
}

// completeRacks adds the racks that hosts name and nobody declared.
func (t *Topology) completeRacks() {
	declared := len(t.Racks) > 0
	for i := range t.Hosts {
		h := &t.Hosts[i]
		switch {
		case h.Rack == "" && len(t.Racks) > 0:
			h.Rack = t.Racks[0].Name
			continue
		case h.Rack == "":
			h.Rack = "r1"
		}
		if !declared && t.rack(h.Rack) < 0 {
			t.Racks = append(t.Racks, Rack{Name: h.Rack})
		}
	}
	for i := range t.Racks {
		if t.Racks[i].MTU == 0 {
			t.Racks[i].MTU = 1500
		}
	}
}

// completeSwitches names the switches that nobody declared, and gives all of
// them a kind and an AS.
func (t *Topology) completeSwitches() {
	if t.Underlay == "" {
		t.Underlay = UnderlayStatic
	}
	if len(t.Spines) == 0 {
		t.Spines = []SwitchSpec{{Name: "spine"}}
	}
	for i := range t.Spines {
		t.Spines[i].complete(spineASN)
	}
	for i := range t.Racks {
		r := &t.Racks[i]
		if len(r.ToRs) == 0 {
			r.ToRs = []SwitchSpec{{Name: r.Name}}
		}
		for j := range r.ToRs {
			r.ToRs[j].complete(uint32(torASN + torNumber(i+1, j+1)))
		}
	}
}

func (s *SwitchSpec) complete(asn uint32) {
	if s.Kind == "" {
		s.Kind = KindNone
	}
	if s.ASN == 0 {
		s.ASN = asn
	}
}

func (t *Topology) completeHost(h *HostSpec) {
	if len(h.Families) == 0 {
		h.Families = []string{fabric.IPv4.String(), fabric.IPv6.String()}
	}
	if i := t.rack(h.Rack); h.MTU == 0 && i >= 0 {
		h.MTU = t.Racks[i].MTU
	}
	if h.Labels["rack"] == "" && (len(h.Labels) > 0 || len(t.BGP) > 0) {
		h.Labels = maps.Clone(h.Labels)
		if h.Labels == nil {
			h.Labels = map[string]string{}
		}
		h.Labels["rack"] = h.Rack
	}
}

// rack returns the position of the rack with that name, or -1.
func (t *Topology) rack(name string) int {
	return slices.IndexFunc(t.Racks, func(r Rack) bool { return r.Name == name })
}
