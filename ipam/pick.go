package ipam

import (
	"errors"
	"fmt"
	"math/bits"
	"net/netip"
)

// place is a slot of one of several books.
type place struct {
	book *book
	slot uint32 // 0 for none
}

func (p place) freedAt() int64 { return int64(p.book.u64(p.book.at(p.slot) + slotTime)) }

// picker finds the slot that a claim gets in one family. It changes nothing
// that could not be told by the slots, so that a claim which cannot be met in
// one family leaves no trace in the other.
type picker struct {
	*owner
	want   netip.Addr // not valid if any will do
	sticky bool
	books  []*book        // of the family's subnets that are open, oldest first
	closed []netip.Prefix // those that are not
}

// pick returns the slot, in this order: the one asked for, the one in use, the
// one that the attachment had before, the one that the pod had before if it
// wants to stick to it, and the one that others remember least.
func (p *picker) pick() (place, error) {
	if p.want.IsValid() {
		return p.wanted()
	}
	got, err := p.own()
	if err != nil || got.slot != 0 {
		return got, err
	}
	if p.sticky && p.podKey != 0 {
		if got, err = p.ofPod(); err != nil || got.slot != 0 {
			return got, err
		}
	}
	return p.forgotten()
}

// wanted is the slot of the address that was asked for.
func (p *picker) wanted() (place, error) {
	for _, b := range p.books {
		if !b.subnet.Contains(p.want) {
			continue
		}
		slot, ok := b.slot(p.want)
		switch {
		case b.reserved(p.want):
			return place{}, fmt.Errorf("address %s: %w", p.want, ErrReserved)
		case !ok:
			return place{}, fmt.Errorf("address %s: %w: of %s only the addresses up to %s are handed out", p.want, ErrOutside, b.subnet, b.addr(b.slots-1))
		}
		state, err := b.state(slot)
		if err != nil {
			return place{}, err
		}
		if state == stateUsed && b.keyOf(slot) != p.key {
			has := b.read(slot, state)
			return place{}, &TakenError{Addr: p.want, By: has.Attachment, Pod: has.Pod}
		}
		return place{b, slot}, b.secure(slot)
	}
	for _, c := range p.closed {
		if c.Contains(p.want) {
			return place{}, fmt.Errorf("address %s: %w", p.want, ErrClosed)
		}
	}
	return place{}, fmt.Errorf("address %s: %w", p.want, ErrOutside)
}

// own is the attachment's slot in use, else the one that it freed last.
func (p *picker) own() (place, error) {
	var last place
	for _, b := range p.books {
		used, freed, err := b.find(p.key)
		if err != nil || used != 0 {
			return place{b, used}, err
		}
		if at := (place{b, freed}); freed != 0 && (last.slot == 0 || at.freedAt() > last.freedAt()) {
			last = at
		}
	}
	return last, nil
}

// ofPod is the slot that the pod of this name freed last, else one that follows
// from its name.
func (p *picker) ofPod() (place, error) {
	var last place
	for _, b := range p.books {
		for slot := range b.writtenSlots() {
			at := place{b, slot}
			if b.u64(b.at(slot)+slotPodKey) != p.podKey || b.u32(b.at(slot)+slotState) != stateFree {
				continue
			}
			if _, err := b.state(slot); err != nil {
				return place{}, err
			}
			if last.slot == 0 || at.freedAt() > last.freedAt() {
				last = at
			}
		}
	}
	if last.slot != 0 {
		return last, nil
	}
	return p.named()
}

// placesOfPod is how many places a pod's name stands for in each subnet.
const placesOfPod = 4

// named is a slot that follows from the pod's name, if others have forgotten
// it: where every pod takes its own place it finds it again after a reboot.
func (p *picker) named() (place, error) {
	for _, b := range p.books {
		for i := range placesOfPod {
			n, _ := bits.Mul64(bits.RotateLeft64(p.podKey, 16*i), uint64(b.slots-firstSlot)) // a fraction of the subnet
			slot := uint32(n) + firstSlot
			state, err := b.state(slot)
			if err != nil {
				return place{}, err
			}
			forgotten := state == stateNever || state == stateFree && b.age(slot) >= Quarantine
			if forgotten && b.secure(slot) == nil {
				return place{b, slot}, nil
			}
		}
	}
	return place{}, nil
}

// forgotten is the slot that others remember least: in the oldest subnet that
// has one, a slot never used, else the one freed longest ago if that is long
// enough; else the one freed longest ago of all. Taking from the oldest subnet
// first lets a further one become empty, so that it can be given back.
func (p *picker) forgotten() (place, error) {
	var oldest place
	var noSpace error
	for _, b := range p.books {
		slot, err := b.fresh()
		if err != nil {
			return place{}, err
		}
		if slot != 0 {
			err := b.secure(slot)
			if err == nil {
				return place{b, slot}, nil
			}
			noSpace = errors.Join(noSpace, err) // a freed one has its space
		}
		if slot, err = b.oldest(); err != nil {
			return place{}, err
		}
		if slot == 0 {
			continue
		}
		at := place{b, slot}
		if b.age(slot) >= Quarantine {
			return at, nil
		}
		if oldest.slot == 0 || at.freedAt() < oldest.freedAt() {
			oldest = at
		}
	}
	switch {
	case oldest.slot != 0:
		return oldest, nil
	case noSpace != nil:
		return place{}, noSpace
	case len(p.closed) != 0:
		// Who asked has an outdated list; there may be more in a new one.
		return place{}, fmt.Errorf("%w: %v", ErrClosed, p.closed)
	}
	subnets := make([]netip.Prefix, len(p.books))
	for i, b := range p.books {
		subnets[i] = b.subnet
	}
	return place{}, &FullError{subnets}
}

// occupy makes the place the attachment's, and reports whether it was not
// before. Where an address was asked for, the others of its family go first:
// an attachment has one.
func (p *picker) occupy(at place) (taken bool, err error) {
	state, err := at.book.state(at.slot)
	if err != nil {
		return false, err
	}
	if state == stateUsed {
		at.book.renew(at.slot, p.owner)
		return false, nil
	}
	if p.want.IsValid() {
		for _, b := range p.books {
			if err := b.releaseAll(p.key, func(uint32) {}); err != nil {
				return false, err
			}
		}
	}
	return true, at.book.take(at.slot, p.owner)
}
