package plumb

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
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
func AddGuard(g Guard) error {
	c, err := rtnl.DialNetfilter()
	if err != nil {
		return guardError(err)
	}
	defer c.Close()
	add := change{add: []Guard{g}, fresh: true}
	err = add.apply(c)
	if !errors.Is(err, unix.EEXIST) {
		return err
	}
	// What an earlier life of this attachment left, perhaps with another
	// address, goes in the same step.
	old, err := ofPort(c, g.Port)
	if err != nil {
		return err
	}
	add.fresh, add.remove = false, old
	return add.apply(c)
}

// Unguard removes whatever guard the attachment's port has; none is no error.
// It needs neither the port nor a record. Call it after Detach: a port without
// a guard sends what it likes.
func Unguard(a ipam.Attachment) error {
	c, err := rtnl.DialNetfilter()
	if missingFamily(err) {
		return nil // then there never was one
	}
	if err != nil {
		return err
	}
	defer c.Close()
	old, err := ofPort(c, a.HostInterface())
	if err != nil || len(old) == 0 {
		return err
	}
	return change{remove: old}.apply(c)
}

// ofPort returns the elements of a port, by what its own element says of them.
func ofPort(c *rtnl.Conn, port string) ([]element, error) {
	var b rtnl.Batch
	own := element{setPorts, portKey(port)}
	elem(&b, unix.NFT_MSG_GETSETELEM, 0, own, "")
	var text string
	err := c.Request(&b, func(m rtnl.Message) error {
		return decodeElements(m, func(_ element, t string) { text = t })
	})
	if missingFamily(err) {
		return nil, nil // the element, the set, the table, or nftables
	}
	if err != nil {
		return nil, guardError(err)
	}
	if g, ok := parseGuard(port, text); ok {
		return g.elements(), nil
	}
	// Somebody put it there by hand: look at them all.
	all, err := dumpGuards(c)
	if err != nil {
		return nil, err
	}
	var out []element
	for e := range all {
		if e.port() == port {
			out = append(out, e)
		}
	}
	return out, nil
}

// dumpGuards reads all elements; those of ports come with their text.
func dumpGuards(c *rtnl.Conn) (map[element]string, error) {
	all := map[element]string{}
	for _, s := range guardSets() {
		err := dumpSet(c, s.name, func() {}, func(e element, text string) { all[e] = text })
		if err != nil {
			return nil, err
		}
	}
	return all, nil
}

// dumpSet calls fn for every element of a set, perhaps more than once and after
// a reset; a set that is not there has none.
func dumpSet(c *rtnl.Conn, set string, reset func(), fn func(element, string)) error {
	var b rtnl.Batch
	err := retryDump(func() error {
		reset()
		b.Reset()
		nft(&b, unix.NFT_MSG_GETSETELEM, 0)
		b.String(unix.NFTA_SET_ELEM_LIST_TABLE, GuardTable)
		b.String(unix.NFTA_SET_ELEM_LIST_SET, set)
		return c.Dump(&b, func(m rtnl.Message) error { return decodeElements(m, fn) })
	})
	if missingFamily(err) {
		return nil
	}
	return guardError(err)
}

// Guards lists the guards that there are, in no order.
func Guards() ([]Guard, error) {
	c, err := rtnl.DialNetfilter()
	if missingFamily(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer c.Close()
	seen := map[string]Guard{}
	err = dumpSet(c, setPorts, func() { clear(seen) }, func(e element, text string) {
		g, _ := parseGuard(e.port(), text)
		g.Port = e.port()
		seen[g.Port] = g
	})
	out := make([]Guard, 0, len(seen))
	for _, g := range seen {
		out = append(out, g)
	}
	return out, err
}

// CheckGuard returns nil if the guard is in force, else an error that says what
// is missing.
func CheckGuard(g Guard) error {
	c, err := rtnl.DialNetfilter()
	if err != nil {
		return guardError(err)
	}
	defer c.Close()
	whole, err := intact(c)
	if err != nil {
		return err
	}
	if !whole {
		return fmt.Errorf("the rules of nftables table bridge %s are not as weft makes them", GuardTable)
	}
	var b rtnl.Batch
	want := g.elements()
	for _, e := range want {
		elem(&b, unix.NFT_MSG_GETSETELEM, 0, e, "")
	}
	errs, err := c.Query(&b, func(int, rtnl.Message) {})
	if err != nil {
		return guardError(err)
	}
	for i, err := range errs {
		if errors.Is(err, unix.ENOENT) {
			return fmt.Errorf("interface %s is not in set %s of nftables table bridge %s as it should be", g.Port, want[i].set, GuardTable)
		}
		if err != nil {
			return guardError(err)
		}
	}
	return nil
}
