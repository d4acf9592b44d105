package plumb

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// element is one element of one of the guard's sets.
type element struct {
	set string
	key string // as the kernel keeps it
}

// port is the interface that an element is about: every key begins with it.
func (e element) port() string { return rtnl.String([]byte(e.key)) }

// linkLocal is the address that an interface with this MAC makes itself (RFC
// 4291, appendix A).
func linkLocal(m fabric.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

// elements are those of a guard, the port's first.
func (g Guard) elements() []element {
	out := []element{{setPorts, portKey(g.Port)}}
	v6 := false
	for _, a := range g.Addrs {
		set := setIPv4
		if a.Is6() {
			set, v6 = setIPv6, true
		}
		out = append(out, g.pair(set, a))
	}
	if v6 {
		// From :: an interface tells the switches its groups while it has no
		// address yet (RFC 3590); it is nobody's address.
		out = append(out, g.pair(setIPv6, linkLocal(g.MAC)), g.pair(setIPv6, netip.IPv6Unspecified()))
	}
	return out
}

func (g Guard) pair(set string, a netip.Addr) element {
	return element{set, portKey(g.Port) + string(g.MAC[:]) + "\x00\x00" + string(a.AsSlice())}
}

func portKey(name string) string {
	return name + strings.Repeat("\x00", max(0, unix.IFNAMSIZ-len(name)))
}

// text is the guard as it is written to its port's element, so that whoever
// removes it needs no other memory and nft(8) shows whose port it is.
func (g Guard) text() string {
	words := []string{g.MAC.String()}
	for _, a := range g.Addrs {
		words = append(words, a.String())
	}
	return strings.Join(words, " ")
}

// parseGuard is the inverse of text.
func parseGuard(port, text string) (g Guard, ok bool) {
	words := strings.Fields(text)
	if len(words) == 0 {
		return g, false
	}
	mac, err := fabric.ParseMAC(words[0])
	if err != nil {
		return g, false
	}
	g = Guard{Port: port, MAC: mac}
	for _, w := range words[1:] {
		a, err := netip.ParseAddr(w)
		if err != nil {
			return g, false
		}
		g.Addrs = append(g.Addrs, a)
	}
	return g, true
}

// elem adds a message about one element.
func elem(b *rtnl.Batch, typ, flags uint16, e element, text string) {
	nft(b, typ, flags)
	b.String(unix.NFTA_SET_ELEM_LIST_TABLE, GuardTable)
	b.String(unix.NFTA_SET_ELEM_LIST_SET, e.set)
	list := b.Nest(unix.NFTA_SET_ELEM_LIST_ELEMENTS)
	one := b.Nest(unix.NFTA_LIST_ELEM)
	value(b, unix.NFTA_SET_ELEM_KEY, []byte(e.key))
	if text != "" {
		b.Bytes(unix.NFTA_SET_ELEM_USERDATA, remark(text))
	}
	b.End(one)
	b.End(list)
}

// decodeElements calls fn for the elements in one message of an answer.
func decodeElements(m rtnl.Message, fn func(e element, text string)) error {
	var set string
	var list []byte
	err := rtnl.Attrs(m.Payload(), func(typ uint16, v []byte) {
		switch typ {
		case unix.NFTA_SET_ELEM_LIST_SET:
			set = rtnl.String(v)
		case unix.NFTA_SET_ELEM_LIST_ELEMENTS:
			list = v
		}
	})
	var bad error
	each := func(_ uint16, v []byte) {
		var key, text string
		err := rtnl.Attrs(v, func(typ uint16, v []byte) {
			switch typ {
			case unix.NFTA_SET_ELEM_KEY:
				_ = rtnl.Attrs(v, func(_ uint16, v []byte) { key = string(v) })
			case unix.NFTA_SET_ELEM_USERDATA:
				text = parseRemark(v)
			}
		})
		if err != nil {
			bad = err
			return
		}
		fn(element{set, key}, text)
	}
	return errors.Join(err, rtnl.Attrs(list, each), bad)
}

// change is what a transaction does to the guards.
type change struct {
	build  bool // the table, its sets and its rules are made or put right first
	remove []element
	add    []Guard
	fresh  bool // guards that are there already are an error, unix.EEXIST
}

// apply carries a change out, whole or not at all. What is to be removed may be
// gone, and the table may be: then it is made.
func (c change) apply(conn *rtnl.Conn) error {
	for {
		var b rtnl.Batch
		if c.build {
			build(&b)
		}
		first := b.Len()
		for _, e := range c.remove {
			elem(&b, unix.NFT_MSG_DELSETELEM, 0, e, "")
		}
		c.addTo(&b)
		errs, rejected, err := conn.Transact(&b)
		if err != nil || !rejected {
			return guardError(err)
		}
		if err := c.adapt(errs, first); err != nil {
			return guardError(err)
		}
	}
}

// adapt changes a change that was rejected so that the next try finds less in
// its way; errs[first] is about the first removal. What no change helps against
// is returned.
func (c *change) adapt(errs []error, first int) error {
	keep := c.remove[:0:0]
	for i, err := range errs[first:] {
		removal := i < len(c.remove)
		switch {
		case errors.Is(err, unix.ENOENT) && removal: // gone
		case errors.Is(err, unix.ENOENT) && !c.build:
			c.build = true
			c.remove = append(keep, c.remove[min(i, len(c.remove)):]...)
			return nil // the table is
		case err != nil:
			return err
		case removal:
			keep = append(keep, c.remove[i])
		}
	}
	if len(keep) == len(c.remove) {
		return errors.Join(errs...)
	}
	c.remove = keep
	return nil
}

func (c change) addTo(b *rtnl.Batch) {
	for _, g := range c.add {
		for _, e := range g.elements() {
			flags, text := uint16(unix.NLM_F_CREATE), ""
			if e.set == setPorts {
				text = g.text()
				if c.fresh {
					flags |= unix.NLM_F_EXCL
				}
			}
			elem(b, unix.NFT_MSG_NEWSETELEM, flags, e, text)
		}
	}
}

// guardError explains what nftables says.
func guardError(err error) error {
	switch {
	case err == nil:
		return nil
	case missingFamily(err):
		return fmt.Errorf("%w: %w", ErrNoGuard, err)
	}
	return fmt.Errorf("nftables table bridge %s: %w", GuardTable, err)
}

// missingFamily reports whether err is what a kernel answers that has no
// nftables or none for bridges: netlink_create, nfnetlink_rcv_batch, and
// nf_tables_newchain for a type of chain that it does not know.
func missingFamily(err error) bool {
	for _, e := range []error{unix.EPROTONOSUPPORT, unix.EOPNOTSUPP, unix.EAFNOSUPPORT, unix.ENOENT} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
