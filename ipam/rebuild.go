package ipam

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"

	"golang.org/x/sys/unix"
)

// file calls fn on the book of one subnet; see files.
func (s *Slots) file(subnet netip.Prefix, fn func(*book) error) error {
	return s.files([]netip.Prefix{subnet}, func(books []*book, failed error) error {
		if failed != nil {
			return failed
		}
		return wrap(s.path(subnet), fn(books[0]))
	})
}

// files calls fn on the books of some subnets, in their order, and with the
// errors of those that cannot be had. A book is made first if there is none or
// if the one there is cannot be believed. The caller holds the lock. fn may be
// called again: damage that it comes across means a new book and another call,
// so what fn does must be safe to repeat.
func (s *Slots) files(subnets []netip.Prefix, fn func(books []*book, failed error) error) error {
	books := make([]*book, 0, len(subnets))
	defer func() {
		for _, b := range books {
			_ = b.close()
		}
	}()
	var failed error
	for _, p := range subnets {
		b, err := s.book(p)
		if err != nil {
			failed = errors.Join(failed, wrap(s.path(p), err))
			continue
		}
		books = append(books, b)
	}
	for mended := 0; ; mended++ {
		err := guard(books, func() error { return fn(books, failed) })
		var damage *CorruptError
		if !errors.As(err, &damage) || mended == len(books) {
			return err
		}
		i := slices.Index(books, damage.book)
		if i < 0 {
			return err
		}
		g := books[i].geometry
		_ = books[i].close()
		books[i], err = s.remake(g, damage)
		if err != nil {
			books = slices.Delete(books, i, i+1)
			return wrap(s.path(g.subnet), err)
		}
	}
}

func wrap(path string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", path, err)
}

func (s *Slots) path(subnet netip.Prefix) string { return s.dir + "/" + fileName(subnet) }

// book opens the book of a subnet, a new one if need be.
func (s *Slots) book(subnet netip.Prefix) (*book, error) {
	g := newGeometry(subnet, s.clock.boot)
	b, err := openBook(s.path(subnet), g, s.clock)
	var damage *CorruptError
	switch {
	case errors.Is(err, os.ErrNotExist), errors.Is(err, errOtherBoot):
		return s.remake(g, nil)
	case errors.As(err, &damage):
		return s.remake(g, damage)
	}
	return b, err
}

// remake makes a subnet's file from what is known to be in use: the kernel's
// word first, then the whole slots of the damaged file. The damaged file is
// kept beside it, one per subnet, for whoever wants to know what happened.
func (s *Slots) remake(g geometry, damage *CorruptError) (*book, error) {
	var uses []Use
	if s.opts.InUse != nil {
		var err error
		if uses, err = s.opts.InUse(); err != nil {
			return nil, fmt.Errorf("addresses in use: %w", err)
		}
	}
	path := s.path(g.subnet)
	err := create(path, g, s.clock, func(b *book) error {
		b.setClosed(closedBefore(path))
		if damage != nil {
			if err := salvage(path, g, b.restore); err != nil {
				return err
			}
			keep(path)
		}
		return b.adoptAll(uses)
	})
	if err != nil {
		return nil, err
	}
	if damage != nil && s.opts.Note != nil {
		s.opts.Note(path, damage.Reason)
	}
	return openBook(path, g, s.clock)
}

// keep gives a damaged file a second name before the new one takes its place.
// It is a courtesy: that it cannot be kept must not stop a pod.
func keep(path string) {
	_ = os.Remove(path + damagedSuffix)
	_ = os.Link(path, path+damagedSuffix)
}

const damagedSuffix = ".damaged"

// closedBefore reports whether an old file, of another boot or damaged, says
// that its subnet is closed. One that is no slot file says nothing.
func closedBefore(path string) bool {
	head, err := readOld(path, pageSize)
	return err == nil && string(head[:len(magic)]) == string(magic[:]) && head.closed()
}

// readOld returns the first bytes of a file, zeros from where it cannot be read
// on. It is read, not mapped: reading a hole must not fill it.
func readOld(path string, size int) (table, error) {
	fd, err := openFile(path, unix.O_RDONLY|unix.O_NONBLOCK)
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	t := make(table, size)
	for n := 0; n < size; {
		got, err := unix.Pread(fd, t[n:], int64(n))
		if err == unix.EINTR {
			continue
		}
		if err != nil || got == 0 {
			break
		}
		n += got
	}
	return t, nil
}

// salvage calls fn with each whole slot, in use or freed, of a damaged file. A
// slot's sum says that it is of this boot and this subnet, so the header does
// not matter.
func salvage(path string, g geometry, fn func(old table, slot uint32) error) error {
	t, err := readOld(path, g.size())
	if err != nil {
		return err
	}
	for slot := uint32(firstSlot); slot < g.slots; slot++ {
		if state, ok := t.whole(g, slot); ok && state != stateNever {
			if err := fn(t, slot); err != nil {
				return err
			}
		}
	}
	return nil
}

// restore copies a slot from a damaged file.
func (b *book) restore(old table, slot uint32) error {
	if err := b.secure(slot); err != nil {
		return err
	}
	at := b.at(slot)
	copy(b.table[at:at+slotSize], old[at:at+slotSize])
	b.setWritten(slot)
	b.put64(offSerial, max(b.u64(offSerial), b.u64(at+slotSerial)))
	return nil
}

// adoptAll marks what the kernel shows as in use, whatever the old file said
// of these addresses. The caller derives the rest.
func (b *book) adoptAll(uses []Use) error {
	for _, u := range uses {
		slot, ok := b.slot(u.Addr)
		if !ok || u.Check() != nil {
			continue
		}
		o := newOwner(Claim{Attachment: u.Attachment})
		if b.written(slot) && b.keyOf(slot) == o.key && b.u32(b.at(slot)+slotState) == stateUsed {
			continue // restored, with its namespace
		}
		if err := b.secure(slot); err != nil {
			return err
		}
		b.write(slot, stateUsed, &o)
	}
	return nil
}

// claim marks one address as in use by the attachment that the kernel shows;
// held says that another attachment has it.
func (b *book) claim(u Use) (held bool, err error) {
	slot, ok := b.slot(u.Addr)
	if !ok || u.Check() != nil {
		return false, nil
	}
	state, err := b.state(slot)
	if err != nil {
		return false, err
	}
	o := newOwner(Claim{Attachment: u.Attachment})
	if state == stateUsed {
		return b.keyOf(slot) != o.key, nil
	}
	if err := b.secure(slot); err != nil {
		return false, err
	}
	return false, b.take(slot, &o)
}
