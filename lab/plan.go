package lab

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// The address plan. All of it lies in the ranges set aside for benchmarking:
// 198.18.0.0/15 (RFC 2544, appendix C.2.2) and 2001:2::/48 (RFC 5180, 8), and
// exists only inside the lab's namespaces, so two labs may use the same.
//
//	rack i (from 1)    198.18.i.0/24     2001:2:0:i::/64       gateway .1
//	its host j (from 1)         .10+j                 ::10+j
//	link k to the spine  198.19.k.0/30   2001:2:0:1000+k::/64  spine .1, far end .2
const (
	linkOutside = 1
	linkEtcd    = 2  // + member
	linkRack    = 10 // + rack
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

// rackSegment is the segment of rack i, counted from 1.
func rackSegment(i int, f fabric.Family) segment {
	s := segment{net: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 18, byte(i), 0}), 24)}
	if f == fabric.IPv6 {
		s.net = netip.PrefixFrom(benchmark6(uint16(i)), 64)
	}
	s.gateway = s.nth(1)
	return s
}

// linkSegment is the point-to-point network of link k; its gateway is the
// spine's end, address 2 the other.
func linkSegment(k int, f fabric.Family) segment {
	s := segment{net: netip.PrefixFrom(netip.AddrFrom4([4]byte{198, 19, byte(k), 0}), 30)}
	if f == fabric.IPv6 {
		s.net = netip.PrefixFrom(benchmark6(0x1000+uint16(k)), 64)
	}
	s.gateway = s.nth(1)
	return s
}

func benchmark6(subnet uint16) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 3: 0x02, 6: byte(subnet >> 8), 7: byte(subnet)})
}

// hostAddr is the underlay address of the j-th host (from 1) of rack i.
func hostAddr(i, j int, f fabric.Family) netip.Addr { return rackSegment(i, f).nth(10 + j) }

// farAddr is the address at the far end of link k.
func farAddr(k int, f fabric.Family) netip.Addr { return linkSegment(k, f).nth(2) }

// defaultRoute is 0.0.0.0/0 or ::/0.
func defaultRoute(f fabric.Family) netip.Prefix {
	if f == fabric.IPv4 {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}
