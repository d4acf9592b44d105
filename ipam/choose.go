package ipam

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"
)

// Request asks for a subnet that overlaps nothing in Reserved, Taken and Avoid.
type Request struct {
	Network  netip.Prefix   // the fabric's network of one family
	Length   int            // of the subnet, in bits
	Reserved []netip.Prefix // never leased
	Taken    []netip.Prefix // leases and reservations of others
	Seed     string         // the node's id
	Avoid    []netip.Prefix // races lost just now
}

// maxSubnetBits bounds the subnets that are considered to the first 2^62 of a
// network, so that they can be counted in 64 bits. Nobody runs out of these.
const maxSubnetBits = 62

// probes is how many places are tried before the free ones are counted.
const probes = 8

// Choose returns the subnet that the node gets; false means that none is free
// or that no subnet of this length fits the network. The answer depends on the
// request alone. A few places that follow from the seed are tried first, so
// that a node that comes back finds its old subnet while it is free; on a
// crowded network the node goes to one of the free places, which one follows
// from the seed again, so that nodes that start together on a tight pool
// rarely race for the same one. The cost is a few passes over what is taken,
// at worst sorting it, whatever the size of the network. Prefixes of the other
// family are ignored.
func Choose(r Request) (netip.Prefix, bool) {
	p, ok := newPool(r.Network, r.Length)
	if !ok {
		return netip.Prefix{}, false
	}
	used := make([]span, 0, len(r.Reserved)+len(r.Taken)+len(r.Avoid))
	for _, list := range [][]netip.Prefix{r.Reserved, r.Taken, r.Avoid} {
		for _, t := range list {
			if s, ok := p.covered(t); ok {
				used = append(used, s)
			}
		}
	}
	for i := range byte(probes) {
		n := hash(r.Seed, i) % p.size
		if !slices.ContainsFunc(used, func(s span) bool { return s.first <= n && n <= s.last }) {
			return p.subnet(n), true
		}
	}
	used = merge(used)
	free := p.size
	for _, s := range used {
		free -= s.last - s.first + 1
	}
	if free == 0 {
		return netip.Prefix{}, false
	}
	return p.subnet(nth(used, hash(r.Seed, probes)%free)), true
}

// hash draws the i-th number that belongs to a seed.
func hash(seed string, i byte) uint64 {
	sum := sha256.Sum256(append([]byte(seed), 0, i))
	return binary.BigEndian.Uint64(sum[:])
}

// pool numbers the subnets of one length in a network from 0 to size-1.
type pool struct {
	network netip.Prefix
	length  int
	size    uint64
}

func newPool(network netip.Prefix, length int) (pool, bool) {
	if !network.IsValid() || length < network.Bits() || length > network.Addr().BitLen() {
		return pool{}, false
	}
	n := min(length-network.Bits(), maxSubnetBits)
	return pool{network: network.Masked(), length: length, size: 1 << n}, true
}

// span is a run of subnet numbers, both ends included.
type span struct{ first, last uint64 }

// covered returns the subnets that overlap t, false when none does.
func (p pool) covered(t netip.Prefix) (span, bool) {
	if !t.IsValid() {
		return span{}, false
	}
	if t.Bits() <= p.network.Bits() {
		return span{0, p.size - 1}, t.Contains(p.network.Addr())
	}
	if !p.network.Contains(t.Addr()) {
		return span{}, false
	}
	first, ok := p.number(t.Masked().Addr())
	if !ok {
		return span{}, false
	}
	last := first
	if t.Bits() < p.length {
		last = min(first|(uint64(1)<<(p.length-t.Bits())-1), p.size-1)
	}
	return span{first, last}, true
}

// number returns which subnet the address lies in; false if it is beyond
// those that are considered.
func (p pool) number(a netip.Addr) (uint64, bool) {
	hi, lo := halves(a)
	baseHi, baseLo := halves(p.network.Addr())
	lo, borrow := bits.Sub64(lo, baseLo, 0)
	hi, _ = bits.Sub64(hi, baseHi, borrow)
	shift := a.BitLen() - p.length
	if shift >= 64 {
		lo, hi = hi>>(shift-64), 0
	} else {
		lo, hi = lo>>shift|hi<<(64-shift), hi>>shift
	}
	return lo, hi == 0 && lo < p.size
}

// subnet is the inverse of number.
func (p pool) subnet(n uint64) netip.Prefix {
	shift := p.network.Addr().BitLen() - p.length
	var hi, lo uint64
	if shift >= 64 {
		hi = n << (shift - 64)
	} else {
		hi, lo = n>>(64-shift), n<<shift
	}
	baseHi, baseLo := halves(p.network.Addr())
	lo, carry := bits.Add64(lo, baseLo, 0)
	hi, _ = bits.Add64(hi, baseHi, carry)
	if p.network.Addr().Is4() {
		var b [4]byte
		binary.BigEndian.PutUint32(b[:], uint32(lo))
		return netip.PrefixFrom(netip.AddrFrom4(b), p.length)
	}
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], hi)
	binary.BigEndian.PutUint64(b[8:], lo)
	return netip.PrefixFrom(netip.AddrFrom16(b), p.length)
}

// halves returns an address as a 128-bit number; an IPv4 address is 32 bits of it.
func halves(a netip.Addr) (hi, lo uint64) {
	if a.Is4() {
		b := a.As4()
		return 0, uint64(binary.BigEndian.Uint32(b[:]))
	}
	b := a.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// merge sorts the spans and joins those that overlap or touch.
func merge(spans []span) []span {
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.first, b.first) })
	out := spans[:0]
	for _, s := range spans {
		if n := len(out); n > 0 && s.first <= out[n-1].last+1 {
			out[n-1].last = max(out[n-1].last, s.last)
			continue
		}
		out = append(out, s)
	}
	return out
}

// nth returns the n-th number, from 0, that lies in none of the merged spans.
func nth(spans []span, n uint64) uint64 {
	for _, s := range spans {
		if n < s.first {
			break
		}
		n += s.last - s.first + 1
	}
	return n
}
