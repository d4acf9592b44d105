package speaker

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// GoBGP tells the local address of a session as the next hop of our routes,
// also of those of the other family: an IPv4 address as the next hop of an IPv6
// prefix, which no peer can use. So the next hops for the other family are
// looked up here, on the interface that the session runs over.

// addresses are the host's, by interface; weft's own and its pods' are left out:
// no session runs over them, and there may be hundreds.
type addresses map[string][]netip.Addr

func hostAddresses() (addresses, error) {
	ifaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	out := addresses{}
	for _, i := range ifaces {
		if strings.HasPrefix(i.Name, kernel.Prefix) {
			continue
		}
		list, err := i.Addrs()
		if err != nil {
			continue // gone since
		}
		for _, a := range list {
			if n, ok := a.(*net.IPNet); ok {
				if addr, ok := netip.AddrFromSlice(n.IP); ok {
					out[i.Name] = append(out[i.Name], addr.Unmap())
				}
			}
		}
	}
	return out, nil
}

// otherHops says which next hops to tell on a session with far, and which
// family cannot be told for want of one.
//
//   - IPv6 routes over an IPv4 session: a global IPv6 address of the interface.
//   - IPv4 routes over an IPv6 session: an IPv4 address of the interface, as not
//     every peer understands anything else; without one, or on a link-local
//     session, the session's IPv6 address (RFC 8950).
func (a addresses) otherHops(far netip.Addr, s *bgp.Session) (hops fabric.PerFamily[netip.Addr], mute fabric.PerFamily[bool]) {
	if far.IsLinkLocalUnicast() {
		return hops, mute
	}
	other := fabric.IPv6
	if far.Is6() {
		other = fabric.IPv4
	}
	if !s.Families.Get(other) {
		return hops, mute
	}
	hop := a.ofFamily(a.interfaceTowards(far, s), other)
	if hop.IsValid() {
		hops.Set(other, hop)
	} else {
		mute.Set(other, other == fabric.IPv6)
	}
	return hops, mute
}

// interfaceTowards names the interface that a session with far runs over.
func (a addresses) interfaceTowards(far netip.Addr, s *bgp.Session) string {
	if s.SourceInterface != "" {
		return s.SourceInterface
	}
	local := s.SourceAddress
	if !local.IsValid() {
		local = sourceTowards(far)
	}
	for name, list := range a {
		for _, addr := range list {
			if addr == local.WithZone("") {
				return name
			}
		}
	}
	return ""
}

func (a addresses) ofFamily(name string, f fabric.Family) netip.Addr {
	for _, addr := range a[name] {
		if fabric.FamilyOf(addr) == f && addr.IsGlobalUnicast() {
			return addr
		}
	}
	return netip.Addr{}
}

// sourceTowards asks the kernel which of our addresses it would use; a
// connected UDP socket tells and sends nothing.
func sourceTowards(far netip.Addr) netip.Addr {
	conn, err := net.Dial("udp", net.JoinHostPort(far.String(), strconv.Itoa(fabric.BGPPort)))
	if err != nil {
		return netip.Addr{} // no route now
	}
	defer conn.Close()
	if local, ok := conn.LocalAddr().(*net.UDPAddr); ok {
		return local.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
