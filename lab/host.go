package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/weft-net/weft/fabric"
)

// Host is a machine of the lab: a namespace with an uplink to each ToR of its
// rack, and directories of its own.
type Host struct {
	*Namespace
	Spec HostSpec
	// Underlay is the address on the first uplink, zero where the family is not
	// configured.
	Underlay fabric.PerFamily[netip.Addr]
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
	return h, l.plug(h)
}

// newHost adds the host to the lab's list.
func (l *Lab) newHost(s HostSpec, n *Namespace) *Host {
	h := &Host{Namespace: n, Spec: s, lab: l, rack: l.Topo.rack(s.Rack) + 1}
	h.Agent = newAgent(h)
	l.Hosts = append(l.Hosts, h)
	h.Underlay = h.addrs(1)
	return h
}

// addrs are the host's addresses on its uplink to ToR t of its rack, from 1.
func (h *Host) addrs(t int) (out fabric.PerFamily[netip.Addr]) {
	for _, f := range h.families() {
		out.Set(f, hostAddr(torNumber(h.rack, t), h.lab.numberInRack(h), f))
	}
	return out
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
	for i, s := range l.Topo.Spines {
		l.newSwitch(s, find(s.spaceName(false)), 0, i+1)
	}
	l.outside = find("outside")
	for i, r := range l.Topo.Racks {
		for t, s := range r.ToRs {
			l.newSwitch(s, find(s.spaceName(true)), i+1, t+1)
		}
	}
	for _, s := range l.Topo.Hosts {
		l.newHost(s, find(s.Name))
	}
	l.openEtcd(find)
	for name, p := range l.state.Pods {
		pod := &Pod{Namespace: find("pod-" + name), Name: name, Host: l.Host(p.Host), Addrs: p.Addrs, lab: l}
		l.pods[name] = pod
	}
	return err
}
