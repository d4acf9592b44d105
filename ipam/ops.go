package ipam

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
)

// # Why a kill at any instruction loses nothing
//
// Every operation changes the content of exactly one slot, and before it
// touches anything it stores that slot's number in the header's intent word
// (one atomic store); the last thing it does is to store zero there. A process
// that dies in between leaves the intent word set, and whoever takes the lock
// next settles it:
//
//   - The named slot may be half written. It becomes free, freed just now. If
//     the dead process was allocating, nobody has been told of the address; if
//     it was releasing, this completes the release. Only renew works on a slot
//     that stays in use; it says so in the intent word and writes nothing but
//     the namespace, which is then forgotten.
//   - All other slots are whole, because nobody was writing them.
//   - The chains, the free list and the counters may be in any state. They are
//     built anew from the slots.
//
// The intent word stays set until that is done, so a death during the repair
// only means that it is done again. Memory that is mapped from a file outlives
// the process, and the lock orders one process's stores before the next one's
// loads. A power failure is a reboot: the boot id in the header no longer
// matches, and the file is made anew.

// CorruptError says that a slot file cannot be believed.
type CorruptError struct{ Reason string }

func (e *CorruptError) Error() string { return "slot file is damaged: " + e.Reason }

func corrupt(reason string) error { return &CorruptError{Reason: reason} }

var (
	errOtherBoot = errors.New("slot file of another boot")
	errFull      = errors.New("no free address")
)

// book is an open slot file under the lock.
type book struct {
	table
	geometry
	now int64 // ns since boot
	// back secures disk space for the slots below n, so that writing to them
	// cannot fail.
	back func(n uint32) error
}

// owner is what an operation writes into a slot.
type owner struct {
	Attachment
	key   key
	netns string
	inode uint64
}

// begin marks the slot as the one being written.
func (b *book) begin(slot uint32) { b.setIntent(intentWord(slot)) }

// intentWord names a slot, with renewing added where renew is at work. The two
// halves of the word check each other: a flipped bit must not name a slot that
// is in use.
func intentWord(slot uint32) uint64 { return uint64(^slot)<<32 | uint64(slot) }

const renewing = 1 << 31

// end completes an operation.
func (b *book) end() {
	b.put32(offCountsSum, b.countsSum())
	b.setIntent(0)
}

// settle completes or undoes what a dead process left, and checks the header.
// It must come first after the lock is taken.
func (b *book) settle() error {
	word := b.intent()
	if word == 0 {
		if b.u32(offCountsSum) != b.countsSum() {
			return corrupt("counters do not match their checksum")
		}
		return nil
	}
	slot := uint32(word) &^ renewing
	if word != intentWord(uint32(word)) || !b.usable(slot) {
		return corrupt("intent word names no slot")
	}
	if err := b.secure(slot); err != nil {
		return err
	}
	b.put32(offHigh, min(max(b.u32(offHigh), slot+1), b.slots))
	if uint32(word)&renewing != 0 {
		b.writeNetns(slot, 0, "")
		b.write(slot, stateUsed, nil)
	} else {
		b.write(slot, stateFree, nil)
	}
	if err := b.derive(); err != nil {
		return err
	}
	b.end()
	return nil
}

// write fills a slot: state, serial, time, and the owner's fields if there is
// one; a freed slot keeps the name of its last owner for the operator's eyes.
func (b *book) write(slot uint32, state uint32, o *owner) {
	at := b.at(slot)
	b.put64(offSerial, b.u64(offSerial)+1)
	b.put32(at+slotState, state)
	b.put64(at+slotSerial, b.u64(offSerial))
	b.put64(at+slotTime, uint64(b.now))
	if o != nil {
		copy(b.table[at+slotKey:], o.key[:])
		b.putText(at+slotContainer, MaxContainer, o.Container)
		b.putText(at+slotIface, MaxInterface, o.Interface)
		b.writeNetns(slot, o.inode, o.netns)
	}
	b.put32(at+slotSum, b.recordSum(b.geometry, slot))
}

// writeNetns fills a slot's namespace; a path that is too long is left out.
func (b *book) writeNetns(slot uint32, inode uint64, path string) {
	if len(path) > maxNetns {
		path = ""
	}
	b.put64(b.at(slot)+slotInode, inode)
	b.putText(b.at(slot)+slotNetns, maxNetns, path)
}

// derive builds chains, free list and counters from the slots. The caller has
// set the intent word.
func (b *book) derive() error {
	clear(b.table[pageSize : pageSize+int(b.buckets)*4])
	high := min(b.u32(offHigh), b.slots)
	b.put32(offHigh, high)
	b.put32(offFresh, firstSlot)
	for _, off := range []int{offFreeHead, offFreeTail, offInUse, offFree} {
		b.put32(off, 0)
	}
	var free []uint32
	for slot := uint32(firstSlot); slot < high; slot++ {
		state, err := b.state(b.geometry, slot)
		switch {
		case err != nil:
			return err
		case state == stateUsed:
			b.chain(slot)
		case state == stateFree:
			free = append(free, slot)
		}
	}
	// Freed longest ago first; the serial decides between equal times.
	slices.SortFunc(free, func(x, y uint32) int {
		return cmp.Compare(b.u64(b.at(x)+slotSerial), b.u64(b.at(y)+slotSerial))
	})
	for _, slot := range free {
		b.pushFree(slot)
	}
	return nil
}

