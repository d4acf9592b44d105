package plumb

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// Link is a network interface as the kernel describes it.
type Link struct {
	Index  uint32
	Name   string
	Kind   string // "veth", "bridge", ...; empty for hardware
	Master uint32 // index of the bridge it is a port of
	MTU    int
	MAC    fabric.MAC
	Up     bool
	Alias  string
}

const skipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS, not in x/sys

// GetLink returns the interface called name, or nil if there is none.
func GetLink(c *rtnl.Conn, name string) (*Link, error) {
	var b rtnl.Batch
	header(&b, unix.RTM_GETLINK, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	b.U32(unix.IFLA_EXT_MASK, skipStats)
	var l *Link
	err := c.Request(&b, func(m rtnl.Message) (err error) {
		l, err = decodeLink(m.Data)
		return err
	})
	if errors.Is(err, unix.ENODEV) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look for interface %s: %w", name, err)
	}
	return l, nil
}

// index returns the index of an interface that is there. It is one cheap system
// call without the lock of rtnetlink; but of a name that does not exist the
// kernel would try to load a module (net/core/dev_ioctl.c, dev_load), so it is
// not for looking whether there is one.
func index(c *rtnl.Conn, name string) (uint32, error) {
	r, err := unix.NewIfreq(name)
	if err == nil {
		err = unix.IoctlIfreq(c.Fd(), unix.SIOCGIFINDEX, r)
	}
	if err != nil {
		return 0, fmt.Errorf("index of %s: %w", name, err)
	}
	return r.Uint32(), nil
}

// deleteLink removes an interface; one that is gone is no error. A veth takes
// its other end along. The call returns only after an RCU grace period.
func deleteLink(c *rtnl.Conn, index uint32) error {
	var b rtnl.Batch
	header(&b, unix.RTM_DELLINK, 0, index, 0)
	err := execute(c, &b)
	if errors.Is(err, unix.ENODEV) {
		return nil
	}
	return err
}

// dump calls fn for every object of a kind. fn may see objects twice: a dump
// that was interrupted starts over, after reset.
func dump(c *rtnl.Conn, typ uint16, header []byte, reset func(), fn func(rtnl.Message) error) error {
	return retryDump(func() error {
		reset()
		var b rtnl.Batch
		b.Message(typ, 0, header)
		return c.Dump(&b, fn)
	})
}

// retryDump calls fn until its dump was not interrupted.
func retryDump(fn func() error) error {
	const attempts = 20 // each needs another change in the middle of it
	err := rtnl.ErrInterrupted
	for n := 0; n < attempts && errors.Is(err, rtnl.ErrInterrupted); n++ {
		err = fn()
	}
	return err
}

func decodeLink(data []byte) (*Link, error) {
	if len(data) < unix.SizeofIfInfomsg {
		return nil, rtnl.ErrTruncated
	}
	l := &Link{Index: rtnl.U32(data[4:]), Up: rtnl.U32(data[8:])&unix.IFF_UP != 0}
	err := rtnl.Attrs(data[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.Name = rtnl.String(v)
		case unix.IFLA_MASTER:
			l.Master = rtnl.U32(v)
		case unix.IFLA_MTU:
			l.MTU = int(rtnl.U32(v))
		case unix.IFLA_ADDRESS:
			copy(l.MAC[:], v)
		case unix.IFLA_IFALIAS:
			l.Alias = rtnl.String(v)
		case unix.IFLA_LINKINFO:
			_ = rtnl.Attrs(v, func(typ uint16, v []byte) {
				if typ == unix.IFLA_INFO_KIND {
					l.Kind = rtnl.String(v)
				}
			})
		}
	})
	return l, err
}

// header starts a message about an interface; flags are both the flags and
// their mask.
func header(b *rtnl.Batch, typ, nlFlags uint16, index, flags uint32) {
	b.Message(typ, nlFlags, ifinfo(index, flags))
}

func ifinfo(index, flags uint32) []byte {
	h := make([]byte, unix.SizeofIfInfomsg)
	binary.NativeEndian.PutUint32(h[4:], index)
	binary.NativeEndian.PutUint32(h[8:], flags)
	binary.NativeEndian.PutUint32(h[12:], flags)
	return h
}

// How an interface makes itself an IPv6 link-local address (IN6_ADDR_GEN_MODE_*,
// not in x/sys).
const (
	addrGenModeEUI64 = 0
	addrGenModeNone  = 1
)

// genMode adds a message that says whether the interface makes itself an IPv6
// link-local address, whose solicitations and reports would be flooded to every
// port of the bridge, and that it is the one that follows from its MAC. The
// kernel refuses it where there is no IPv6.
func genMode(b *rtnl.Batch, name string, mode uint8) {
	header(b, unix.RTM_NEWLINK, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	spec := b.Nest(unix.IFLA_AF_SPEC)
	inet6 := b.Nest(unix.AF_INET6)
	b.U8(unix.IFLA_INET6_ADDR_GEN_MODE, mode)
	b.End(inet6)
	b.End(spec)
}

// execute sends a batch in which every message must succeed but those in
// optional, and returns the first error.
func execute(c *rtnl.Conn, b *rtnl.Batch, optional ...int) error {
	errs, err := c.Execute(b)
	if err != nil {
		return err
	}
	for _, i := range optional {
		errs[i] = nil
	}
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
