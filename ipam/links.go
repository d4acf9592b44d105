package ipam

import (
	"cmp"
	"iter"
	"math/bits"
	"slices"
)

// What is derived from the slots: chains, free list, counters. Links between
// slots are not summed, so each one is checked when it is followed.

// derive builds chains, free list and counters from the slots. The caller has
// set the intent word, or works on a file that nobody has seen yet.
func (b *book) derive() error {
	clear(b.table[pageSize : pageSize+int(b.buckets)*4])
	for _, off := range []int{offFreeHead, offFreeTail, offInUse, offFree} {
		b.put32(off, 0)
	}
	b.put32(offFresh, firstSlot)
	var free []uint32
	for slot := range b.writtenSlots() {
		state, err := b.state(slot)
		switch {
		case err != nil:
			return err
		case state == stateUsed:
			b.put32(offInUse, b.u32(offInUse)+1)
		case state == stateFree:
			free = append(free, slot)
		default:
			continue
		}
		b.put32(b.at(slot)+slotNext, 0)
		b.put32(b.at(slot)+slotPrev, 0)
		b.chain(slot)
	}
	// In the order of release; clocks may jump, serials do not.
	slices.SortFunc(free, func(x, y uint32) int {
		return cmp.Compare(b.u64(b.at(x)+slotSerial), b.u64(b.at(y)+slotSerial))
	})
	for _, slot := range free {
		b.list(slot)
	}
	return nil
}

// writtenSlots goes over the slots of every chunk that was written to.
func (b *book) writtenSlots() iter.Seq[uint32] {
	return func(yield func(uint32) bool) {
		for word := range maxSlots / chunkSlots / 8 {
			for set := b.table[offChunks+word]; set != 0; set &= set - 1 {
				first := (uint32(word)*8 + uint32(bits.TrailingZeros8(set))) * chunkSlots
				for slot := max(first, firstSlot); slot < min(first+chunkSlots, b.slots); slot++ {
					if !yield(slot) {
						return
					}
				}
			}
		}
	}
}

// find looks for the attachment with key k: the slot that it uses, else the one
// that it freed last; 0 for none.
func (b *book) find(k key) (used, freed uint32, err error) {
	bucket := b.bucket(k)
	slot := b.u32(bucket)
	for range b.u32(offInUse) + b.u32(offFree) + 1 {
		if slot == 0 {
			return 0, freed, nil
		}
		state, err := b.linked(slot)
		if err != nil {
			return 0, 0, err
		}
		switch got := b.keyOf(slot); {
		case b.bucket(got) != bucket:
			return 0, 0, b.corrupt("slot %d is in a foreign chain", slot)
		case got != k:
		case state == stateUsed:
			return slot, 0, nil
		case freed == 0 || b.u64(b.at(slot)+slotSerial) > b.u64(b.at(freed)+slotSerial):
			freed = slot
		}
		slot = b.u32(b.at(slot) + slotChain)
	}
	return 0, 0, b.corrupt("a chain runs in a circle")
}

// linked checks a slot that a link leads to, and returns its state.
func (b *book) linked(slot uint32) (uint32, error) {
	if !b.usable(slot) {
		return 0, b.corrupt("a link leads to slot %d", slot)
	}
	state, err := b.state(slot)
	if err == nil && state == stateNever {
		err = b.corrupt("a link leads to slot %d, which was never used", slot)
	}
	return state, err
}

// chain puts a slot at the head of its key's chain.
func (b *book) chain(slot uint32) {
	bucket := b.bucket(b.keyOf(slot))
	b.put32(b.at(slot)+slotChain, b.u32(bucket))
	b.put32(bucket, slot)
}

// unchain takes a slot out of its chain.
func (b *book) unchain(slot uint32) error {
	link := b.bucket(b.keyOf(slot))
	for range b.u32(offInUse) + b.u32(offFree) + 1 {
		next := b.u32(link)
		if next == slot {
			b.put32(link, b.u32(b.at(slot)+slotChain))
			return nil
		}
		if !b.usable(next) || !b.written(next) {
			break
		}
		link = b.at(next) + slotChain
	}
	return b.corrupt("slot %d is not in its chain", slot)
}

// list appends a freed slot to the free list.
func (b *book) list(slot uint32) {
	at, tail := b.at(slot), b.u32(offFreeTail)
	b.put32(at+slotNext, 0)
	b.put32(at+slotPrev, tail)
	if b.usable(tail) {
		b.put32(b.at(tail)+slotNext, slot)
	} else {
		b.put32(offFreeHead, slot)
	}
	b.put32(offFreeTail, slot)
	b.put32(offFree, b.u32(offFree)+1)
}

// unlist takes a freed slot out of the free list, from wherever it is.
func (b *book) unlist(slot uint32) error {
	at := b.at(slot)
	prev, next := b.u32(at+slotPrev), b.u32(at+slotNext)
	before, after := offFreeHead, offFreeTail // where the links to this slot are
	if prev != 0 {
		before = b.at(prev) + slotNext
	}
	if next != 0 {
		after = b.at(next) + slotPrev
	}
	if !b.listed(prev) || !b.listed(next) || b.u32(before) != slot || b.u32(after) != slot {
		return b.corrupt("slot %d is not on the free list", slot)
	}
	b.put32(before, next)
	b.put32(after, prev)
	b.put32(at+slotNext, 0)
	b.put32(at+slotPrev, 0)
	b.put32(offFree, b.u32(offFree)-1)
	return nil
}

// listed reports whether a slot can be on the free list, or is 0, its end.
func (b *book) listed(slot uint32) bool {
	return slot == 0 || b.usable(slot) && b.written(slot) && b.u32(b.at(slot)+slotState) == stateFree
}

// oldest is the slot that was freed longest ago, 0 if there is none.
func (b *book) oldest() (uint32, error) {
	slot := b.u32(offFreeHead)
	if slot == 0 {
		return 0, nil
	}
	state, err := b.linked(slot)
	if err == nil && state != stateFree {
		err = b.corrupt("the free list leads to slot %d, which is in use", slot)
	}
	return slot, err
}

// fresh is the first slot that was never used, 0 if there is none. Slots beyond
// offFresh may be used, because somebody asked for them; they are skipped once.
func (b *book) fresh() (uint32, error) {
	from := max(b.u32(offFresh), firstSlot)
	slot := from
	for ; slot < b.slots; slot++ {
		if b.written(slot) && b.u32(b.at(slot)+slotState) != stateNever {
			continue
		}
		if _, err := b.state(slot); err != nil {
			return 0, err
		}
		break
	}
	if slot != from {
		b.begin(0)
		b.put32(offFresh, slot)
		b.end()
	}
	if slot >= b.slots {
		return 0, nil
	}
	return slot, nil
}
