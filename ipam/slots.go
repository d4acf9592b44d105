package ipam

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"time"
)

// Quarantine is how long a released address should stay unused, so that what
// others remember of it (neighbour entries, connections) is gone. Within a
// subnet addresses are reused in the order of their release, and only when none
// is left that was never used. The wait is shorter only where nothing else is
// free, and for those who had the address: the same attachment, an explicit
// request, a pod that sticks to it.
const Quarantine = 120 * time.Second

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

// Slot is the state of one address that is or was in use.
type Slot struct {
	Attachment
	Subnet     netip.Prefix
	Addr       netip.Addr
	InUse      bool          // false: freed, kept from reuse as long as possible
	Age        time.Duration // since it was allocated or freed
	NetnsPath  string
	NetnsInode uint64
	Pod        string // as the claim had it, cut at 158 bytes
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

// Release frees every address of the attachment, in whichever subnet it is,
// and returns them. None is not an error.
func (s *Slots) Release(ctx context.Context, a Attachment) ([]netip.Addr, error) {
	var freed []netip.Addr
	k := a.key()
	err := s.each(ctx, func(b *book) error {
		return b.releaseAll(k, func(slot uint32) { freed = append(freed, b.addr(slot)) })
	})
	return freed, err
}

// Lookup returns the attachment's addresses.
func (s *Slots) Lookup(ctx context.Context, a Attachment) ([]netip.Addr, error) {
	var out []netip.Addr
	k := a.key()
	err := s.each(ctx, func(b *book) error {
		slot, _, err := b.find(k)
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
		slots, err := b.all()
		out = append(out, slots...)
		return err
	})
	return out, err
}

// all describes every slot that is or was in use, or none if one is damaged.
func (b *book) all() ([]Slot, error) {
	out := make([]Slot, 0, b.u32(offInUse)+b.u32(offFree))
	for slot := range b.writtenSlots() {
		state, err := b.state(slot)
		if err != nil {
			return nil, err
		}
		if state != stateNever {
			out = append(out, b.read(slot, state))
		}
	}
	return out, nil
}

// read returns what a slot says.
func (b *book) read(slot, state uint32) Slot {
	at := b.at(slot)
	return Slot{
		Attachment: Attachment{Container: b.text(at+slotContainer, MaxContainer), Interface: b.text(at+slotIface, MaxInterface)},
		Subnet:     b.subnet, Addr: b.addr(slot), InUse: state == stateUsed, Age: b.age(slot),
		NetnsPath: b.text(at+slotNetns, maxNetns), NetnsInode: b.u64(at + slotInode),
		Pod:     b.text(at+slotPod, maxPod),
		network: [8]byte(b.table[at+slotNetwork : at+slotNetwork+8]),
		serial:  b.u64(at + slotSerial),
	}
}

// age is the time since a slot was allocated or freed; none for one that comes
// from the future, as clocks jump (a time namespace has another one).
func (b *book) age(slot uint32) time.Duration {
	return max(0, time.Duration(b.now-int64(b.u64(b.at(slot)+slotTime))))
}

// each calls fn for every subnet's file under the lock. A directory that is not
// there holds nothing.
func (s *Slots) each(ctx context.Context, fn func(*book) error) error {
	return s.eachOf(ctx, func(netip.Prefix) bool { return true }, fn)
}

func (s *Slots) eachOf(ctx context.Context, which func(netip.Prefix) bool, fn func(*book) error) error {
	unlock, err := lockIn(ctx, s.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
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
		if which(p) {
			errs = append(errs, s.file(p, fn))
		}
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
