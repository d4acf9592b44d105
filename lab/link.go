package lab

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// veth makes a pair of interfaces, one end in each namespace, both up. One end
// has an index that the other cannot have: where both are the same, the kernel
// takes a lost carrier for not urgent (net/core/link_watch.c,
// linkwatch_urgent_event) and may sit on it for a second, as it handles one such
// event a second for all namespaces together.
func veth(a *Namespace, nameA string, b *Namespace, nameB string, mtu int) error {
	const fresh, room = 1 << 20, 1 << 29 // far above what the kernel gives out
	pair := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: nameA, MTU: mtu, Index: fresh + rand.IntN(room)}, PeerMTU: uint32(mtu),
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

func (n *Namespace) setMTU(name string, mtu int) error {
	return n.change(name, "mtu", func(l netlink.Link) error { return n.links.LinkSetMTU(l, mtu) })
}

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

// addRoute makes a route by one gateway or, for flows to share, by several.
func (n *Namespace) addRoute(dst netip.Prefix, via ...netip.Addr) error {
	r := &netlink.Route{Dst: ipNet(dst)}
	if len(via) == 1 {
		r.Gw = via[0].AsSlice()
	} else {
		for _, v := range via {
			r.MultiPath = append(r.MultiPath, &netlink.NexthopInfo{Gw: v.AsSlice()})
		}
	}
	if err := n.links.RouteReplace(r); err != nil {
		return fmt.Errorf("route %s via %s in %s: %w", dst, via, n.Name, err)
	}
	return nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// prefixOf is ipNet's inverse; false for none, as default routes have.
func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, _ := n.Mask.Size()
	return netip.PrefixFrom(a, ones), ok
}
