package plumb

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// announce tells everybody on the bridge where the pod's addresses are now,
// those whose MAC does not follow from them: neighbours may remember the last
// pod's. The host says it on the pod's behalf, which takes no visit to the pod's
// namespace; what itself remembers it has been told to drop (forget). Whom this
// does not reach asks again after some seconds, so that no error is worth an ADD.
func (p *Pod) announce(bridge uint32) {
	for _, a := range p.Addrs {
		switch addr := a.Addr(); {
		case p.MAC() == derivedMAC([]netip.Addr{addr}):
		case addr.Is4():
			p.announce4(bridge, addr)
		default:
			p.announce6(bridge, addr)
		}
	}
}

// announce4 sends a gratuitous ARP. Closing a packet socket waits for an RCU
// grace period (packet_release), 10 ms; only a pod that asked for a certain MAC
// needs it.
func (p *Pod) announce4(bridge uint32, a netip.Addr) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, gratuitousARP(p.MAC(), a), 0, &unix.SockaddrLinklayer{Ifindex: int(bridge)})
}

// announce6 sends an unsolicited neighbour advertisement. Every pod of two
// families needs it, and its kind of socket costs nothing to close. The frame has
// the bridge's MAC as its source; neighbours learn from the option.
func (p *Pod) announce6(bridge uint32, a netip.Addr) {
	fd, err := unix.Socket(unix.AF_INET6, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW) // with a header of ours
	if err != nil {
		return
	}
	defer unix.Close(fd)
	_ = unix.Sendto(fd, advertisement(p.MAC(), a), 0, &unix.SockaddrInet6{Addr: netip.IPv6LinkLocalAllNodes().As16(), ZoneId: bridge})
}

// gratuitousARP is an ARP frame as RFC 5227, section 3, describes it.
func gratuitousARP(mac fabric.MAC, a netip.Addr) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac[:]...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	f = append(f, mac[:]...)
	f = append(f, a.AsSlice()...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a.AsSlice()...)
}

// advertisement is a packet as RFC 4861, section 7.2.6, describes it.
func advertisement(mac fabric.MAC, addr netip.Addr) []byte {
	const advert, override, optTarget = 136, 0x20, 2
	a, all := addr.As16(), netip.IPv6LinkLocalAllNodes().As16()
	body := append([]byte{advert, 0, 0, 0, override, 0, 0, 0}, a[:]...)
	body = append(body, optTarget, 1)
	body = append(body, mac[:]...)
	pseudo := append(a[:len(a):len(a)], all[:]...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))

	f := []byte{0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255}
	f = append(f, a[:]...)
	f = append(f, all[:]...)
	return append(f, body...)
}

// checksum is the internet checksum (RFC 1071) of an even number of bytes.
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(binary.BigEndian.Uint16(b))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
