package ipam

import (
	"crypto/sha256"
	"errors"
	"fmt"
)

// # Why a kill at any instruction loses nothing
//
// Every operation changes the content of one slot at most, and before it
// touches anything it stores that slot's number in the header's intent word
// (one atomic store); the last thing it does is to store zero there. A process
// that dies in between leaves the intent word set, and whoever takes the lock
// next settles it:
//
//   - The named slot may be half written. It becomes free, freed just now. If
//     the dead process was taking it, nobody has been told of the address; if
//     it was releasing it, this completes the release. Only renew works on a
//     slot that stays in use; it says so in the intent word and writes nothing
//     but what describes the attachment, which is then forgotten.
//   - All other slots are whole, because nobody was writing them.
//   - The chains, the free list and the counters may be in any state. They are
//     built anew from the slots.
//   - Bits of the chunks are only ever set, and the named slot's is set again.
//
// The intent word stays set until that is done, so a death during the repair
// only means that it is done again. Memory that is mapped from a file outlives
// the process, and the lock orders one process's stores before the next one's
// loads. A power failure is a reboot: the boot id in the header no longer
// matches, and the file is made anew.
//
// A claim may be several operations: both families, and the release of one
// address for the sake of another. A kill between two of them leaves the
// attachment with a part of what it asked for, which it gets whole by asking
// again, and loses by a DEL or by the sweep.

// CorruptError says that a slot file cannot be believed.
type CorruptError struct {
	Reason string
	book   *book // nil until the file is known to be one
}

func (e *CorruptError) Error() string { return "slot file is damaged: " + e.Reason }

func corrupt(reason string) error { return &CorruptError{Reason: reason} }

func (b *book) corrupt(format string, args ...any) error {
	return &CorruptError{Reason: fmt.Sprintf(format, args...), book: b}
}

var errOtherBoot = errors.New("slot file of another boot")

// book is an open slot file under the lock.
type book struct {
	table
	geometry
	fd  int
	now int64 // ns since boot
}

// owner is what an operation writes into a slot.
type owner struct {
	Attachment
	key     key
	netns   string
	inode   uint64
	network [8]byte
	pod     string
	podKey  uint64
}

func newOwner(c Claim) owner {
	o := owner{
		Attachment: c.Attachment, key: c.key(), netns: c.NetnsPath, inode: c.NetnsInode,
		network: NetworkKey(c.Network), pod: c.Pod,
	}
	if c.Pod != "" {
		// With the interface, or two interfaces of a pod would swap addresses.
		digest := sha256.Sum256([]byte(c.Pod + "\x00" + c.Interface))
		o.podKey = ne.Uint64(digest[:])
	}
	return o
}

// begin marks the slot as the one being written; 0 for none.
func (b *book) begin(slot uint32) { b.store(offIntent, intentWord(slot)) }

// intentWord names a slot, with renewing added where renew is at work. The two
// halves of the word check each other: a flipped bit must not name a slot that
// is in use.
func intentWord(slot uint32) uint64 { return uint64(^slot)<<32 | uint64(slot) }

const renewing = 1 << 31

// end completes an operation.
func (b *book) end() {
	b.put64(offCountsSum, b.countsSum())
	b.store(offIntent, 0)
}

// settle completes or undoes what a dead process left, and checks the header.
// It must come first after the lock is taken.
func (b *book) settle() error {
	word := b.load(offIntent)
	if word == 0 {
		if b.u64(offCountsSum) != b.countsSum() {
			return b.corrupt("counters do not match their checksum")
		}
		return nil
	}
	slot := uint32(word) &^ renewing
	if word != intentWord(uint32(word)) || slot != 0 && !b.usable(slot) {
		return b.corrupt("intent word names no slot")
	}
	if slot != 0 { // it has its disk space: that comes before the intent
		if uint32(word)&renewing != 0 {
			b.describe(slot, &owner{})
			b.write(slot, stateUsed, nil)
		} else {
			b.write(slot, stateFree, nil)
		}
	}
	if err := b.derive(); err != nil {
		return err
	}
	b.end()
	return nil
}

