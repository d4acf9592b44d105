package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Quarantine is how long a released address should stay unused, so that what
// others remember of it (neighbour entries, connections) is gone. Addresses are
// reused in the order of their release and only when none is left that was
// never used, so the wait is shorter only where nothing else is free.
const Quarantine = 120 * time.Second

// ErrFull says that every address of the subnets is in use.
var ErrFull = errors.New("every address is in use")

// ErrClosed says that the node gave the subnets up since the caller learnt of
// them: it should look again and try again.
var ErrClosed = errors.New("the node has given the subnet up")

// Reasons for which an address that was asked for is refused.
var (
	ErrInUse    = errors.New("the address is in use")
	ErrOutside  = errors.New("the address is outside this node's subnets")
	ErrReserved = errors.New("the address is reserved (the subnet's own, the gateway's or the broadcast address)")
)

// TakenError says who has the address that was asked for. It is an ErrInUse.
type TakenError struct {
	Addr netip.Addr
	By   Attachment
	Pod  string // NAMESPACE/NAME, empty if not known
}

func (e *TakenError) Error() string {
	text := fmt.Sprintf("address %s is in use by %s", e.Addr, e.By)
	if e.Pod != "" {
		text += " (pod " + e.Pod + ")"
	}
	return text
}

// Unwrap makes the error an ErrInUse.
func (e *TakenError) Unwrap() error { return ErrInUse }

// Options configures Slots. All fields may be empty.
type Options struct {
	// InUse returns what the kernel shows to be in use on this host. It is
	// called when a slot file is missing, damaged or of another subnet: what it
	// returns is in use in the new file. Without it such a file starts empty.
	InUse func() ([]Use, error)
	// Note is called, at most once per file and call, when a file had to be
	// made anew, with the reason.
	Note func(file, reason string)
}

// Use is an address that an attachment has.
type Use struct {
	Attachment
	Addr netip.Addr
}

// Claim asks for addresses.
type Claim struct {
	Attachment
	// NetnsPath and NetnsInode say where the container's namespace is to be
	// found; the sweep uses them. Both may be empty.
	NetnsPath  string
	NetnsInode uint64
	// Network is the name of the network, for GC; Pod is NAMESPACE/NAME, for the
	// operator's eyes and for Sticky. Both may be empty.
	Network string
	Pod     string
	// Want are the addresses asked for, one per family at most. A family without
	// one gets an address as usual.
	Want []netip.Addr
	// Sticky asks for the addresses that the pod of this name had last.
	Sticky bool
}

// Grant is what a claim got: one address per family, with the subnet's length.
type Grant struct {
	Attachment
	Addrs   []netip.Prefix
	serials []uint64 // of the slots, to tell this grant from a later one
}

// Slot is the state of one address that is or was in use.
type Slot struct {
	Attachment
	Subnet     netip.Prefix
	Addr       netip.Addr
	InUse      bool          // false: freed, kept from reuse as long as possible
	Age        time.Duration // since it was allocated or freed
	NetnsPath  string
	NetnsInode uint64
	Pod        string // as the claim had it, perhaps cut short
	network    [8]byte
	serial     uint64
}

// Slots hands out addresses from the slot files below one run directory. Any
// number of processes may use the same directory at once; a value of this type
// belongs to one goroutine.
type Slots struct {
	dir   string
	opts  Options
	clock clock
}

// NewSlots returns the slots of a run directory. It touches nothing yet.
func NewSlots(runDir string, opts Options) (*Slots, error) {
	c, err := systemClock()
	if err != nil {
		return nil, err
	}
	return &Slots{dir: filepath.Join(runDir, "slots"), opts: opts, clock: c}, nil
}

// Allocate gives the attachment one address in each family that subnets has,
// in the first subnet of that family with room, or nothing at all. An attachment
// that has an address already keeps it. Errors: ErrFull, ErrBusy.
func (s *Slots) Allocate(ctx context.Context, c Claim, subnets []netip.Prefix) (Grant, error) {
	if err := c.Check(); err != nil {
		return Grant{}, err
	}
	for _, p := range subnets {
		if err := checkSubnet(p); err != nil {
			return Grant{}, err
		}
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return Grant{}, err
	}
	defer unlock()
	o := owner{Attachment: c.Attachment, key: c.key(), netns: c.NetnsPath, inode: c.NetnsInode}
	g := Grant{Attachment: c.Attachment}
	for _, f := range fabric.Families {
		var in []netip.Prefix
		for _, p := range subnets {
			if fabric.FamilyOf(p.Addr()) == f {
				in = append(in, p)
			}
		}
		if len(in) == 0 {
			continue
		}
		if err := s.allocateIn(o, in, &g); err != nil {
			return Grant{}, errors.Join(err, s.undo(g))
		}
	}
	return g, nil
}

