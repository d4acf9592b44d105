package ipam

import (
	"context"
	"errors"
	"math/bits"
	"net/netip"
	"os"
	"slices"
)

// Usage counts the addresses of one subnet.
type Usage struct {
	Subnet      netip.Prefix
	Size        int // addresses that can be handed out
	InUse       int
	Quarantined int  // freed less than Quarantine ago; Counts leaves it 0
	Closed      bool // no address of it is given to new attachments
}

// Usage counts the addresses of every subnet that has a file. Its cost is that
// of List.
func (s *Slots) Usage(ctx context.Context) ([]Usage, error) {
	var out []Usage
	err := s.each(ctx, func(b *book) error {
		u := b.usage()
		for slot := range b.writtenSlots() {
			state, err := b.state(slot)
			if err != nil {
				return err
			}
			if state == stateFree && b.age(slot) < Quarantine {
				u.Quarantined++
			}
		}
		out = append(out, u)
		return nil
	})
	return out, err
}

// Counts is Usage without what is quarantined, from the files' headers: it
// takes the same time whatever the number of addresses.
func (s *Slots) Counts(ctx context.Context) ([]Usage, error) {
	var out []Usage
	err := s.each(ctx, func(b *book) error {
		out = append(out, b.usage())
		return nil
	})
	return out, err
}

func (b *book) usage() Usage {
	return Usage{Subnet: b.subnet, Size: int(b.slots) - firstSlot, InUse: int(b.u32(offInUse)), Closed: b.closed()}
}

// A file's closed word is all zeros for open and all ones for closed. It is
// stored in one instruction, follows from nothing, and is read by majority:
// a flipped bit does not open a subnet that is another node's by now, nor does
// it shut pods out.

func (t table) closed() bool { return bits.OnesCount64(t.load(offClosed)) > 32 }

func (t table) setClosed(closed bool) {
	var word uint64
	if closed {
		word = ^word
	}
	t.store(offClosed, word)
}

// Open makes the subnets, and no others, the ones that new attachments get
// addresses from: a plugin that still believes in another one gets ErrClosed.
// Attachments in closed subnets keep their addresses. The agent calls it before
// it writes the node file; an empty list closes all. On an error every subnet
// that could be closed is.
//
// The file of a closed subnet stays for as long as the host is up: if it were
// gone, a plugin that was frozen with an old node file would make a new one.
func (s *Slots) Open(ctx context.Context, open []netip.Prefix) error {
	for _, p := range open {
		if err := checkSubnet(p); err != nil {
			return err
		}
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	have, err := s.subnets()
	errs := []error{err}
	for _, p := range have {
		if slices.Contains(open, p) || s.forget(p) {
			continue
		}
		errs = append(errs, s.file(p, func(b *book) error {
			b.setClosed(true)
			return nil
		}))
		_ = os.Remove(s.path(p) + damagedSuffix)
	}
	for _, p := range open {
		errs = append(errs, s.file(p, func(b *book) error {
			b.setClosed(false)
			return nil
		}))
	}
	return errors.Join(errs...)
}

// forget removes a file that was closed in an earlier boot already: no process
// of this boot has seen a node file with that subnet.
func (s *Slots) forget(subnet netip.Prefix) bool {
	b, err := openBook(s.path(subnet), newGeometry(subnet, s.clock.boot), s.clock)
	if err == nil {
		_ = b.close()
	}
	return errors.Is(err, errOtherBoot) && closedBefore(s.path(subnet)) && os.Remove(s.path(subnet)) == nil
}

// Return closes a subnet if no address of it is in use, by the file's word and
// by the kernel's, and reports whether it did; only after that may the subnet
// be given back.
func (s *Slots) Return(ctx context.Context, subnet netip.Prefix) (bool, error) {
	if err := checkSubnet(subnet); err != nil {
		return false, err
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	if s.opts.InUse != nil {
		uses, err := s.opts.InUse()
		if err != nil || slices.ContainsFunc(uses, func(u Use) bool { return subnet.Contains(u.Addr) }) {
			return false, err
		}
	}
	empty := false
	err = s.file(subnet, func(b *book) error {
		if empty = b.u32(offInUse) == 0; empty {
			b.setClosed(true)
		}
		return nil
	})
	return empty && err == nil, err
}

// Free frees slots as List returned them, but none that was claimed again or
// freed since.
func (s *Slots) Free(ctx context.Context, slots []Slot) error {
	if len(slots) == 0 {
		return nil
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	var errs []error
	for _, slot := range slots {
		errs = append(errs, s.releaseIf(slot.Subnet, slot.Addr, slot.serial))
	}
	return errors.Join(errs...)
}

// Who returns the slot of an address; false if no attachment has or had it
// since the host booted, or if it is in no subnet that has a file.
func (s *Slots) Who(ctx context.Context, a netip.Addr) (slot Slot, found bool, err error) {
	err = s.eachOf(ctx, func(p netip.Prefix) bool { return p.Contains(a) }, func(b *book) error {
		n, ok := b.slot(a)
		if !ok {
			return nil
		}
		state, err := b.state(n)
		if err == nil && state != stateNever {
			slot, found = b.read(n, state), true
		}
		return err
	})
	return slot, found, err
}
