package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// foldFDB takes in a forwarding entry of VXLAN device link. NTF_SELF tells
// the device's own from a bridge's that it is a port of.
func (s *state) foldFDB(link string, n neighMessage, there bool) {
	key := FDBKey{link, n.mac}
	switch {
	case n.flags&unix.NTF_SELF == 0:
	case there && n.permanent:
		if n.special {
			n.dst = netip.Addr{} // nothing that could be wanted
		}
		s.fdb.setActual(key, n.dst)
	default:
		s.fdb.dropActual(key)
	}
}

// encodeFDB: a deletion names no destination, which removes the entry with
// whatever destinations it has by now (vxlan_core.c, __vxlan_fdb_delete).
func encodeFDB(b *rtnl.Batch, f *ifaces, v verb, e *entry[FDBKey, netip.Addr]) error {
	index, err := f.index(e.key.Link)
	if err != nil {
		return err
	}
	neighHeader(b, v, unix.AF_BRIDGE, index, unix.NTF_SELF)
	b.Bytes(unix.NDA_LLADDR, e.key.MAC[:])
	if v != destroy {
		b.Addr(unix.NDA_DST, e.want)
	}
	return nil
}
