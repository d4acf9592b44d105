package lab

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/weft-net/weft/fabric"
)

// Topology is what a lab consists of. The zero value, completed, is the
// default: three dual-stack hosts, two in the first rack and one in the second.
type Topology struct {
	Racks []Rack     `yaml:"racks,omitempty" json:"racks"`
	Hosts []HostSpec `yaml:"hosts,omitempty" json:"hosts"`
	Pods  []PodSpec  `yaml:"pods,omitempty" json:"pods,omitempty"`
	Etcd  EtcdSpec   `yaml:"etcd,omitempty" json:"etcd"`
	// Fabric is the spec of the Fabric object, as in `weft apply`. Where the
	// network is missing the lab's own is put in.
	Fabric map[string]any `yaml:"fabric,omitempty" json:"fabric,omitempty"`
}

// Rack is one layer-2 segment behind a top-of-rack switch, which is its
// hosts' default gateway. Racks reach each other through the spine.
type Rack struct {
	Name string `yaml:"name" json:"name"`
	MTU  int    `yaml:"mtu,omitempty" json:"mtu"` // bytes, default 1500
}

// HostSpec is one host.
type HostSpec struct {
	Name string `yaml:"name" json:"name"`
	Rack string `yaml:"rack,omitempty" json:"rack"` // default: the first
	// Families of the underlay address, "ipv4" and "ipv6"; default both.
	Families []string `yaml:"families,omitempty" json:"families"`
	MTU      int      `yaml:"mtu,omitempty" json:"mtu"` // bytes, default the rack's
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

// Limits of the address plan (see plan.go).
const (
	maxRacks        = 100
	maxHostsPerRack = 200
	maxMembers      = 3
)

// word is the form of every name: names become interface names, which hold 15
// bytes.
var word = regexp.MustCompile(`^[a-z][a-z0-9-]{0,11}$`)

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

func (t *Topology) completeHost(h *HostSpec) {
	if len(h.Families) == 0 {
		h.Families = []string{fabric.IPv4.String(), fabric.IPv6.String()}
	}
	if i := t.rack(h.Rack); h.MTU == 0 && i >= 0 {
		h.MTU = t.Racks[i].MTU
	}
}

// rack returns the position of the rack with that name, or -1.
func (t *Topology) rack(name string) int {
	return slices.IndexFunc(t.Racks, func(r Rack) bool { return r.Name == name })
}

func (t *Topology) check() error {
	if len(t.Racks) > maxRacks {
		return fmt.Errorf("%d racks are more than the %d that the address plan has room for", len(t.Racks), maxRacks)
	}
	seen := map[string]bool{}
	name := func(kind, n string) error {
		if !word.MatchString(n) {
			return fmt.Errorf("%s %q: want a name of at most 12 lower-case letters, digits and dashes", kind, n)
		}
		if seen[n] || reserved(n) {
			return fmt.Errorf("%s %q: the name is taken", kind, n)
		}
		seen[n] = true
		return nil
	}
	for _, r := range t.Racks {
		if err := name("rack", r.Name); err != nil {
			return err
		}
		if err := checkMTU("rack "+r.Name, r.MTU); err != nil {
			return err
		}
	}
	inRack := map[string]int{}
	for _, h := range t.Hosts {
		if err := name("host", h.Name); err != nil {
			return err
		}
		if err := t.checkHost(h); err != nil {
			return fmt.Errorf("host %s: %w", h.Name, err)
		}
		if inRack[h.Rack]++; inRack[h.Rack] > maxHostsPerRack {
			return fmt.Errorf("rack %s: more than %d hosts", h.Rack, maxHostsPerRack)
		}
	}
	for _, p := range t.Pods {
		if err := name("pod", p.Name); err != nil {
			return err
		}
		if !slices.ContainsFunc(t.Hosts, func(h HostSpec) bool { return h.Name == p.Host }) {
			return fmt.Errorf("pod %s: there is no host %q", p.Name, p.Host)
		}
	}
	return t.Etcd.check()
}

func (t *Topology) checkHost(h HostSpec) error {
	if t.rack(h.Rack) < 0 {
		return fmt.Errorf("there is no rack %q", h.Rack)
	}
	for _, f := range h.Families {
		if f != fabric.IPv4.String() && f != fabric.IPv6.String() {
			return fmt.Errorf("family %q is neither ipv4 nor ipv6", f)
		}
	}
	return checkMTU("uplink", h.MTU)
}

func (e EtcdSpec) check() error {
	if !slices.Contains([]string{"auto", "real", "embedded"}, e.Server) {
		return fmt.Errorf("etcd server %q: want auto, real or embedded", e.Server)
	}
	if e.Members < 1 || e.Members > maxMembers {
		return fmt.Errorf("etcd with %d members: want 1 to %d", e.Members, maxMembers)
	}
	return nil
}

// checkMTU holds the limits of veth: 1280 is what IPv6 needs (RFC 8200, 5).
func checkMTU(what string, mtu int) error {
	if mtu < 1280 || mtu > 65535 {
		return fmt.Errorf("%s: mtu %d is not between 1280 and 65535", what, mtu)
	}
	return nil
}

// reserved reports whether the lab uses the name itself.
func reserved(n string) bool {
	return n == "spine" || n == "outside" || n == "lan" || n == "lo" || n == "eth0" ||
		strings.HasPrefix(n, "etcd") || strings.HasPrefix(n, "tor-") || strings.HasPrefix(n, "pod-")
}
