package ipam

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"sync/atomic"
	"unsafe"
)

// The file of one subnet, integers in the machine's own order (the file never
// leaves the machine, nor outlives its boot):
//
//	header   one page: what the file is for, then the counters
//	buckets  heads of the hash chains over the slots in use
//	slots    one per address, slot i for the subnet's address + i
//
// Slots are the truth. Everything else (chains, free list, counters) follows
// from them and is built anew whenever it is in doubt.
const (
	layoutVersion = 1
	pageSize      = 4096
	slotSize      = 512
	maxSlots      = 1 << 16 // an IPv6 /64 has more addresses than anybody has pods
	firstSlot     = 2       // after the subnet's own address and the gateway
	backedRun     = 64      // slots whose disk space is secured at once
)

var magic = [8]byte{'w', 'e', 'f', 't', 's', 'l', 'o', 't'}

// Offsets in the header. identity..identityEnd never changes and is summed on
// its own; counters..countersEnd is summed whenever an operation ends.
const (
	offMagic    = 0
	offVersion  = 8
	offIDSum    = 12
	offBoot     = 16
	offAddr     = 32
	offBits     = 48
	offSlots    = 52
	offBuckets  = 56
	identityEnd = 60

	offIntent = 64 // see intent in ops.go; eight bytes, aligned

	offSerial    = 72 // of the last operation
	offFresh     = 80 // no slot from firstSlot up to here was never used
	offHigh      = 84 // no slot from here on was ever used
	offFreeHead  = 88 // slot number, 0 for none (slot 0 is never handed out)
	offFreeTail  = 92
	offInUse     = 96
	offFree      = 100 // slots on the free list
	countersEnd  = 104
	offCountsSum = 104

	offBacked = 112 // slots below have disk space: a hint, not summed
)

// Offsets in a slot. links are not summed: they follow from the other slots.
const (
	slotState     = 0
	slotSum       = 4
	slotNext      = 8 // in use: chain; free: free list. 0 for none
	slotKey       = 16
	slotSerial    = 32
	slotTime      = 40 // of the last change, ns since boot
	slotInode     = 48 // of the network namespace, 0 if unknown
	slotContainer = 56 // text fields: length byte, then the text
	slotIface     = slotContainer + 1 + MaxContainer
	slotNetns     = slotIface + 1 + MaxInterface
	slotEnd       = slotNetns + 1 + maxNetns
	maxNetns      = 255
)

// States, far apart so that no single flipped bit makes one of another.
const (
	stateNever = 0
	stateUsed  = 0x55534544
	stateFree  = 0x46524545
)

var ne = binary.NativeEndian

