package probe

import (
	"encoding/binary"
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// hint is a router's word that packets to an address must be smaller. Anybody
// can write one, so it is a reason to look and nothing more.
type hint struct {
	to  netip.Addr
	mtu int // 0: it did not say
}

// icmp is what a raw ICMP socket has for a prober: an answer to an echo
// request, or a hint.
type icmp struct {
	header
	hint hint // its address is valid where it is one
}

// Types and codes of ICMP (RFC 792) and ICMPv6 (RFC 4443).
const (
	echoReply4   = 0
	unreachable4 = 3
	fragNeeded   = 4 // code
	tooBig6      = 2
	echoReply6   = 129
)

// parseICMP reads a message as a raw socket of family f gives it, without IP
// header. The kernel has verified its checksum. ok is false where it is nothing
// for us.
func parseICMP(f fabric.Family, b []byte) (m icmp, ok bool) {
	if len(b) < l4Len {
		return m, false
	}
	typ, code, body := b[0], b[1], b[l4Len:]
	switch {
	case f == fabric.IPv4 && typ == echoReply4 || f == fabric.IPv6 && typ == echoReply6:
		m.header, ok = parseHeader(body)
		return m, ok && m.kind == request // as it was sent
	case f == fabric.IPv4 && typ == unreachable4 && code == fragNeeded: // MTU: RFC 1191
		m.hint.mtu = int(binary.BigEndian.Uint16(b[6:]))
	case f == fabric.IPv6 && typ == tooBig6:
		m.hint.mtu = int(min(binary.BigEndian.Uint32(b[4:]), 1<<16))
	default:
		return m, false
	}
	m.hint.to, ok = destination(f, body)
	return m, ok
}

// destination is where the packet at the beginning of b went, which an ICMP
// error quotes.
func destination(f fabric.Family, b []byte) (netip.Addr, bool) {
	if f == fabric.IPv4 {
		if len(b) < ipv4Len || b[0]>>4 != 4 {
			return netip.Addr{}, false
		}
		return netip.AddrFrom4([4]byte(b[16:20])), true
	}
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return netip.Addr{}, false
	}
	return netip.AddrFrom16([16]byte(b[24:40])), true
}
