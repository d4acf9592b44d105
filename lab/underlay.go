package lab

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// Interface names of the underlay. A spine's ports are named after what is at
// their other end, and a ToR's towards the spines after the spine.
const (
	uplink    = "eth0" // on hosts and other leaves; a host's second is eth1
	torBridge = "lan"  // the segment, in a ToR's namespace
)

// uplinkName is the host's interface to ToR t of its rack, from 1.
func uplinkName(t int) string { return fmt.Sprintf("eth%d", t-1) }

// build makes all namespaces and the links between them.
func (l *Lab) build() (err error) {
	for i := range l.Topo.Spines {
		if err := l.addSpine(i + 1); err != nil {
			return err
		}
	}
	if l.outside, err = l.leaf("outside", linkOutside); err != nil {
		return err
	}
	for i, r := range l.Topo.Racks {
		for t := range r.ToRs {
			if err := l.addToR(i+1, t+1); err != nil {
				return fmt.Errorf("rack %s: %w", r.Name, err)
			}
		}
	}
	for _, s := range l.Topo.Hosts {
		if _, err := l.addHost(s); err != nil {
			return fmt.Errorf("host %s: %w", s.Name, err)
		}
	}
	return l.buildEtcd()
}

// space makes one of the lab's namespaces. Addresses are usable at once:
// nobody else is there who could have the same.
func (l *Lab) space(what string, forwarding bool) (*Namespace, error) {
	n, err := makeNamespace(l.namespaceName(what), l.spawn)
	if err != nil {
		return nil, err
	}
	sysctls := [][2]string{
		{"net/ipv6/conf/all/accept_dad", "0"}, {"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
	}
	if forwarding {
		// Ways are chosen by ports too, and a port that was down has the
		// addresses that it had, as on any switch.
		sysctls = append(sysctls, [][2]string{
			{"net/ipv4/ip_forward", "1"}, {"net/ipv6/conf/all/forwarding", "1"},
			{"net/ipv4/fib_multipath_hash_policy", "1"}, {"net/ipv6/fib_multipath_hash_policy", "1"},
			{"net/ipv6/conf/all/keep_addr_on_down", "1"}, {"net/ipv6/conf/default/keep_addr_on_down", "1"},
		}...)
	}
	for _, s := range sysctls {
		if err := n.Sysctl(s[0], s[1]); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// leaf makes a namespace with an uplink to the first spine: link k of the plan.
func (l *Lab) leaf(what string, k int) (*Namespace, error) {
	n, err := l.space(what, false)
	if err != nil {
		return nil, err
	}
	if err := l.plugLeaf(n, what, k); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

func (l *Lab) plugLeaf(n *Namespace, what string, k int) error {
	spine := l.spines[0]
	if err := veth(n, uplink, spine.Namespace, what, 1500); err != nil {
		return err
	}
	for _, f := range fabric.Families {
		s := linkSegment(k, 1, f)
		if err := errors.Join(
			spine.addAddr(what, s.on(s.gateway)),
			n.addAddr(uplink, s.on(leafAddr(k, f))),
			n.addRoute(defaultRoute(f), s.gateway),
		); err != nil {
			return err
		}
	}
	return errors.Join(n.waitAddrs(uplink), spine.waitAddrs(what))
}

// plug joins a host to the ToRs of its rack.
func (l *Lab) plug(h *Host) error {
	tors := l.rackToRs(h.rack)
	j := l.numberInRack(h)
	for _, tor := range tors {
		if err := h.plugInto(tor, j); err != nil {
			return err
		}
	}
	if len(tors) > 1 {
		// A default route goes by whichever uplink has a carrier.
		for _, s := range []string{"net/ipv4/conf/all/ignore_routes_with_linkdown", "net/ipv6/conf/all/ignore_routes_with_linkdown"} {
			if err := h.Sysctl(s, "1"); err != nil {
				return err
			}
		}
	}
	for _, f := range h.families() {
		var via []netip.Addr
		for _, tor := range tors {
			via = append(via, torSegment(tor.number, f).gateway)
		}
		if err := h.addRoute(defaultRoute(f), via...); err != nil {
			return err
		}
	}
	return nil
}

// plugInto joins a host to one ToR. j is its number in the rack, from 1.
func (h *Host) plugInto(tor *Switch, j int) error {
	dev := uplinkName(tor.place)
	if err := veth(h.Namespace, dev, tor.Namespace, h.Spec.Name, h.Spec.MTU); err != nil {
		return err
	}
	if err := tor.enslave(h.Spec.Name, torBridge); err != nil {
		return err
	}
	for _, f := range h.families() {
		if err := h.addAddr(dev, torSegment(tor.number, f).on(hostAddr(tor.number, j, f))); err != nil {
			return err
		}
	}
	return errors.Join(h.waitAddrs(dev), tor.waitAddrs(torBridge))
}
