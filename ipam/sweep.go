package ipam

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"slices"
	"syscall"
)

// Sweeper frees the addresses of attachments that went without a DEL (the
// runtime crashed, an ADD was killed). It belongs to one goroutine, the agent's.
type Sweeper struct {
	slots *Slots
	// suspects are the slots that looked abandoned at the last pass.
	suspects map[suspect]bool
}

// suspect is one tenure of one address: a slot that was claimed again since
// has another serial.
type suspect struct {
	addr   netip.Addr
	serial uint64
}

// NewSweeper returns a sweeper for the slots of a run directory.
func NewSweeper(s *Slots) *Sweeper { return &Sweeper{slots: s} }

// Pass frees the slots that were abandoned at this pass and at the one before,
// and returns them: those that have neither their host interface nor their
// namespace, and those whose interface is there with other addresses. (An ADD
// that follows another without a DEL may get a new one while the subnet of the
// old one drains; and Adopt may be told of what is just being released.) links
// holds the names of the host's interfaces and uses the addresses that are
// marked on them, read since the last pass; nil links are refused, because not
// knowing is not the same as none. The time between passes must be longer than
// an ADD takes.
func (w *Sweeper) Pass(ctx context.Context, links map[string]bool, uses []Use) ([]Slot, error) {
	if links == nil {
		return nil, errors.New("sweep without the list of interfaces")
	}
	slots, err := w.slots.List(ctx)
	if err != nil {
		return nil, err
	}
	has := map[Attachment][]netip.Addr{}
	for _, u := range uses {
		has[u.Attachment] = append(has[u.Attachment], u.Addr)
	}
	abandoned := map[suspect]bool{}
	var freed []Slot
	for _, slot := range slots {
		id := suspect{addr: slot.Addr, serial: slot.serial}
		marked := has[slot.Attachment]
		elsewhere := len(marked) > 0 && !slices.Contains(marked, slot.Addr)
		switch {
		case !slot.InUse || !elsewhere && (links[slot.HostInterface()] || slot.namespaceLives()):
		case w.suspects[id]:
			freed = append(freed, slot)
		default:
			abandoned[id] = true
		}
	}
	w.suspects = abandoned
	return freed, w.slots.Free(ctx, freed)
}

// Suspects is the number of slots that the next pass frees if they are still
// abandoned then.
func (w *Sweeper) Suspects() int { return len(w.suspects) }

// namespaceLives reports whether the namespace that the slot was claimed for
// is still found where it was.
func (s Slot) namespaceLives() bool {
	if s.NetnsPath == "" || s.NetnsInode == 0 {
		return false
	}
	st, err := os.Stat(s.NetnsPath)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Ino == s.NetnsInode
}

// Adopt marks as in use what the kernel shows to be in use and the files do
// not: attachments of addresses that somebody's slot file lost. An address
// that another attachment holds is left to it and returned as a conflict.
func (s *Slots) Adopt(ctx context.Context, uses []Use, subnets []netip.Prefix) (conflicts []Use, err error) {
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	var errs []error
	for _, p := range subnets {
		if err := checkSubnet(p); err != nil {
			return nil, err
		}
		var held []Use
		errs = append(errs, s.file(p, func(b *book) (err error) {
			held, err = b.claimAll(uses)
			return err
		}))
		conflicts = append(conflicts, held...)
	}
	return conflicts, errors.Join(errs...)
}

// claimAll marks what the kernel shows in one subnet, and returns what another
// attachment holds.
func (b *book) claimAll(uses []Use) (held []Use, err error) {
	for _, u := range uses {
		taken, err := b.claim(u)
		if err != nil {
			return nil, err
		}
		if taken {
			held = append(held, u)
		}
	}
	return held, nil
}
