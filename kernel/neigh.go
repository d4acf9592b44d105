package kernel

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// native is the byte order of netlink headers.
var native = binary.NativeEndian

// sizeofNdMsg is that of struct ndmsg: family, index (at 4), state (at 8),
// flags (at 10), type. The same message carries neighbours and, with family
// AF_BRIDGE, forwarding entries.
const sizeofNdMsg = 12

type neighMessage struct {
	family    uint8
	index     int32
	permanent bool
	flags     uint8
	dst       netip.Addr
	mac       fabric.MAC
	special   bool // a forwarding entry with a port, VNI or device of its own
}

func decodeNeigh(data []byte) (n neighMessage, ok bool) {
	if len(data) < sizeofNdMsg {
		return n, false
	}
	n.family, n.index, n.flags = data[0], int32(rtnl.U32(data[4:])), data[10]
	n.permanent = rtnl.U16(data[8:])&unix.NUD_PERMANENT != 0
	err := rtnl.Attrs(data[sizeofNdMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NDA_DST:
			n.dst = rtnl.Addr(v)
		case unix.NDA_LLADDR:
			copy(n.mac[:], v)
		case unix.NDA_PORT, unix.NDA_VNI, unix.NDA_IFINDEX:
			n.special = true
		}
	})
	return n, err == nil
}

// foldNeigh takes in a neighbour or forwarding entry that came, changed or
// went on a VXLAN device of ours. All permanent ones there are weft's.
func (s *state) foldNeigh(typ uint16, data []byte) {
	if len(data) < sizeofNdMsg {
		return
	}
	link, ok := s.ifaces.overlay(int32(rtnl.U32(data[4:])))
	if !ok {
		return // the host's other neighbours come and go all the time
	}
	n, ok := decodeNeigh(data)
	switch {
	case !ok || n.flags&unix.NTF_PROXY != 0:
	case n.family == unix.AF_BRIDGE:
		s.foldFDB(link, n, typ == unix.RTM_NEWNEIGH)
	case typ == unix.RTM_NEWNEIGH && n.permanent:
		s.neighs.setActual(NeighKey{link, n.dst}, n.mac)
	default:
		s.neighs.dropActual(NeighKey{link, n.dst})
	}
}

func encodeNeigh(b *rtnl.Batch, f *ifaces, v verb, e *entry[NeighKey, fabric.MAC]) error {
	index, err := f.index(e.key.Link)
	if err != nil {
		return err
	}
	neighHeader(b, v, family(e.key.Addr), index, 0)
	b.Addr(unix.NDA_DST, e.key.Addr)
	if v != destroy {
		b.Bytes(unix.NDA_LLADDR, e.want[:])
	}
	return nil
}

// neighHeader starts a neighbour or forwarding entry. On weft's own device an
// entry at a wanted key is overwritten, whoever made it.
func neighHeader(b *rtnl.Batch, v verb, family uint8, index uint32, ntf uint8) {
	typ, flags := uint16(unix.RTM_NEWNEIGH), uint16(unix.NLM_F_CREATE|unix.NLM_F_REPLACE)
	if v == destroy {
		typ, flags = unix.RTM_DELNEIGH, 0
	}
	var h [sizeofNdMsg]byte
	h[0], h[10] = family, ntf
	native.PutUint32(h[4:], index)
	native.PutUint16(h[8:], unix.NUD_PERMANENT)
	b.Message(typ, flags, h[:])
}
