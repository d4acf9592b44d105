package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// ErrFull says that every address of the subnets is in use.
var ErrFull = errors.New("every address is in use")

// FullError says of which subnets, all of one family. It is an ErrFull.
type FullError struct{ Subnets []netip.Prefix }

func (e *FullError) Error() string { return fmt.Sprintf("%v in %v", ErrFull, e.Subnets) }

// Unwrap makes the error an ErrFull.
func (e *FullError) Unwrap() error { return ErrFull }

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

// add adds the slot that was written last.
func (g *Grant) add(at place) {
	g.Addrs = append(g.Addrs, netip.PrefixFrom(at.book.addr(at.slot), at.book.subnet.Bits()))
	g.serials = append(g.serials, at.book.u64(at.book.at(at.slot)+slotSerial))
}

// wanted sorts the addresses that are asked for by family.
func (c Claim) wanted() (want fabric.PerFamily[netip.Addr], err error) {
	for _, a := range c.Want {
		a = a.Unmap()
		f := fabric.FamilyOf(a)
		switch {
		case !a.IsValid():
			return want, errors.New("an address is asked for that is none")
		case want.Get(f).IsValid():
			return want, fmt.Errorf("two addresses of a family are asked for: %s and %s", want.Get(f), a)
		}
		want.Set(f, a)
	}
	return want, nil
}

// Allocate gives the attachment one address in each family that subnets has,
// or nothing at all. Subnets are to be listed oldest first. An attachment that
// has an address already keeps it, unless it asks for another one, and one that
// comes back gets the one it had. Errors: ErrFull (a *FullError), ErrClosed, ErrBusy, and of
// addresses asked for ErrInUse (a *TakenError), ErrOutside, ErrReserved.
func (s *Slots) Allocate(ctx context.Context, c Claim, subnets []netip.Prefix) (Grant, error) {
	if err := c.Check(); err != nil {
		return Grant{}, err
	}
	want, err := c.wanted()
	if err != nil {
		return Grant{}, err
	}
	var in []netip.Prefix
	for _, p := range subnets {
		if err := checkSubnet(p); err != nil {
			return Grant{}, err
		}
		if !slices.Contains(in, p) {
			in = append(in, p)
		}
	}
	unlock, err := lock(ctx, s.dir)
	if err != nil {
		return Grant{}, err
	}
	defer unlock()
	t := transaction{owner: newOwner(c), claim: c, want: want, subnets: in}
	if err := s.files(in, t.run); err != nil {
		return Grant{}, errors.Join(err, s.undo(t.taken))
	}
	return t.grant, nil
}

// transaction is one claim in all families.
type transaction struct {
	owner   owner
	claim   Claim
	want    fabric.PerFamily[netip.Addr]
	subnets []netip.Prefix
	grant   Grant // what the attachment has
	taken   Grant // what of it the claim took, to be undone if it cannot be met
}

// run meets the claim from the books. It may be called again when one of them
// had to be made anew: what it took it finds in use then.
func (t *transaction) run(books []*book, failed error) error {
	t.grant = Grant{Attachment: t.claim.Attachment}
	var pickers []*picker
	var places []place
	for _, f := range fabric.Families {
		p := &picker{owner: &t.owner, want: t.want.Get(f), sticky: t.claim.Sticky}
		if !p.want.IsValid() && !slices.ContainsFunc(t.subnets, func(s netip.Prefix) bool { return fabric.FamilyOf(s.Addr()) == f }) {
			continue
		}
		for _, b := range books {
			switch {
			case fabric.FamilyOf(b.subnet.Addr()) != f:
			case b.closed():
				p.closed = append(p.closed, b.subnet)
			default:
				p.books = append(p.books, b)
			}
		}
		at, err := p.pick()
		if failed != nil && (errors.Is(err, ErrFull) || errors.Is(err, ErrClosed) || errors.Is(err, ErrOutside)) {
			return failed // the answer may be in a file that cannot be had
		}
		if err != nil {
			return err
		}
		pickers, places = append(pickers, p), append(places, at)
	}
	for i, p := range pickers {
		taken, err := p.occupy(places[i])
		if err != nil {
			return err
		}
		t.grant.add(places[i])
		if taken {
			t.taken.add(places[i])
		}
	}
	return nil
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
		state, err := b.state(slot)
		if err != nil || state != stateUsed || b.u64(b.at(slot)+slotSerial) != serial {
			return err
		}
		return b.release(slot)
	})
}
