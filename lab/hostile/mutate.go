package hostile

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"slices"
)

// Corpus returns n UPDATE messages, each one a true one that was damaged in
// one to four places. The same seed gives the same messages.
func Corpus(seed uint64, n int, nextHop netip.Addr) [][]byte {
	rng := rand.New(rand.NewPCG(seed, seed))
	bases := bases(nextHop)
	out := make([][]byte, n)
	for i := range out {
		u := bases[rng.IntN(len(bases))]
		u.Attributes = slices.Clone(u.Attributes)
		for range rng.IntN(3) {
			mutateAttributes(rng, &u)
		}
		m := u.Bytes()
		for range 1 + rng.IntN(2) {
			m = mutateBytes(rng, m)
		}
		out[i] = m
	}
	return out
}

// bases are true messages with every attribute that speakers parse, also those
// of address families that nobody negotiated.
func bases(nextHop netip.Addr) []Update {
	four := []netip.Prefix{netip.MustParsePrefix("10.244.77.0/24"), netip.MustParsePrefix("10.244.78.0/24")}
	six := []netip.Prefix{netip.MustParsePrefix("fd00:10:244:77::/64")}
	optional := func(typ uint8, v ...byte) Attribute {
		return Attribute{flagOptional | flagTransitive, typ, v}
	}
	reach := func(afi uint16, safi byte, v ...byte) Attribute {
		head := append(binary.BigEndian.AppendUint16(nil, afi), safi, 4, 198, 18, 1, 1, 0)
		return Attribute{flagOptional, MPReach, append(head, v...)}
	}
	path := []uint32{64999, 65001}
	out := []Update{
		Route(nextHop, path, four),
		Route(netip.MustParseAddr("2001:2::1"), path, six),
		Route(netip.MustParseAddr("2001:2::1"), path, four),
		Withdraw(four), Withdraw(six),
	}
	out = append(out, EndOfRIB()...)
	for _, a := range []Attribute{
		{flagOptional, MED, []byte{0, 0, 0, 9}}, {flagTransitive, LocalPref, []byte{0, 0, 0, 9}}, {flagTransitive, 6, nil},
		optional(7, 0, 1, 0, 0, 198, 18, 0, 1), CommunityList(0xffff0000, 0xffffff01),
		{flagOptional, OriginatorID, []byte{198, 18, 0, 1}}, {flagOptional, ClusterList, []byte{198, 18, 0, 1, 198, 18, 0, 2}},
		optional(16, 0, 2, 0, 1, 0, 0, 0, 1, 3, 12, 0, 0, 0, 0, 0, 8), optional(17, 2, 1, 0, 0, 253, 233), optional(18, 0, 0, 253, 233, 198, 18, 0, 1),
		optional(22, 0, 6, 0, 0, 16, 198, 18, 0, 1), optional(23, 0, 15, 0, 10, 1, 8, 0, 0, 0, 1, 0, 0, 0, 2), optional(25, slices.Repeat([]byte{1}, 20)...),
		{flagOptional, 26, []byte{1, 0, 11, 0, 0, 0, 0, 0, 0, 0, 5}}, {flagOptional, 29, []byte{4, 2, 0, 4, 1, 2, 3, 4, 4, 3, 0, 1, 9}},
		optional(LargeCommunities, 0, 0, 253, 232, 0, 0, 0, 1, 0, 0, 0, 2), optional(40, 1, 0, 7, 0, 0, 0, 0, 0, 0, 9, 5, 0, 2, 0, 0), optional(128, 0, 0, 0, 0), optional(255, 1, 2, 3),
		reach(1, 4, 48, 0, 1, 1, 10, 244, 77), reach(1, 128, 112, 0, 0, 1, 0, 0, 0, 1, 0, 1, 10, 244, 77), reach(1, 133, 5, 1, 24, 10, 244, 77),
		reach(1, 73, 96, 0, 0, 0, 1, 0, 0, 0, 2, 198, 18, 0, 1), reach(1, 85, 1, 0, 1, 12, 0, 0, 0, 1, 0, 0, 0, 1, 24, 10, 244, 77), reach(1, 132, 96, 0, 0, 253, 232, 0, 2, 0, 1, 0, 0, 0, 1),
		reach(25, 70, 2, 33, 0, 1, 198, 18, 0, 1, 0, 1), reach(25, 65, 0, 17, 0, 1, 0, 0, 0, 1), reach(16388, 71, 0, 1, 0, 13, 3, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), reach(16397, 241, 8, 1, 2, 3, 4, 5, 6, 7, 8),
	} {
		out = append(out, Route(nextHop, path, four, a))
	}
	return out
}

// mutateAttributes damages the list of attributes.
func mutateAttributes(rng *rand.Rand, u *Update) {
	if len(u.Attributes) == 0 {
		return
	}
	i := rng.IntN(len(u.Attributes))
	a := &u.Attributes[i]
	switch rng.IntN(8) {
	case 0:
		a.Flags = uint8(rng.Uint32())
	case 1:
		a.Type = uint8(rng.Uint32())
	case 2:
		u.Attributes = append(u.Attributes, *a)
	case 3:
		u.Attributes = slices.Delete(u.Attributes, i, i+1)
	case 4:
		a.Value = a.Value[:rng.IntN(len(a.Value)+1)]
	case 5:
		a.Value = append(slices.Clone(a.Value), randomBytes(rng, 1+rng.IntN(40))...)
	case 6:
		a.Value = randomBytes(rng, rng.IntN(64))
	case 7:
		a.Value = slices.Repeat(a.Value, 1+rng.IntN(12))
	}
}

// mutateBytes damages a message. Two of three times it leaves the header
// true, so that the damage is found by the parser of the body.
func mutateBytes(rng *rand.Rand, m []byte) []byte {
	m = slices.Clone(m)
	at := func() int { return headerSize + rng.IntN(max(1, len(m)-headerSize)) }
	switch rng.IntN(7) {
	case 0: // left alone: the attributes may be damage enough
	case 1:
		flip(rng, m, rng.IntN(len(m)))
	case 2:
		flip(rng, m, at())
	case 3:
		if i := at(); i < len(m) {
			m[i] = []byte{0, 1, 0x7f, 0x80, 0xff, 33, 129}[rng.IntN(7)]
		}
	case 4:
		m = fitted(m[:at()])
	case 5:
		m = fitted(append(m, randomBytes(rng, 1+rng.IntN(64))...))
	case 6:
		if i := at(); i+2 <= len(m) {
			binary.BigEndian.PutUint16(m[i:], uint16(rng.Uint32()))
		}
	}
	if len(m) > maxMessage {
		m = fitted(m[:maxMessage])
	}
	return m
}

func flip(rng *rand.Rand, m []byte, i int) {
	if i < len(m) {
		m[i] ^= 1 << rng.IntN(8)
	}
}

// fitted sets the header's length to the message's.
func fitted(m []byte) []byte {
	m = slices.Clone(m)
	for len(m) < headerSize {
		m = append(m, 0)
	}
	binary.BigEndian.PutUint16(m[16:], uint16(len(m)))
	return m
}

func randomBytes(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = uint8(rng.Uint32())
	}
	return b
}