// secure makes sure that a slot has disk space behind it, so that writing to
// it cannot fail.
func (b *book) secure(slot uint32) error {
	if b.written(slot) {
		return nil
	}
	return b.back(slot)
}

// state returns a slot's state, or an error if the slot is damaged.
func (b *book) state(slot uint32) (uint32, error) {
	if !b.written(slot) {
		return stateNever, nil
	}
	state, ok := b.whole(b.geometry, slot)
	if !ok {
		return 0, b.corrupt("slot %d is damaged", slot)
	}
	return state, nil
}

// write fills a slot: state, serial, time, and the owner's fields if there is
// one; a freed slot keeps those of its last owner, who gets it back if he
// returns.
func (b *book) write(slot uint32, state uint32, o *owner) {
	at := b.at(slot)
	b.setWritten(slot)
	b.put64(offSerial, b.u64(offSerial)+1)
	b.put32(at+slotState, state)
	b.put64(at+slotSerial, b.u64(offSerial))
	b.put64(at+slotTime, uint64(b.now))
	if o != nil {
		copy(b.table[at+slotKey:], o.key[:])
		b.putText(at+slotContainer, MaxContainer, o.Container)
		b.putText(at+slotIface, MaxInterface, o.Interface)
		b.describe(slot, o)
	}
	b.put64(at+slotSum, b.recordSum(b.geometry, slot))
}

// describe fills the part of a slot that may change while it is in use. A path
// that is too long is left out, a pod's name that is too long is cut.
func (b *book) describe(slot uint32, o *owner) {
	at := b.at(slot)
	netns := o.netns
	if len(netns) > maxNetns {
		netns = ""
	}
	b.put64(at+slotInode, o.inode)
	b.putText(at+slotNetns, maxNetns, netns)
	copy(b.table[at+slotNetwork:], o.network[:])
	b.put64(at+slotPodKey, o.podKey)
	b.putText(at+slotPod, maxPod, o.pod)
}

// keyOf is the key of the attachment that has or had a slot.
func (b *book) keyOf(slot uint32) key {
	at := b.at(slot) + slotKey
	return key(b.table[at : at+len(key{})])
}

// take gives the attachment a slot that is not in use and that is secured.
func (b *book) take(slot uint32, o *owner) error {
	state, err := b.state(slot)
	if err != nil {
		return err
	}
	if state == stateUsed {
		return b.corrupt("slot %d is in use", slot)
	}
	// If a link turns out to be bad the intent stays: the book is made anew, or
	// whoever comes next settles it.
	b.begin(slot)
	if state == stateFree {
		if err := b.unlist(slot); err != nil {
			return err
		}
		if err := b.unchain(slot); err != nil {
			return err
		}
	}
	if slot == b.u32(offFresh) {
		b.put32(offFresh, slot+1)
	}
	b.write(slot, stateUsed, o)
	b.chain(slot)
	b.put32(offInUse, b.u32(offInUse)+1)
	b.end()
	return nil
}

// renew makes a slot in use the attachment's anew: it was not released in
// between, but its container may be in another namespace now.
func (b *book) renew(slot uint32, o *owner) {
	b.begin(slot | renewing)
	b.describe(slot, o)
	b.write(slot, stateUsed, nil)
	b.end()
}

// release frees a slot in use. It stays in its chain, so that the attachment
// finds it when it comes back.
func (b *book) release(slot uint32) error {
	state, err := b.state(slot)
	if err != nil {
		return err
	}
	if state != stateUsed {
		return b.corrupt("slot %d is not in use", slot)
	}
	b.begin(slot)
	b.write(slot, stateFree, nil)
	b.list(slot)
	b.put32(offInUse, b.u32(offInUse)-1)
	b.end()
	return nil
}

// releaseAll frees every slot of the attachment with key k and calls freed
// with each.
func (b *book) releaseAll(k key, freed func(slot uint32)) error {
	for {
		slot, _, err := b.find(k)
		if err != nil || slot == 0 {
			return err
		}
		if err := b.release(slot); err != nil {
			return err
		}
		freed(slot)
	}
}
