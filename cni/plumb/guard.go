package plumb

import (
	"errors"
	"net/netip"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// ErrMACTaken says that the MAC address that was asked for is another pod's, or
// the bridge's own.
var ErrMACTaken = errors.New("the MAC address is in use on this bridge")

// ErrNoGuard says that the kernel cannot keep pods to their own addresses.
var ErrNoGuard = errors.New("this kernel has no nftables for bridges (family bridge); macSpoofCheck: false does without")

// Guard is what one guarded port of the bridge may send: frames with this MAC
// from these addresses, and from the link-local address that follows from the
// MAC if an IPv6 address is among them.
type Guard struct {
	Port  string // the host interface
	MAC   fabric.MAC
	Addrs []netip.Addr
}

// GuardOf is the guard of an attachment.
func GuardOf(a ipam.Attachment, mac fabric.MAC, addrs []netip.Prefix) Guard {
	g := Guard{Port: a.HostInterface(), MAC: mac}
	for _, p := range addrs {
		g.Addrs = append(g.Addrs, p.Addr())
	}
	return g
}

// AddGuard guards a port, which need not be there yet, and forgets what it was
// allowed before. Attach does it for a Pod that is Guarded.
func AddGuard(g Guard) error { return nil }

// Unguard removes whatever guard the attachment's port has; none is no error.
// It needs neither the port nor a record. Call it after Detach: a port without
// a guard sends what it likes.
func Unguard(a ipam.Attachment) error { return nil }

// CheckGuard returns nil if the guard is in force, else an error that says what
// is missing.
func CheckGuard(g Guard) error { return nil }

// Guards lists the guards that there are, by their ports.
func Guards() ([]Guard, error) { return nil, nil }

// Repair is what SyncGuards had to do.
type Repair struct {
	Rebuilt bool // the table, its chain, or its rules were not as they should be
	Added   int  // guards that were missing or wrong
	Removed int  // guards of ports that are gone or need none
}

// SyncGuards makes the guards those that want returns, after somebody flushed
// the tables or a plugin was killed. want is called after the guards were read,
// so that one that comes meanwhile is not taken for stale; a port that is there
// and in neither list keeps what it has.
func SyncGuards(want func() (Wanted, error)) (Repair, error) { return Repair{}, nil }

// Wanted is what is known of the pods of this host.
type Wanted struct {
	Guards    []Guard
	Unguarded []string // host interfaces of pods that shall have no guard
}
