package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"testing"
)

// withBook calls fn on a book that is there, as it is.
func withBook(s *Slots, subnet netip.Prefix, fn func(*book) error) error {
	b, err := openBook(s.path(subnet), newGeometry(subnet, s.clock.boot), s.clock)
	if err != nil {
		return err
	}
	err = guard([]*book{b}, func() error { return fn(b) })
	return errors.Join(err, b.close())
}

func ownerOf(a Attachment) *owner {
	o := newOwner(Claim{Attachment: a})
	return &o
}

// allocate takes a slot of this book as a claim that asks for nothing special.
func (b *book) allocate(o *owner) (uint32, error) {
	p := picker{owner: o, books: []*book{b}}
	at, err := p.pick()
	if err == nil {
		_, err = p.occupy(at)
	}
	return at.slot, err
}

// check fails unless everything that is derived in the file matches its slots.
func check(t testing.TB, s *Slots, subnet netip.Prefix) {
	t.Helper()
	if err := withBook(s, subnet, (*book).verify); err != nil {
		t.Fatalf("%s: %v", s.path(subnet), err)
	}
}

// verify is the file's invariant.
func (b *book) verify() error {
	var used, free uint32
	for slot := range b.slots {
		if !b.written(slot) {
			continue
		}
		state, err := b.state(slot)
		switch {
		case err != nil:
			return err
		case state == stateNever && slot >= firstSlot && slot < b.u32(offFresh):
			return fmt.Errorf("slot %d was never used and is passed over", slot)
		case state == stateNever:
			continue
		case slot < firstSlot:
			return fmt.Errorf("slot %d was used", slot)
		case state == stateUsed:
			used++
		case state == stateFree:
			free++
		}
		if !b.chained(slot) {
			return fmt.Errorf("slot %d is not in its chain", slot)
		}
	}
	if used != b.u32(offInUse) || free != b.u32(offFree) {
		return fmt.Errorf("%d in use, %d free, counted %d and %d", b.u32(offInUse), b.u32(offFree), used, free)
	}
	var last uint64
	var prev uint32
	for slot := b.u32(offFreeHead); slot != 0; slot = b.u32(b.at(slot) + slotNext) {
		if state, err := b.linked(slot); err != nil || state != stateFree {
			return fmt.Errorf("free list leads to slot %d, state %x: %w", slot, state, err)
		}
		if b.u32(b.at(slot)+slotPrev) != prev {
			return fmt.Errorf("free list does not lead back from slot %d", slot)
		}
		serial := b.u64(b.at(slot) + slotSerial)
		if serial <= last {
			return fmt.Errorf("free list is not in the order of release at slot %d", slot)
		}
		free, last, prev = free-1, serial, slot
	}
	if free != 0 || prev != b.u32(offFreeTail) {
		return fmt.Errorf("%d free slots are not on the free list; it ends at %d, its tail is %d", int32(free), prev, b.u32(offFreeTail))
	}
	return nil
}

// chained reports whether a slot is found in its chain.
func (b *book) chained(slot uint32) bool {
	next := b.u32(b.bucket(b.keyOf(slot)))
	for range b.slots {
		if next == slot || !b.usable(next) {
			return next == slot
		}
		next = b.u32(b.at(next) + slotChain)
	}
	return false
}
