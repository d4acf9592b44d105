package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// Interface names of the underlay.
const (
	uplink    = "eth0"  // on hosts and other leaves
	torBridge = "lan"   // the segment, in a ToR's namespace
	torUplink = "spine" // from a ToR to the spine
)

// build makes all namespaces and the links between them.
func (l *Lab) build() (err error) {
	if l.spine, err = l.router("spine"); err != nil {
		return err
	}
	if l.outside, err = l.leaf("outside", linkOutside); err != nil {
		return err
	}
	for i, r := range l.Topo.Racks {
		if err := l.rackSwitch(i+1, r); err != nil {
			return fmt.Errorf("rack %s: %w", r.Name, err)
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
	on := "0"
	if forwarding {
		on = "1"
	}
	for _, s := range [][2]string{
		{"net/ipv6/conf/all/accept_dad", "0"}, {"net/ipv6/conf/default/accept_dad", "0"},
		{"net/ipv4/ip_forward", on}, {"net/ipv6/conf/all/forwarding", on},
		{"net/ipv4/conf/all/rp_filter", "0"}, {"net/ipv4/conf/default/rp_filter", "0"},
	} {
		if err := n.Sysctl(s[0], s[1]); err != nil {
			n.close()
			return nil, err
		}
	}
	return n, nil
}

// router makes a namespace that forwards.
func (l *Lab) router(what string) (*Namespace, error) { return l.space(what, true) }

// leaf makes a namespace with an uplink to the spine: link k of the plan.
func (l *Lab) leaf(what string, k int) (*Namespace, error) {
	n, err := l.space(what, false)
	if err != nil {
		return nil, err
	}
	return n, l.linkToSpine(n, uplink, what, k, 1500)
}

// linkToSpine joins a namespace to the spine and makes the spine its default
// gateway. The near end is called dev, the spine's end port.
func (l *Lab) linkToSpine(n *Namespace, dev, port string, k, mtu int) error {
	if err := veth(n, dev, l.spine, port, mtu); err != nil {
		return err
	}
	for _, f := range fabric.Families {
		s := linkSegment(k, f)
		if err := errors.Join(
			l.spine.addAddr(port, netip.PrefixFrom(s.gateway, s.net.Bits())),
			n.addAddr(dev, netip.PrefixFrom(farAddr(k, f), s.net.Bits())),
			n.addRoute(defaultRoute(f), s.gateway),
		); err != nil {
			return err
		}
	}
	return errors.Join(n.waitAddrs(dev), l.spine.waitAddrs(port))
}

// rackSwitch makes rack i: a bridge whose own addresses are the hosts'
// gateways, and a routed uplink to the spine.
func (l *Lab) rackSwitch(i int, r Rack) error {
	n, err := l.router("tor-" + r.Name)
	if err != nil {
		return err
	}
	l.tors = append(l.tors, n)
	bridge := &netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: torBridge, MTU: r.MTU}}
	if err := n.links.LinkAdd(bridge); err != nil {
		return fmt.Errorf("bridge: %w", err)
	}
	if err := n.setUp(torBridge); err != nil {
		return err
	}
	if err := veth(n, torUplink, l.spine, r.Name, r.MTU); err != nil {
		return err
	}
	for _, f := range fabric.Families {
		s := rackSegment(i, f)
		if err := n.addAddr(torBridge, netip.PrefixFrom(s.gateway, s.net.Bits())); err != nil {
			return err
		}
	}
	return l.routeRack(i)
}

// routeRack makes the spine and rack i know each other's networks. It may be
// repeated: a device that goes down loses its routes, and IPv6 addresses too.
func (l *Lab) routeRack(i int) error {
	tor := l.tors[i-1]
	for _, f := range fabric.Families {
		link := linkSegment(linkRack+i, f)
		if err := errors.Join(
			l.spine.addAddr(l.Topo.Racks[i-1].Name, netip.PrefixFrom(link.gateway, link.net.Bits())),
			tor.addAddr(torUplink, netip.PrefixFrom(farAddr(linkRack+i, f), link.net.Bits())),
			tor.addRoute(defaultRoute(f), link.gateway),
			l.spine.addRoute(rackSegment(i, f).net, farAddr(linkRack+i, f)),
		); err != nil {
			return err
		}
	}
	return errors.Join(tor.waitAddrs(torUplink), l.spine.waitAddrs(l.Topo.Racks[i-1].Name))
}

