package cni

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// errSettling is a state that passes by itself shortly after ADD.
var errSettling = errors.New("not yet")

// compare looks for the first thing on which a pod's traffic depends and which
// is not as ADD made it, or as a later plugin of the chain said it is now. What
// others add (addresses, routes, queueing) or what a pod works without (MTU,
// promiscuous mode) is not looked at.
func (p promise) compare(s plumb.Sockets, a ipam.Attachment) error {
	bridge, err := p.compareBridge(s)
	if err != nil {
		return err
	}
	host, err := plumb.GetPort(s.Host, p.host)
	if err != nil {
		return err
	}
	pod, err := plumb.GetPort(s.Pod, a.Interface)
	if err != nil {
		return err
	}
	if err := p.compareEnds(a, bridge, host, pod); err != nil {
		return err
	}
	if err := p.comparePort(host); err != nil {
		return err
	}
	if err := p.compareGuard(a, pod); err != nil {
		return err
	}
	return p.compareAddrs(s, pod)
}

// compareEnds checks that the pod's interface is up, is the one that it was
// given, and leads to the bridge; nil is one that is not there.
func (p promise) compareEnds(a ipam.Attachment, bridge *plumb.Link, host, pod *plumb.Port) error {
	switch {
	case host == nil:
		return fmt.Errorf("host interface %s is gone", p.host)
	case host.Master != bridge.Index:
		return fmt.Errorf("host interface %s is not a port of %s", p.host, p.bridge)
	case !host.Up:
		return fmt.Errorf("host interface %s is down", p.host)
	case pod == nil:
		return fmt.Errorf("interface %s is gone", a.Interface)
	case pod.Kind != "veth" || pod.Peer != host.Index || host.Peer != pod.Index:
		return fmt.Errorf("interface %s is not the other end of %s", a.Interface, p.host)
	case !pod.Up:
		return fmt.Errorf("interface %s is down", a.Interface)
	case p.mac != "" && !strings.EqualFold(pod.MAC.String(), p.mac):
		return fmt.Errorf("interface %s has address %s, was given %s", a.Interface, pod.MAC, p.mac)
	}
	return nil
}

// compareGuard checks that the pod is kept to its addresses, and that its guard
// knows the MAC address that it has: a later plugin of the chain may have
// changed that, and then nothing that the pod sends gets through.
func (p promise) compareGuard(a ipam.Attachment, pod *plumb.Port) error {
	r := p.record
	if r == nil || !r.Guarded {
		return nil
	}
	if pod.MAC != r.MAC {
		return fmt.Errorf("interface %s has address %s, and its guard lets only %s through (macSpoofCheck: false allows another)", a.Interface, pod.MAC, r.MAC)
	}
	return plumb.CheckGuard(plumb.GuardOf(a, r.MAC, r.Addrs))
}

// compareBridge checks what all pods of this host share.
func (p promise) compareBridge(s plumb.Sockets) (*plumb.Link, error) {
	bridge, err := plumb.GetLink(s.Host, p.bridge)
	switch {
	case err != nil:
		return nil, err
	case bridge == nil:
		return nil, fmt.Errorf("bridge %s is gone", p.bridge)
	case bridge.Kind != "bridge":
		return nil, fmt.Errorf("%s is a %s interface, not a bridge", p.bridge, bridge.Kind)
	case !bridge.Up:
		return nil, fmt.Errorf("bridge %s is down", p.bridge)
	}
	addrs, err := plumb.Addresses(s.Host, bridge.Index)
	if err != nil {
		return nil, err
	}
	for _, g := range p.gateways() {
		if !slices.ContainsFunc(addrs, func(a netip.Prefix) bool { return a.Addr() == g }) {
			return nil, fmt.Errorf("bridge %s has lost the gateway's address %s", p.bridge, g)
		}
		if err := forwards(g, p.bridge); err != nil {
			return nil, err
		}
	}
	return bridge, nil
}

// forwards reports whether the host forwards the packets of an address's family
// that come by the bridge. IPv4 asks the device, IPv6 the host as a whole
// (net/ipv4/route.c, ip_route_input_slow; net/ipv6/ip6_output.c, ip6_forward).
// A switch that cannot be read says nothing.
func forwards(a netip.Addr, bridge string) error {
	name := "net/ipv6/conf/all/forwarding"
	if a.Is4() {
		name = "net/ipv4/conf/" + bridge + "/forwarding"
	}
	data, err := os.ReadFile("/proc/sys/" + name)
	if err == nil && strings.TrimSpace(string(data)) == "0" {
		return fmt.Errorf("the host does not forward: %s is 0", name)
	}
	return nil
}

// comparePort checks what the bridge does with the pod's port.
func (p promise) comparePort(host *plumb.Port) error {
	if host.State == plumb.PortDisabled || host.State == plumb.PortBlocked {
		// Both ends are up: the bridge hears of the carrier a moment later.
		return fmt.Errorf("bridge %s has port %s %s: %w", p.bridge, p.host, host.State, errSettling)
	}
	if r := p.record; r != nil && (host.Hairpin != r.Hairpin || host.Isolated != r.Isolated) {
		return fmt.Errorf("port %s has hairpin %t and isolated %t, was given %t and %t", p.host, host.Hairpin, host.Isolated, r.Hairpin, r.Isolated)
	}
	return nil
}

// compareAddrs checks that the pod has its addresses and routes; more than
// these is the pod's own business.
func (p promise) compareAddrs(s plumb.Sockets, pod *plumb.Port) error {
	addrs, err := plumb.Addresses(s.Pod, pod.Index)
	if err != nil {
		return err
	}
	for _, a := range p.addrs {
		if !slices.Contains(addrs, a) {
			return fmt.Errorf("interface %s has lost address %s", pod.Name, a)
		}
	}
	return p.compareRoutes(s, pod)
}

// compareRoutes checks that the routes are in a table that what the pod sends
// from its addresses is looked up in.
func (p promise) compareRoutes(s plumb.Sockets, pod *plumb.Port) error {
	routes, err := plumb.Routes(s.Pod, pod.Index)
	if err != nil {
		return err
	}
	rules, err := plumb.Rules(s.Pod)
	if err != nil {
		return err
	}
	for _, r := range p.routes {
		lost := ""
		switch tables := routes[r]; {
		case len(tables) == 0:
			lost = "is gone"
		case pod.Master == 0 && !p.reaches(rules, r.Dst, tables): // a VRF device has rules of its own
			lost = fmt.Sprintf("is in table %d, which no rule for the pod's address leads to", tables[0])
		default:
			continue
		}
		if r.Dst.Bits() == 0 {
			return fmt.Errorf("the default route via %s %s", r.Gateway, lost)
		}
		return fmt.Errorf("the route to %s via %s %s", r.Dst, r.Gateway, lost)
	}
	return nil
}

// reaches reports whether a rule sends what comes from one of the addresses of
// the destination's family to one of the tables.
func (p promise) reaches(rules []plumb.Rule, dst netip.Prefix, tables []uint32) bool {
	return slices.ContainsFunc(rules, func(r plumb.Rule) bool {
		return r.Src.Addr().Is4() == dst.Addr().Is4() && slices.Contains(tables, r.Table) &&
			slices.ContainsFunc(p.addrs, func(a netip.Prefix) bool { return r.Src.Contains(a.Addr()) })
	})
}
