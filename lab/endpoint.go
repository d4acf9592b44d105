package lab

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// Endpoint is somewhere to send probes from and to.
type Endpoint struct {
	Name  string
	Space *Namespace
	Addrs fabric.PerFamily[netip.Addr] // zero: not in that family
	// Also are more places with the same addresses: anycast. Whoever of them is
	// reached answers, and none of them sends.
	Also []*Namespace
}

// Endpoint makes the pod an end of probes.
func (p *Pod) Endpoint() Endpoint {
	e := Endpoint{Name: p.Name, Space: p.Namespace}
	for _, f := range fabric.Families {
		e.Addrs.Set(f, p.Addr(f))
	}
	return e
}

// Endpoint makes the host's underlay address an end of probes.
func (h *Host) Endpoint() Endpoint {
	return Endpoint{Name: h.Spec.Name, Space: h.Namespace, Addrs: h.Underlay}
}

// UplinkEndpoints makes each address of the hosts on each of their uplinks an
// end of probes, named like "h1/eth1".
func (l *Lab) UplinkEndpoints() []Endpoint {
	var out []Endpoint
	for _, h := range l.Hosts {
		for _, tor := range l.rackToRs(h.rack) {
			out = append(out, Endpoint{Name: h.Spec.Name + "/" + uplinkName(tor.place), Space: h.Namespace, Addrs: h.addrs(tor.place)})
		}
	}
	return out
}

// OutsideEndpoint makes the machine outside the fabric an end of probes.
func (l *Lab) OutsideEndpoint() Endpoint {
	e := Endpoint{Name: "outside", Space: l.outside}
	for _, f := range fabric.Families {
		e.Addrs.Set(f, leafAddr(linkOutside, f))
	}
	return e
}

// PodEndpoints are the endpoints of all pods of the lab.
func (l *Lab) PodEndpoints() []Endpoint {
	var out []Endpoint
	for _, p := range l.Pods() {
		out = append(out, p.Endpoint())
	}
	return out
}