// allocateIn adds an address from one of the subnets to the grant.
func (s *Slots) allocateIn(o owner, subnets []netip.Prefix, g *Grant) error {
	full := fmt.Errorf("%w in %v", ErrFull, subnets)
	for _, renew := range []bool{true, false} {
		for _, p := range subnets {
			var got uint32
			err := s.file(p, func(b *book) error {
				slot, err := b.find(o.key)
				switch {
				case err != nil:
					return err
				case slot != 0:
					b.renew(slot, o)
				case renew:
					return nil
				default:
					if slot, err = b.allocate(o); err != nil {
						return err
					}
				}
				got = slot
				g.Addrs = append(g.Addrs, netip.PrefixFrom(b.addr(slot), p.Bits()))
				g.serials = append(g.serials, b.u64(offSerial))
				return nil
			})
			if err != nil && !errors.Is(err, errFull) || got != 0 {
				return err
			}
		}
	}
	return full
}

// Undo gives back what a grant got, unless the attachment has released or
// claimed it again since.
func (s *Slots) Undo(ctx context.Context, g Grant) error {
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return s.undo(g)
}

func (s *Slots) undo(g Grant) error {
	var errs []error
	for i, a := range g.Addrs {
		errs = append(errs, s.releaseIf(a.Masked(), a.Addr(), g.serials[i]))
	}
	return errors.Join(errs...)
}

// releaseIf frees an address if it is in use since the operation with that serial.
func (s *Slots) releaseIf(subnet netip.Prefix, a netip.Addr, serial uint64) error {
	return s.file(subnet, func(b *book) error {
		slot, ok := b.slot(a)
		if !ok {
			return nil
		}
		state, err := b.state(b.geometry, slot)
		if err != nil || state != stateUsed || b.u64(b.at(slot)+slotSerial) != serial {
			return err
		}
		return b.release(slot)
	})
}

// Release frees every address of the attachment, in whichever subnet it is,
// and returns them. None is not an error.
func (s *Slots) Release(ctx context.Context, a Attachment) ([]netip.Addr, error) {
	var freed []netip.Addr
	err := s.each(ctx, func(b *book) error {
		for {
			slot, err := b.find(a.key())
			if err != nil || slot == 0 {
				return err
			}
			if err := b.release(slot); err != nil {
				return err
			}
			freed = append(freed, b.addr(slot))
		}
	})
	return freed, err
}

// Lookup returns the attachment's addresses.
func (s *Slots) Lookup(ctx context.Context, a Attachment) ([]netip.Addr, error) {
	var out []netip.Addr
	err := s.each(ctx, func(b *book) error {
		slot, err := b.find(a.key())
		if err == nil && slot != 0 {
			out = append(out, b.addr(slot))
		}
		return err
	})
	return out, err
}

// List returns every address that is or was in use since the host booted, by
// subnet and address.
func (s *Slots) List(ctx context.Context) ([]Slot, error) {
	var out []Slot
	err := s.each(ctx, func(b *book) error {
		slots, err := b.list()
		out = append(out, slots...)
		return err
	})
	return out, err
}

// list describes every slot that is or was in use, or none if one is damaged.
func (b *book) list() ([]Slot, error) {
	var out []Slot
	for slot := uint32(firstSlot); slot < min(b.u32(offHigh), b.slots); slot++ {
		state, err := b.state(b.geometry, slot)
		if err != nil {
			return nil, err
		}
		if state != stateNever {
			out = append(out, b.describe(slot, state))
		}
	}
	return out, nil
}

func (b *book) describe(slot, state uint32) Slot {
	at := b.at(slot)
	return Slot{
		Attachment: Attachment{Container: b.text(at+slotContainer, MaxContainer), Interface: b.text(at+slotIface, MaxInterface)},
		Subnet:     b.subnet, Addr: b.addr(slot), InUse: state == stateUsed,
		Age:       time.Duration(b.now - int64(b.u64(at+slotTime))),
		NetnsPath: b.text(at+slotNetns, maxNetns), NetnsInode: b.u64(at + slotInode),
		serial: b.u64(at + slotSerial),
	}
}

// each calls fn for every subnet's file under the lock. A directory or a file
// that is not there, and a file of another boot, hold nothing.
func (s *Slots) each(ctx context.Context, fn func(*book) error) error {
	if _, err := os.Stat(s.dir); errors.Is(err, os.ErrNotExist) {
		return nil
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	subnets, err := s.subnets()
	if err != nil {
		return err
	}
	var errs []error
	for _, p := range subnets {
		errs = append(errs, s.file(p, fn))
	}
	return errors.Join(errs...)
}

// subnets lists the subnets that have a file, in the order of the files' names.
func (s *Slots) subnets() ([]netip.Prefix, error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, e := range entries {
		if p, ok := parseFileName(e.Name()); ok {
			out = append(out, p)
		}
	}
	return out, nil
}
