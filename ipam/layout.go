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
//	buckets  heads of the hash chains over the slots in use and freed
//	slots    one per address, slot i for the subnet's address + i
//
// Slots are the truth. Everything else (chains, free list, counters) follows
// from them and is built anew whenever it is in doubt.
const (
	layoutVersion = 2
	pageSize      = 4096
	slotSize      = 512
	maxSlots      = 1 << 16 // an IPv6 /64 has more addresses than anybody has pods
	firstSlot     = 2       // after the subnet's own address and the gateway
	chunkSlots    = 64      // slots whose disk space is had at once
	chunkSize     = chunkSlots * slotSize
)

var magic = [8]byte{'w', 'e', 'f', 't', 's', 'l', 'o', 't'}

// Offsets in the header. identity..identityEnd never changes and is summed on
// its own; counters..countersEnd is summed whenever an operation ends.
const (
	offMagic    = 0
	offVersion  = 8
	offBits     = 12
	offBoot     = 16
	offAddr     = 32
	offSlots    = 48
	offBuckets  = 52
	identityEnd = 56
	offIDSum    = 56

	offIntent = 64 // see intentWord in ops.go; eight bytes, aligned
	offClosed = 72 // see closed in subnets.go; eight bytes, aligned

	offSerial    = 80 // of the last operation
	offFreeHead  = 88 // slot number, 0 for none (slot 0 is never handed out)
	offFreeTail  = 92
	offInUse     = 96
	offFree      = 100 // slots on the free list
	offFresh     = 104 // no slot from firstSlot up to here was never used
	offChunks    = 112 // a bit for each chunk of slots that was ever written to
	countersEnd  = offChunks + maxSlots/chunkSlots/8
	offCountsSum = countersEnd
)

// Offsets in a slot. links are not summed: they follow from the other slots.
const (
	slotState     = 0
	slotChain     = 4 // the next one with the same bucket, 0 for none
	slotSum       = 8
	slotNext      = 16 // freed: neighbours on the free list, else 0
	slotPrev      = 20
	slotKey       = 24
	slotSerial    = 40
	slotTime      = 48 // of the last change, ns since boot
	slotInode     = 56 // of the network namespace, 0 if unknown
	slotNetwork   = 64 // NetworkKey of the claim's, 0 if unknown
	slotPodKey    = 72 // of pod and interface, 0 if unknown
	slotContainer = 80 // text fields: length byte, then the text
	slotIface     = slotContainer + 1 + MaxContainer
	slotPod       = slotIface + 1 + MaxInterface
	slotNetns     = slotPod + 1 + maxPod
	maxNetns      = 127
	maxPod        = slotSize - slotPod - 1 - 1 - maxNetns // 158
)

// States, far apart so that no single flipped bit makes one of another.
const (
	stateNever = 0
	stateUsed  = 0x55534544
	stateFree  = 0x46524545
)

var ne = binary.NativeEndian

// sum continues a 64-bit hash over b, whose length is a multiple of eight.
// Every step can be undone, so no change of one word goes unseen; and unlike a
// CRC it needs no tables, whose making would cost the plugin more than all of
// its sums.
func sum(b []byte, from uint64) uint64 {
	h := 14695981039346656037 ^ from
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^ne.Uint64(b), 29) * 0x9e3779b97f4a7c15
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
	seed uint64
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
		subnet: subnet, slots: n, buckets: max(16, uint32(1)<<bits.Len32(n-1)),
		seed: sum(a[:], sum(boot[:], uint64(subnet.Bits()))),
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

// reserved reports whether an address of the subnet is the subnet's own, the
// gateway's or the broadcast address.
func (g geometry) reserved(a netip.Addr) bool {
	first := g.subnet.Addr()
	if a == first || a == first.Next() {
		return true
	}
	return a.Is4() && !g.subnet.Contains(a.Next())
}

