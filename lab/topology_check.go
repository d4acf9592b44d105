package lab

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// Limits of the address plan (see plan.go).
const (
	maxRacks        = 100
	maxToRs         = 2 // in a rack
	maxSpines       = 8
	maxHostsPerRack = 200
	maxMembers      = 3
)

// word is the form of every name: names become interface names, which hold 15
// bytes.
var word = regexp.MustCompile(`^[a-z][a-z0-9-]{0,11}$`)

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
	if err := t.checkSwitches(name); err != nil {
		return err
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

// checkSwitches checks racks, ToRs and spines; name checks a name.
func (t *Topology) checkSwitches(name func(kind, n string) error) error {
	if !slices.Contains([]string{UnderlayStatic, UnderlayBGP, UnderlayMixed}, t.Underlay) {
		return fmt.Errorf("underlay %q: want static, bgp or mixed", t.Underlay)
	}
	if n := len(t.Spines); n > maxSpines || n > 1 && t.staticRoutes() {
		return fmt.Errorf("%d spines: want one, or with underlay: bgp up to %d", n, maxSpines)
	}
	for _, s := range t.Spines {
		if s.Name == "spine" { // the name is the lab's own
			continue
		}
		if err := name("spine", s.Name); err != nil {
			return err
		}
	}
	for _, r := range t.Racks {
		if err := name("rack", r.Name); err != nil {
			return err
		}
		if err := r.check(name); err != nil {
			return fmt.Errorf("rack %s: %w", r.Name, err)
		}
	}
	for _, s := range t.switches() {
		if err := t.checkSwitch(s); err != nil {
			return err
		}
	}
	return nil
}

// check checks a rack and the names of its ToRs.
func (r Rack) check(name func(kind, n string) error) error {
	if len(r.ToRs) > maxToRs {
		return fmt.Errorf("%d ToRs are more than %d", len(r.ToRs), maxToRs)
	}
	for _, s := range r.ToRs {
		if s.Name == r.Name { // nobody declared it
			continue
		}
		if err := name("tor", s.Name); err != nil {
			return err
		}
	}
	return checkMTU("segment", r.MTU)
}

// switches are all spines and ToRs.
func (t *Topology) switches() []SwitchSpec {
	out := slices.Clone(t.Spines)
	for _, r := range t.Racks {
		out = append(out, r.ToRs...)
	}
	return out
}

func (t *Topology) checkSwitch(s SwitchSpec) error {
	if !slices.Contains([]string{KindNone, KindFRR, KindBIRD, KindRouter}, s.Kind) {
		return fmt.Errorf("switch %s: kind %q: want none, frr, bird or router", s.Name, s.Kind)
	}
	if s.Kind == KindNone && t.switchesSpeak() {
		return fmt.Errorf("switch %s: with underlay: %s it needs a kind: frr, bird or router", s.Name, t.Underlay)
	}
	return nil
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
