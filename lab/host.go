package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/weft-net/weft/fabric"
)

// Host is a machine of the lab: a namespace with an uplink to its rack, and
// directories of its own.
type Host struct {
	*Namespace
	Spec     HostSpec
	Underlay fabric.PerFamily[netip.Addr] // zero where the family is not configured
	Agent    *Agent

	lab  *Lab
	rack int // from 1
}

// dir is the host's own directory: configuration, state and log.
func (h *Host) dir() string { return filepath.Join(h.lab.Dir(), "hosts", h.Spec.Name) }

// Families lists the underlay's families.
func (h *Host) families() []fabric.Family {
	var out []fabric.Family
	for _, f := range fabric.Families {
		if h.Spec.Has(f) {
			out = append(out, f)
		}
	}
	return out
}

// addHost makes a host and joins it to its rack.
func (l *Lab) addHost(s HostSpec) (*Host, error) {
	n, err := l.space(s.Name, false)
	if err != nil {
		return nil, err
	}
	h := l.newHost(s, n)
	return h, l.plug(h, h.rack, l.numberInRack(h))
}

// newHost adds the host to the lab's list.
func (l *Lab) newHost(s HostSpec, n *Namespace) *Host {
	h := &Host{Namespace: n, Spec: s, lab: l, rack: l.Topo.rack(s.Rack) + 1}
	h.Agent = newAgent(h)
	l.Hosts = append(l.Hosts, h)
	return h
}

// numberInRack counts from 1 in the order in which hosts were made.
func (l *Lab) numberInRack(h *Host) int {
	j := 0
	for _, other := range l.Hosts {
		if other.rack == h.rack {
			j++
		}
		if other == h {
			break
		}
	}
	return j
}

// AddHost adds a host to a running lab. No agent runs on it yet.
func (l *Lab) AddHost(s HostSpec) (*Host, error) {
	topo := l.Topo
	topo.Hosts = append(append([]HostSpec(nil), topo.Hosts...), s)
	if err := topo.Complete(); err != nil {
		return nil, fmt.Errorf("add host: %w", err)
	}
	l.Topo = topo
	h, err := l.addHost(topo.Hosts[len(topo.Hosts)-1])
	if err != nil {
		return nil, fmt.Errorf("add host %s: %w", s.Name, err)
	}
	return h, l.record(func(st *state) { st.Topology = topo })
}

// open finds the namespaces of a lab that another process made.
func (l *Lab) open() (err error) {
	find := func(what string) *Namespace {
		n, e := openNamespace(l.namespaceName(what), l.spawn)
		err = errors.Join(err, e)
		return n
	}
	l.spine, l.outside = find("spine"), find("outside")
	for _, r := range l.Topo.Racks {
		l.tors = append(l.tors, find("tor-"+r.Name))
	}
	for _, s := range l.Topo.Hosts {
		h := l.newHost(s, find(s.Name))
		for _, f := range h.families() {
			h.Underlay.Set(f, hostAddr(h.rack, l.numberInRack(h), f))
		}
	}
	l.openEtcd(find)
	for name, p := range l.state.Pods {
		pod := &Pod{Namespace: find("pod-" + name), Name: name, Host: l.Host(p.Host), Addrs: p.Addrs, lab: l}
		l.pods[name] = pod
	}
	return err
}
