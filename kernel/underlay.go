package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// Underlay is where this host's packets leave for other hosts.
type Underlay struct {
	// Interface carries the default route, or is the one asked for. It is
	// empty where the address belongs to a loopback and any uplink may be used.
	Interface string
	Addrs     fabric.PerFamily[netip.Addr]
	Connected []netip.Prefix // networks on the same segment
	// Gateways are those of all default routes that weft did not set, sorted,
	// with a zone where they are link-local.
	Gateways []netip.Addr
	MTU      int // the smallest among the uplinks, bytes
	// AcceptRA is true where IPv6 routes come from router advertisements,
	// which the kernel stops to accept when forwarding is switched on.
	AcceptRA bool
}

// UnderlayQuery says how to find the underlay; at most one field is set. The
// zero value asks for the interface of the default route.
type UnderlayQuery struct {
	Interface string
	Address   netip.Addr
	Reach     netip.Addr
}

// ErrNoUnderlay says that the host has, at the moment, nothing to send from.
var ErrNoUnderlay = errors.New("no underlay address")

// FindUnderlay looks the underlay up in the calling thread's namespace.
func FindUnderlay(q UnderlayQuery) (Underlay, error) {
	defaults, err := listDefaults()
	if err != nil {
		return Underlay{}, err
	}
	uplinks, address, err := uplinks(q, defaults)
	if err != nil {
		return Underlay{}, err
	}
	u := Underlay{Gateways: defaults.gateways()}
	for i, link := range uplinks {
		attrs := link.Attrs()
		if i == 0 || attrs.MTU < u.MTU {
			u.MTU = attrs.MTU
		}
		if err := u.addAddrs(link); err != nil {
			return Underlay{}, err
		}
		u.AcceptRA = u.AcceptRA || acceptsRA(attrs.Name)
	}
	if len(uplinks) == 1 {
		u.Interface = uplinks[0].Attrs().Name
	}
	if address.IsValid() {
		u.Addrs.Set(fabric.FamilyOf(address), address)
	}
	if !u.Addrs.IPv4.IsValid() && !u.Addrs.IPv6.IsValid() {
		return Underlay{}, fmt.Errorf("%w: %s has none", ErrNoUnderlay, u.Interface)
	}
	return u, nil
}

// uplinks returns the devices that packets leave by and, where the query
// fixes it, the address to send from.
func uplinks(q UnderlayQuery, defaults defaultRoutes) ([]netlink.Link, netip.Addr, error) {
	switch {
	case q.Interface != "":
		link, err := netlink.LinkByName(q.Interface)
		if err != nil {
			return nil, netip.Addr{}, fmt.Errorf("%w: interface %s: %w", ErrNoUnderlay, q.Interface, err)
		}
		return []netlink.Link{link}, netip.Addr{}, nil
	case q.Address.IsValid():
		link, err := linkWithAddr(q.Address)
		if err != nil {
			return nil, netip.Addr{}, err
		}
		if link.Attrs().Flags&net.FlagLoopback == 0 {
			return []netlink.Link{link}, q.Address, nil
		}
		links, err := defaults.links()
		return links, q.Address, err
	case q.Reach.IsValid():
		routes, err := netlink.RouteGet(q.Reach.AsSlice())
		if err != nil || len(routes) == 0 {
			return nil, netip.Addr{}, fmt.Errorf("%w: no route to %s: %w", ErrNoUnderlay, q.Reach, err)
		}
		link, err := netlink.LinkByIndex(routes[0].LinkIndex)
		if err != nil {
			return nil, netip.Addr{}, err
		}
		src, _ := netip.AddrFromSlice(routes[0].Src)
		return []netlink.Link{link}, src.Unmap(), nil
	}
	links, err := defaults.links()
	if err != nil {
		return nil, netip.Addr{}, err
	}
	return links[:1], netip.Addr{}, nil
}

func linkWithAddr(a netip.Addr) (netlink.Link, error) {
	addrs, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, have := range addrs {
		if ip, _ := netip.AddrFromSlice(have.IP); ip.Unmap() == a {
			return netlink.LinkByIndex(have.LinkIndex)
		}
	}
	return nil, fmt.Errorf("%w: no interface has address %s", ErrNoUnderlay, a)
}

// addAddrs takes the addresses of one uplink: the first global one of each
// family that is neither secondary, temporary, deprecated nor tentative.
func (u *Underlay) addAddrs(link netlink.Link) error {
	addrs, err := netlink.AddrList(link, netlink.FAMILY_ALL)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", link.Attrs().Name, err)
	}
	const unfit = unix.IFA_F_SECONDARY | unix.IFA_F_DEPRECATED | unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		if ip = ip.Unmap(); !ok || !ip.IsGlobalUnicast() || a.Flags&unfit != 0 {
			continue // IFA_F_SECONDARY is IFA_F_TEMPORARY in IPv6
		}
		ones, _ := a.Mask.Size()
		if ones < ip.BitLen() {
			u.Connected = append(u.Connected, netip.PrefixFrom(ip, ones).Masked())
		}
		if f := fabric.FamilyOf(ip); !u.Addrs.Get(f).IsValid() {
			u.Addrs.Set(f, ip)
		}
	}
	return nil
}

func acceptsRA(link string) bool {
	v, err := os.ReadFile("/proc/sys/net/ipv6/conf/" + link + "/accept_ra")
	return err == nil && strings.TrimSpace(string(v)) != "0"
}
