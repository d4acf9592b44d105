package plumb

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// announce tells everybody on the bridge where the pod's addresses are now,
// those whose MAC does not follow from them: neighbours may remember the last
// pod's. The frames go out of the bridge as if the pod had sent them, which
// takes no visit to its namespace, and the host itself has been told (forget).
// Whom they do not reach asks again after some seconds, so that no error is
// worth an ADD.
func (p *Pod) announce(bridge uint32) {
	var frames [][]byte
	for _, a := range p.Addrs {
		if p.MAC() != derivedMAC([]netip.Addr{a.Addr()}) {
			frames = append(frames, announcement(p.MAC(), a.Addr()))
		}
	}
	if len(frames) == 0 {
		return
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, f := range frames {
		_ = unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: int(bridge)})
	}
}

// announcement is a gratuitous ARP (RFC 5227, section 3) or an unsolicited
// neighbour advertisement (RFC 4861, section 7.2.6), as a frame.
func announcement(mac fabric.MAC, a netip.Addr) []byte {
	if a.Is4() {
		return announceARP(mac, a.As4())
	}
	return announceND(mac, a.As16())
}

func announceARP(mac fabric.MAC, a [4]byte) []byte {
	f := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, mac[:]...)
	f = append(f, 0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1) // Ethernet, IPv4, request
	f = append(f, mac[:]...)
	f = append(f, a[:]...)
	f = append(f, 0, 0, 0, 0, 0, 0)
	return append(f, a[:]...)
}

func announceND(mac fabric.MAC, a [16]byte) []byte {
	const advert, override, optTarget = 136, 0x20, 2
	body := append([]byte{advert, 0, 0, 0, override, 0, 0, 0}, a[:]...)
	body = append(body, optTarget, 1)
	body = append(body, mac[:]...)
	all := netip.IPv6LinkLocalAllNodes().As16()
	pseudo := append(a[:len(a):len(a)], all[:]...)
	pseudo = append(pseudo, 0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6)
	binary.BigEndian.PutUint16(body[2:], checksum(append(pseudo, body...)))

	f := append([]byte{0x33, 0x33, 0, 0, 0, 1}, mac[:]...)
	f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(len(body)), unix.IPPROTO_ICMPV6, 255)
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
