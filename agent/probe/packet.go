package probe

import (
	"encoding/binary"
	"net/netip"
)

// A probe's data, in UDP and in ICMP echo alike, is a header of headerLen bytes
// in network byte order and zeros up to the size that is asked about:
//
//	0  "weft"
//	4  version
//	5  kind
//	6  size of the request's IP packet, bytes
//	8  nonce, random, of the request
//
// The answer is the header alone, so it is never larger than what it answers.
const (
	headerLen = 16
	magic     = "weft"
	version   = 1
)

// The kinds.
const (
	request uint8 = 1
	answer  uint8 = 2
)

// header is what a probe says.
type header struct {
	kind  uint8
	size  uint16
	nonce uint64
}

func (h header) put(b []byte) {
	copy(b, magic)
	b[4], b[5] = version, h.kind
	binary.BigEndian.PutUint16(b[6:], h.size)
	binary.BigEndian.PutUint64(b[8:], h.nonce)
}

// parseHeader reads the data of a probe; ok is false where it is none, or one of
// a version to come.
func parseHeader(b []byte) (h header, ok bool) {
	if len(b) < headerLen || string(b[:4]) != magic || b[4] != version {
		return h, false
	}
	h = header{kind: b[5], size: binary.BigEndian.Uint16(b[6:]), nonce: binary.BigEndian.Uint64(b[8:])}
	return h, h.kind == request || h.kind == answer
}

// method is how a probe is answered: by the far agent, or by the far kernel.
type method uint8

const (
	byAgent  method = iota // UDP
	byKernel               // ICMP echo
)

// other is the one to try when this one got no answer.
func (m method) other() method { return byKernel - m }

// Protocol numbers, and sizes of headers.
const (
	protoICMP   = 1
	protoUDP    = 17
	protoICMPv6 = 58

	ipv4Len = 20
	ipv6Len = 40
	l4Len   = 8 // of UDP, and of an echo
	hops    = 64
)

// smallest is the size of the smallest probe.
const smallest = ipv6Len + l4Len + headerLen

// packet is a request before it is laid out.
type packet struct {
	method   method
	from, to netip.Addr // of one family
	port     uint16     // UDP, source and destination: the answer comes to it
	size     uint16     // of the whole, IP header included; at least smallest
	nonce    uint64
}

// marshal lays out a packet that no router may fragment, with its IP header.
func (p packet) marshal() []byte {
	b := make([]byte, p.size)
	head, proto := ipv4Len, byte(protoUDP)
	if p.to.Is6() {
		head = ipv6Len
	}
	if p.method == byKernel {
		proto = protoICMP
		if p.to.Is6() {
			proto = protoICMPv6
		}
	}
	body := b[head:]
	header{kind: request, size: p.size, nonce: p.nonce}.put(body[l4Len:])
	check := 6 // where the checksum is
	switch p.method {
	case byAgent:
		binary.BigEndian.PutUint16(body, p.port)
		binary.BigEndian.PutUint16(body[2:], p.port)
		binary.BigEndian.PutUint16(body[4:], uint16(len(body)))
	case byKernel:
		body[0], check = 8, 2 // echo (RFC 792)
		if p.to.Is6() {
			body[0] = 128 // RFC 4443
		}
		binary.BigEndian.PutUint32(body[4:], uint32(p.nonce)) // identifier and number
	}
	sum := p.sum(proto, body)
	if sum == 0 && p.method == byAgent {
		sum = 0xffff // zero means that there is none (RFC 768)
	}
	binary.BigEndian.PutUint16(body[check:], sum)
	p.putIP(b, proto)
	return b
}

// putIP writes the IP header: don't fragment, which is IPv6's only way.
func (p packet) putIP(b []byte, proto byte) {
	if p.to.Is6() {
		b[0] = 6 << 4
		binary.BigEndian.PutUint16(b[4:], uint16(len(b)-ipv6Len))
		b[6], b[7] = proto, hops
		copy(b[8:], p.from.AsSlice())
		copy(b[24:], p.to.AsSlice())
		return
	}
	b[0] = 4<<4 | ipv4Len/4
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	b[6] = 0x40 // DF
	b[8], b[9] = hops, proto
	copy(b[12:], p.from.AsSlice())
	copy(b[16:], p.to.AsSlice())
	binary.BigEndian.PutUint16(b[10:], fold(add(0, b[:ipv4Len])))
}

// sum is the checksum of what follows the IP header, with the pseudo header
// (RFC 768, RFC 8200 section 8.1) that ICMP over IPv4 goes without.
func (p packet) sum(proto byte, body []byte) uint16 {
	s := add(0, body)
	if proto != protoICMP {
		s = add(add(s, p.from.AsSlice()), p.to.AsSlice())
		s += uint32(proto) + uint32(len(body))
	}
	return fold(s)
}

// add and fold compute the Internet checksum (RFC 1071).
func add(s uint32, b []byte) uint32 {
	for ; len(b) > 1; b = b[2:] {
		s += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		s += uint32(b[0]) << 8
	}
	return s
}

func fold(s uint32) uint16 {
	for s > 0xffff {
		s = s>>16 + s&0xffff
	}
	return ^uint16(s)
}
