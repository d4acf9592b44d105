package lab

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// The address plan. All of it lies in the ranges set aside for benchmarking:
// 198.18.0.0/15 (RFC 2544, appendix C.2.2) and 2001:2::/48 (RFC 5180, 8), and
// exists only inside the lab's namespaces, so two labs may use the same.
//
// Racks, their ToRs, a rack's hosts and the spines are counted from 1. With
// n = i for the first ToR of rack i and i+100 for its second:
//
//	ToR n's segment        198.18.n.0/24         2001:2:0:n::/64    ToR .1
//	its host j                     .10+j                 ::10+j
//	link k to spine s      198.19.k.4(s-1)/30    2001:2:0:1000+100(s-1)+k::/64
//	                                             spine first, far end second
//	link of ToR n          k = 10+n
const (
	linkOutside = 1
	linkEtcd    = 2   // + member
	linkToR     = 10  // + the ToR's number
	secondToR   = 100 // + the rack: the number of its second ToR
)

// segment is a network of one family with its gateway.
type segment struct {
	net     netip.Prefix
	gateway netip.Addr
}

// nth is the network's n-th address.
func (s segment) nth(n int) netip.Addr {
	a := s.net.Addr().AsSlice()
	a[len(a)-1] += byte(n)
	out, _ := netip.AddrFromSlice(a)
	return out
}

// on is an address of the segment with the segment's length.
func (s segment) on(a netip.Addr) netip.Prefix { return netip.PrefixFrom(a, s.net.Bits()) }

// torNumber is the number of ToR t of rack i.
func torNumber(i, t int) int { return i + (t-1)*secondToR }

// torSegment is the segment of the ToR with that number.
func torSegment(n int, f fabric.Family) segment {
	s := segment{net: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(n), 0}), 24)}
	if f == fabric.IPv6 {
		s.net = netip.PrefixFrom(benchmark6(uint16(n)), 64)
	}
	s.gateway = s.nth(1)
	return s
}

// linkSegment is the point-to-point network of link k to spine s; its gateway
// is the spine's end.
func linkSegment(k, s int, f fabric.Family) segment {
	out := segment{net: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(k), byte(4 * (s - 1))}), 30)}
	if f == fabric.IPv6 {
		out.net = netip.PrefixFrom(benchmark6(0x1000+0x100*uint16(s-1)+uint16(k)), 64)
	}
	out.gateway = out.nth(1)
	return out
}

func benchmark6(subnet uint16) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 3: 0x02, 6: byte(subnet >> 8), 7: byte(subnet)})
}

// hostAddr is the address of host j on the segment of the ToR with number n.
func hostAddr(n, j int, f fabric.Family) netip.Addr { return torSegment(n, f).nth(10 + j) }

// farAddr is the address at the far end of link k to spine s.
func farAddr(k, s int, f fabric.Family) netip.Addr { return linkSegment(k, s, f).nth(2) }

// leafAddr is the address of what hangs off the first spine by link k.
func leafAddr(k int, f fabric.Family) netip.Addr { return farAddr(k, 1, f) }

// defaultRoute is 0.0.0.0/0 or ::/0.
func defaultRoute(f fabric.Family) netip.Prefix {
	if f == fabric.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