// plug joins a host to its rack. j is its number in the rack, from 1.
func (l *Lab) plug(h *Host, i, j int) error {
	tor := l.tors[i-1]
	if err := veth(h.Namespace, uplink, tor, h.Spec.Name, h.Spec.MTU); err != nil {
		return err
	}
	if err := tor.enslave(h.Spec.Name, torBridge); err != nil {
		return err
	}
	for _, f := range fabric.Families {
		if !h.Spec.Has(f) {
			continue
		}
		s := rackSegment(i, f)
		h.Underlay.Set(f, hostAddr(i, j, f))
		if err := errors.Join(
			h.addAddr(uplink, netip.PrefixFrom(hostAddr(i, j, f), s.net.Bits())),
			h.addRoute(defaultRoute(f), s.gateway),
		); err != nil {
			return err
		}
	}
	return errors.Join(h.waitAddrs(uplink), tor.waitAddrs(torBridge))
}

// veth makes a pair of interfaces, one end in each namespace, both up.
func veth(a *Namespace, nameA string, b *Namespace, nameB string, mtu int) error {
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: mtu}, PeerMTU: uint32(mtu),
		PeerName: nameB, PeerNamespace: netlink.NsFd(b.handle),
	}
	if err := a.links.LinkAdd(pair); err != nil {
		return fmt.Errorf("veth %s in %s to %s in %s: %w", nameA, a.Name, nameB, b.Name, err)
	}
	return errors.Join(a.setUp(nameA), b.setUp(nameB))
}

func (n *Namespace) link(name string) (netlink.Link, error) {
	link, err := n.links.LinkByName(name)
	if err != nil {
		return nil, fmt.Errorf("%s in %s: %w", name, n.Name, err)
	}
	return link, nil
}

// change finds a device and does something with it.
func (n *Namespace) change(name, what string, do func(netlink.Link) error) error {
	link, err := n.link(name)
	if err != nil {
		return err
	}
	if err := do(link); err != nil {
		return fmt.Errorf("%s %s in %s: %w", name, what, n.Name, err)
	}
	return nil
}

func (n *Namespace) setUp(name string) error { return n.change(name, "up", n.links.LinkSetUp) }

func (n *Namespace) setDown(name string) error { return n.change(name, "down", n.links.LinkSetDown) }

func (n *Namespace) enslave(name, bridge string) error {
	master, err := n.link(bridge)
	if err != nil {
		return err
	}
	return n.change(name, "to "+bridge, func(l netlink.Link) error { return n.links.LinkSetMaster(l, master) })
}

func (n *Namespace) addAddr(name string, p netip.Prefix) error {
	return n.change(name, "address "+p.String(), func(l netlink.Link) error {
		return n.links.AddrReplace(l, &netlink.Addr{IPNet: ipNet(p)})
	})
}

// waitAddrs waits until the addresses of a device that has a carrier can be
// bound to and answer. Even with duplicate address detection switched off an
// IPv6 address is tentative, and its solicited-node group not joined, until a
// work queue has looked (net/ipv6/addrconf.c, addrconf_dad_work).
func (n *Namespace) waitAddrs(dev string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	link, err := n.link(dev)
	if err != nil {
		return err
	}
	return await(ctx, "the addresses of "+dev+" in "+n.Name, func() error {
		addrs, err := n.links.AddrList(link, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range addrs {
			if a.Flags&unix.IFA_F_TENTATIVE != 0 {
				return fmt.Errorf("%s is tentative", a.IPNet)
			}
		}
		return nil
	})
}

func (n *Namespace) addRoute(dst netip.Prefix, via netip.Addr) error {
	if err := n.links.RouteReplace(&netlink.Route{Dst: ipNet(dst), Gw: via.AsSlice()}); err != nil {
		return fmt.Errorf("route %s via %s in %s: %w", dst, via, n.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}