// sum continues a 32-bit FNV-1a over b. Every step can be undone, so no change
// of one byte goes unseen; and unlike a CRC it needs no tables, whose making
// would cost the plugin more than all of its sums.
func sum(b []byte, from uint32) uint32 {
	h := 2166136261 ^ from
	for _, c := range b {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

// table is the mapped content of a slot file.
type table []byte

// geometry is what follows from the subnet.
type geometry struct {
	subnet  netip.Prefix
	slots   uint32
	buckets uint32
	// seed makes the slots' sums differ between subnets and boots, so that a
	// slot can be believed even if the header cannot.
	seed uint32
}

func newGeometry(subnet netip.Prefix, boot [16]byte) geometry {
	n := uint32(maxSlots)
	if host := subnet.Addr().BitLen() - subnet.Bits(); host <= 16 {
		n = 1 << host
		if subnet.Addr().Is4() {
			n-- // the broadcast address
		}
	}
	a := subnet.Addr().As16()
	return geometry{
		subnet: subnet, slots: n, buckets: max(16, uint32(1)<<bits.Len32(n/4)),
		seed: sum(a[:], sum(boot[:], uint32(subnet.Bits()))),
	}
}

func (g geometry) slotsAt() int { return pageSize + (int(g.buckets)*4+pageSize-1)/pageSize*pageSize }
func (g geometry) size() int    { return g.slotsAt() + int(g.slots)*slotSize }

// addr is the address of a slot.
func (g geometry) addr(slot uint32) netip.Addr {
	b := g.subnet.Addr().As16()
	binary.BigEndian.PutUint32(b[12:], binary.BigEndian.Uint32(b[12:])+slot)
	a := netip.AddrFrom16(b)
	if g.subnet.Addr().Is4() {
		return a.Unmap()
	}
	return a
}

// slot is the inverse of addr; false for an address that is never handed out.
func (g geometry) slot(a netip.Addr) (uint32, bool) {
	if !g.subnet.Contains(a) {
		return 0, false
	}
	p := pool{network: g.subnet, length: a.BitLen(), size: uint64(g.slots)}
	n, ok := p.number(a)
	return uint32(n), ok && n >= firstSlot
}

func (t table) u32(off int) uint32      { return ne.Uint32(t[off:]) }
func (t table) put32(off int, v uint32) { ne.PutUint32(t[off:], v) }
func (t table) u64(off int) uint64      { return ne.Uint64(t[off:]) }
func (t table) put64(off int, v uint64) { ne.PutUint64(t[off:], v) }
func (t table) intent() uint64          { return atomic.LoadUint64(t.intentWord()) }
func (t table) setIntent(v uint64)      { atomic.StoreUint64(t.intentWord(), v) }
func (t table) intentWord() *uint64     { return (*uint64)(unsafe.Pointer(&t[offIntent])) }
func (t table) countsSum() uint32       { return sum(t[offSerial:countersEnd], 0) }
func (g geometry) at(slot uint32) int   { return g.slotsAt() + int(slot)*slotSize }
func (g geometry) bucket(k key) int     { return pageSize + int(ne.Uint32(k[:])&(g.buckets-1))*4 }
func (g geometry) usable(n uint32) bool { return n >= firstSlot && n < g.slots }
func (t table) text(off int, limit int) string {
	n := min(int(t[off]), limit)
	return string(t[off+1 : off+1+n])
}

func (t table) putText(off, limit int, s string) {
	clear(t[off : off+1+limit])
	t[off] = byte(len(s))
	copy(t[off+1:], s)
}

// writeIdentity fills the part of the header that never changes.
func (t table) writeIdentity(g geometry, boot [16]byte) {
	copy(t[offMagic:], magic[:])
	t.put32(offVersion, layoutVersion)
	copy(t[offBoot:], boot[:])
	a := g.subnet.Addr().As16()
	copy(t[offAddr:], a[:])
	t.put32(offBits, uint32(g.subnet.Bits())|uint32(g.subnet.Addr().BitLen())<<8)
	t.put32(offSlots, g.slots)
	t.put32(offBuckets, g.buckets)
	t.put32(offIDSum, t.identitySum())
}

func (t table) identitySum() uint32 {
	return sum(t[offBoot:identityEnd], sum(t[:offIDSum], 0))
}

// checkIdentity reports whether the file is one of this version, for this
// subnet and of this boot; of another boot it is errOtherBoot.
func (t table) checkIdentity(g geometry, boot [16]byte) error {
	switch {
	case len(t) < pageSize || !bytes.Equal(t[:len(magic)], magic[:]):
		return corrupt("not a slot file")
	case t.u32(offIDSum) != t.identitySum():
		return corrupt("header checksum does not match")
	case t.u32(offVersion) != layoutVersion:
		return corrupt(fmt.Sprintf("version %d, this build knows %d", t.u32(offVersion), layoutVersion))
	case !bytes.Equal(t[offBoot:offBoot+16], boot[:]):
		return errOtherBoot
	}
	want := make(table, pageSize)
	want.writeIdentity(g, boot)
	if !bytes.Equal(t[:identityEnd], want[:identityEnd]) {
		return corrupt("made for another subnet")
	}
	if len(t) != g.size() {
		return corrupt(fmt.Sprintf("%d bytes long, want %d", len(t), g.size()))
	}
	return nil
}

// recordSum covers a slot's content, its state and its place.
func (t table) recordSum(g geometry, slot uint32) uint32 {
	at := g.at(slot)
	return sum(t[at+slotKey:at+slotEnd], sum(t[at:at+slotSum], g.seed+slot))
}

// state returns a slot's state, or an error if the slot is damaged.
func (t table) state(g geometry, slot uint32) (uint32, error) {
	at := g.at(slot)
	s := t.u32(at + slotState)
	switch s {
	case stateNever:
		if t.u32(at+slotSum) == 0 && t.u64(at+slotSerial) == 0 {
			return s, nil
		}
	case stateUsed, stateFree:
		if t.u32(at+slotSum) == t.recordSum(g, slot) {
			return s, nil
		}
	}
	return 0, corrupt(fmt.Sprintf("slot %d is damaged", slot))
}
