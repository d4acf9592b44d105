package store

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// prefixIndex finds the records whose subnets overlap a prefix. Prefixes
// overlap only by nesting: those that enclose are found by look-up, one per
// length in use, those enclosed lie side by side in the order of addresses.
type prefixIndex struct {
	recs    []*record // by address, then length
	lengths map[prefixLength]int
}

type prefixLength struct {
	family fabric.Family
	bits   int
}

func lengthOf(p netip.Prefix) prefixLength {
	return prefixLength{fabric.FamilyOf(p.Addr()), p.Bits()}
}

func comparePrefix(a, b netip.Prefix) int {
	if c := a.Addr().Compare(b.Addr()); c != 0 {
		return c
	}
	return cmp.Compare(a.Bits(), b.Bits())
}

func (x *prefixIndex) find(p netip.Prefix) (int, bool) {
	return slices.BinarySearchFunc(x.recs, p, func(r *record, p netip.Prefix) int { return comparePrefix(r.subnet.Prefix, p) })
}

func (x *prefixIndex) insert(r *record) {
	i, _ := x.find(r.subnet.Prefix)
	x.recs = slices.Insert(x.recs, i, r)
	x.lengths[lengthOf(r.subnet.Prefix)]++
}

func (x *prefixIndex) remove(r *record) {
	i, ok := x.find(r.subnet.Prefix)
	if !ok {
		return
	}
	x.recs = slices.Delete(x.recs, i, i+1)
	l := lengthOf(r.subnet.Prefix)
	if x.lengths[l]--; x.lengths[l] == 0 {
		delete(x.lengths, l)
	}
}

// overlapping calls f for each record that overlaps p, p's own included.
func (x *prefixIndex) overlapping(p netip.Prefix, f func(*record)) {
	fam := fabric.FamilyOf(p.Addr())
	for l := range x.lengths {
		if l.family != fam || l.bits >= p.Bits() {
			continue
		}
		if i, ok := x.find(netip.PrefixFrom(p.Addr(), l.bits).Masked()); ok {
			f(x.recs[i])
		}
	}
	i, _ := x.find(p)
	for ; i < len(x.recs) && p.Contains(x.recs[i].subnet.Prefix.Addr()); i++ {
		f(x.recs[i])
	}
}
