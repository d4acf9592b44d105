package ipam

import (
	"context"
	"crypto/sha256"
	"errors"
	"net/netip"
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
		slots, err := b.list()
		if err != nil {
			return err
		}
		u := b.usage()
		for _, slot := range slots {
			if !slot.InUse && slot.Age < Quarantine {
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
	return Usage{Subnet: b.subnet, Size: int(b.slots) - firstSlot, InUse: int(b.u32(offInUse))}
}

// Open makes the subnets, and no others, the ones that new attachments get
// addresses from: a plugin that still believes in another one gets ErrClosed.
// The agent calls it before it writes the node file. An empty list closes all.
func (s *Slots) Open(ctx context.Context, open []netip.Prefix) error {
	return nil
}

// Return closes a subnet if no address of it is in use, and reports whether it
// did; only after that may the subnet be given back.
func (s *Slots) Return(ctx context.Context, subnet netip.Prefix) (bool, error) {
	empty := false
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return false, err
	}
	defer unlock()
	err = s.file(subnet, func(b *book) error {
		empty = b.u32(offInUse) == 0
		return nil
	})
	return empty, err
}

// Free frees slots as List returned them, but none that was claimed again
// since.
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
// since the host booted, or if it is in no subnet of this node's.
func (s *Slots) Who(ctx context.Context, a netip.Addr) (Slot, bool, error) {
	var out Slot
	err := s.each(ctx, func(b *book) error {
		slot, ok := b.slot(a)
		if !ok {
			return nil
		}
		state, err := b.state(b.geometry, slot)
		if err == nil && state != stateNever {
			out = b.describe(slot, state)
		}
		return err
	})
	return out, out.Addr.IsValid(), err
}

// NetworkKey stands for a network's name in a slot, zero for the empty one.
func NetworkKey(name string) (key [8]byte) {
	if name != "" {
		sum := sha256.Sum256([]byte(name))
		copy(key[:], sum[:])
	}
	return key
}

// InNetwork reports whether it is known of which network the slot's attachment
// is or was, and whether it is the one of that name. Not known are addresses
// that were found on the kernel.
func (s Slot) InNetwork(name string) (known, same bool) {
	known = s.network != [8]byte{}
	return known, known && s.network == NetworkKey(name)
}