// find returns the slot in use by the attachment with key k, 0 if there is none.
func (b *book) find(k key) (uint32, error) {
	bucket := b.bucket(k)
	slot := b.u32(bucket)
	for range b.u32(offInUse) + 1 {
		if slot == 0 {
			return 0, nil
		}
		if err := b.linked(slot, stateUsed); err != nil {
			return 0, err
		}
		at := b.at(slot)
		got := key(b.table[at+slotKey : at+slotKey+len(k)])
		if got == k {
			return slot, nil
		}
		if b.bucket(got) != bucket {
			return 0, corrupt(fmt.Sprintf("slot %d is in a foreign chain", slot))
		}
		slot = b.u32(at + slotNext)
	}
	return 0, corrupt("a chain runs in a circle")
}

// linked checks a slot that a chain or the free list leads to.
func (b *book) linked(slot, want uint32) error {
	if !b.usable(slot) {
		return corrupt(fmt.Sprintf("a link leads to slot %d", slot))
	}
	state, err := b.state(b.geometry, slot)
	if err == nil && state != want {
		err = corrupt(fmt.Sprintf("a link leads to slot %d, which has another state", slot))
	}
	return err
}

// allocate gives the attachment the address that nobody has used for longest:
// one never used, else the one freed longest ago. errFull if all are in use.
func (b *book) allocate(o owner) (uint32, error) {
	slot, fresh, err := b.candidate()
	if err != nil {
		return 0, err
	}
	if err := b.secure(slot); err != nil {
		return 0, err
	}
	b.begin(slot)
	b.put32(offFresh, fresh)
	if slot == b.u32(offFreeHead) {
		b.popFree()
	} else {
		b.put32(offHigh, max(b.u32(offHigh), slot+1))
	}
	b.write(slot, stateUsed, &o)
	b.chain(slot)
	b.end()
	return slot, nil
}

// candidate finds the slot that allocate takes, and from where the next one
// looks for slots never used.
func (b *book) candidate() (slot, fresh uint32, err error) {
	// Slots beyond fresh may be in use or freed if they were adopted. They are
	// skipped once: fresh never goes back but by derive.
	for slot = max(b.u32(offFresh), firstSlot); slot < b.slots; slot++ {
		state, err := b.state(b.geometry, slot)
		if err != nil || state == stateNever {
			return slot, slot + 1, err
		}
	}
	head := b.u32(offFreeHead)
	if head == 0 {
		return 0, 0, errFull
	}
	return head, b.slots, b.linked(head, stateFree)
}

// adopt marks a certain slot, used or not, as in use by the attachment. The
// caller builds a new table and derives the rest afterwards.
func (b *book) adopt(slot uint32, o owner) error {
	if err := b.secure(slot); err != nil {
		return err
	}
	b.put32(offHigh, max(b.u32(offHigh), slot+1))
	b.write(slot, stateUsed, &o)
	return nil
}

// renew makes a slot in use the attachment's anew: it was not released in
// between, but its container may be in another namespace now.
func (b *book) renew(slot uint32, o owner) {
	b.begin(slot | renewing)
	b.writeNetns(slot, o.inode, o.netns)
	b.write(slot, stateUsed, nil)
	b.end()
}

// release frees a slot in use.
func (b *book) release(slot uint32) error {
	if err := b.linked(slot, stateUsed); err != nil {
		return err
	}
	b.begin(slot)
	if err := b.unchain(slot); err != nil {
		return err // the intent stays: whoever comes next settles it
	}
	b.write(slot, stateFree, nil)
	b.pushFree(slot)
	b.end()
	return nil
}

// secure makes sure that a slot has disk space behind it.
func (b *book) secure(slot uint32) error {
	if slot < b.u32(offBacked) {
		return nil
	}
	n := min((slot/backedRun+1)*backedRun, b.slots)
	if err := b.back(n); err != nil {
		return err
	}
	b.put32(offBacked, n)
	return nil
}

// chain puts a slot in use at the head of its chain.
func (b *book) chain(slot uint32) {
	at := b.at(slot)
	bucket := b.bucket(key(b.table[at+slotKey : at+slotKey+16]))
	b.put32(at+slotNext, b.u32(bucket))
	b.put32(bucket, slot)
	b.put32(offInUse, b.u32(offInUse)+1)
}

// unchain takes a slot out of its chain.
func (b *book) unchain(slot uint32) error {
	at := b.at(slot)
	link := b.bucket(key(b.table[at+slotKey : at+slotKey+16]))
	for range b.u32(offInUse) {
		next := b.u32(link)
		if next == slot {
			b.put32(link, b.u32(at+slotNext))
			b.put32(offInUse, b.u32(offInUse)-1)
			return nil
		}
		if !b.usable(next) {
			break
		}
		link = b.at(next) + slotNext
	}
	return corrupt(fmt.Sprintf("slot %d is not in its chain", slot))
}

// pushFree appends a freed slot to the free list.
func (b *book) pushFree(slot uint32) {
	at := b.at(slot)
	b.put32(at+slotNext, 0)
	if tail := b.u32(offFreeTail); b.usable(tail) {
		b.put32(b.at(tail)+slotNext, slot)
	} else {
		b.put32(offFreeHead, slot)
	}
	b.put32(offFreeTail, slot)
	b.put32(offFree, b.u32(offFree)+1)
}

// popFree takes the head off the free list.
func (b *book) popFree() {
	next := b.u32(b.at(b.u32(offFreeHead)) + slotNext)
	b.put32(offFreeHead, next)
	if next == 0 {
		b.put32(offFreeTail, 0)
	}
	b.put32(offFree, b.u32(offFree)-1)
}