func (t table) u32(off int) uint32         { return ne.Uint32(t[off:]) }
func (t table) put32(off int, v uint32)    { ne.PutUint32(t[off:], v) }
func (t table) u64(off int) uint64         { return ne.Uint64(t[off:]) }
func (t table) put64(off int, v uint64)    { ne.PutUint64(t[off:], v) }
func (t table) word(off int) *uint64       { return (*uint64)(unsafe.Pointer(&t[off])) }
func (t table) load(off int) uint64        { return atomic.LoadUint64(t.word(off)) }
func (t table) store(off int, v uint64)    { atomic.StoreUint64(t.word(off), v) }
func (t table) countsSum() uint64          { return sum(t[offSerial:countersEnd], 0) }
func (t table) identitySum() uint64        { return sum(t[:identityEnd], 0) }
func (g geometry) at(slot uint32) int      { return g.slotsAt() + int(slot)*slotSize }
func (g geometry) bucket(k key) int        { return pageSize + int(ne.Uint32(k[:])&(g.buckets-1))*4 }
func (g geometry) usable(slot uint32) bool { return slot >= firstSlot && slot < g.slots }

// text returns a text field, which takes up to limit bytes.
func (t table) text(off, limit int) string {
	n := min(int(t[off]), limit)
	return string(t[off+1 : off+1+n])
}

func (t table) putText(off, limit int, s string) {
	clear(t[off : off+1+limit])
	t[off] = byte(copy(t[off+1:off+1+limit], s))
}

// written reports whether a slot's chunk was ever written to. One that was not
// has no disk space: its slots are free, and reading them would take some.
func (t table) written(slot uint32) bool {
	chunk := slot / chunkSlots
	return t[offChunks+chunk/8]>>(chunk%8)&1 != 0
}

func (t table) setWritten(slot uint32) {
	chunk := slot / chunkSlots
	t[offChunks+chunk/8] |= 1 << (chunk % 8)
}

// writeIdentity fills the part of the header that never changes.
func (t table) writeIdentity(g geometry, boot [16]byte) {
	copy(t[offMagic:], magic[:])
	t.put32(offVersion, layoutVersion)
	t.put32(offBits, uint32(g.subnet.Bits())|uint32(g.subnet.Addr().BitLen())<<8)
	copy(t[offBoot:], boot[:])
	a := g.subnet.Addr().As16()
	copy(t[offAddr:], a[:])
	t.put32(offSlots, g.slots)
	t.put32(offBuckets, g.buckets)
	t.put64(offIDSum, t.identitySum())
}

// checkIdentity reports whether the file is one of this version, for this
// subnet and of this boot; of another boot it is errOtherBoot.
func (t table) checkIdentity(g geometry, boot [16]byte) error {
	switch {
	case len(t) < pageSize || !bytes.Equal(t[:len(magic)], magic[:]):
		return corrupt("not a slot file")
	case t.u32(offVersion) != layoutVersion:
		return corrupt(fmt.Sprintf("version %d, this build knows %d", t.u32(offVersion), layoutVersion))
	case t.u64(offIDSum) != t.identitySum():
		return corrupt("header checksum does not match")
	case !bytes.Equal(t[offBoot:offBoot+16], boot[:]):
		return errOtherBoot
	}
	var want [pageSize]byte
	table(want[:]).writeIdentity(g, boot)
	if !bytes.Equal(t[:identityEnd], want[:identityEnd]) {
		return corrupt("made for another subnet")
	}
	if len(t) != g.size() {
		return corrupt(fmt.Sprintf("%d bytes long, want %d", len(t), g.size()))
	}
	return nil
}

// recordSum covers a slot's content, its state and its place.
func (t table) recordSum(g geometry, slot uint32) uint64 {
	at := g.at(slot)
	return sum(t[at+slotKey:at+slotSize], g.seed^uint64(slot)<<32^uint64(t.u32(at+slotState)))
}

// whole returns a slot's state; false if the slot is damaged.
func (t table) whole(g geometry, slot uint32) (state uint32, ok bool) {
	at := g.at(slot)
	switch state = t.u32(at + slotState); state {
	case stateNever:
		return state, t.u64(at+slotSum) == 0 && t.u64(at+slotSerial) == 0
	case stateUsed, stateFree:
		return state, t.u64(at+slotSum) == t.recordSum(g, slot)
	}
	return 0, false
}
