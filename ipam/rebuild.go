package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// file calls fn on the book of a subnet, which it makes first if there is none
// or if the one there is cannot be believed. The caller holds the lock. fn may
// be called twice: damage that it comes across means a new book and another
// call, so fn reports nothing before it succeeds.
func (s *Slots) file(subnet netip.Prefix, fn func(*book) error) error {
	g := newGeometry(subnet, s.clock.boot)
	path := filepath.Join(s.dir, fileName(subnet))
	err := withBook(path, g, s.clock, fn)
	var damage *CorruptError
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, errOtherBoot):
		err = s.rebuild(path, g, nil)
	case errors.As(err, &damage):
		err = s.rebuild(path, g, damage)
	default:
		return wrap(path, err)
	}
	if err == nil {
		err = withBook(path, g, s.clock, fn)
	}
	return wrap(path, err)
}

func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

// rebuild makes a subnet's file from what is known to be in use: the kernel's
// word first, then the whole slots of the damaged file. The damaged file is
// kept beside it, one per subnet, for whoever wants to know what happened.
func (s *Slots) rebuild(path string, g geometry, damage *CorruptError) error {
	var uses []Use
	if s.opts.InUse != nil {
		var err error
		if uses, err = s.opts.InUse(); err != nil {
			return fmt.Errorf("addresses in use: %w", err)
		}
	}
	err := create(path, g, s.clock, func(b *book) error {
		if damage != nil {
			if err := salvage(path, g, b.restore); err != nil {
				return err
			}
			keep(path)
		}
		return b.adoptAll(uses)
	})
	if err == nil && damage != nil && s.opts.Note != nil {
		s.opts.Note(path, damage.Reason)
	}
	return err
}

// keep gives a damaged file a second name before the new one takes its place.
// It is a courtesy: that it cannot be kept must not stop a pod.
func keep(path string) {
	aside := path + ".damaged"
	_ = os.Remove(aside)
	_ = os.Link(path, aside)
}

// restore copies a slot from a damaged file.
func (b *book) restore(old *book, slot uint32) error {
	if err := b.secure(slot); err != nil {
		return err
	}
	at := b.at(slot)
	copy(b.table[at:at+slotSize], old.table[at:at+slotSize])
	b.put32(offHigh, max(b.u32(offHigh), slot+1))
	b.put64(offSerial, max(b.u64(offSerial), b.u64(at+slotSerial)))
	return nil
}

// adoptAll marks what the kernel shows as in use, whatever the old file said
// of these addresses.
func (b *book) adoptAll(uses []Use) error {
	for _, u := range uses {
		slot, ok := b.slot(u.Addr)
		if !ok || u.Check() != nil {
			continue
		}
		at := b.at(slot)
		same := b.text(at+slotContainer, MaxContainer) == u.Container && b.text(at+slotIface, MaxInterface) == u.Interface
		if same && b.u32(at+slotState) == stateUsed {
			continue // restored, with its namespace
		}
		if err := b.adopt(slot, owner{Attachment: u.Attachment, key: u.key()}); err != nil {
			return err
		}
	}
	return nil
}

// claim marks one address as in use by the attachment that the kernel shows;
// held says that another attachment has it. It derives the whole book, which is
// slow and rare.
func (b *book) claim(u Use) (held bool, err error) {
	slot, ok := b.slot(u.Addr)
	if !ok || u.Check() != nil {
		return false, nil
	}
	state, err := b.state(b.geometry, slot)
	if err != nil {
		return false, err
	}
	if state == stateUsed {
		return b.describe(slot, state).Attachment != u.Attachment, nil
	}
	if err := b.secure(slot); err != nil {
		return false, err
	}
	b.begin(slot)
	b.put32(offHigh, max(b.u32(offHigh), slot+1))
	b.write(slot, stateUsed, &owner{Attachment: u.Attachment, key: u.key()})
	if err := b.derive(); err != nil {
		return false, err
	}
	b.end()
	return false, nil
}
