package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// writeLink carries out one step for a device. Its messages go out with one
// system call, so that no device of ours is ever without its mark.
func (h *Host) writeLink(o op) error {
	e := &h.state.links.entries[o.slot]
	b := &h.batch
	b.Reset()
	index := uint32(h.state.ifaces.byName[e.key])
	optional := -1 // the message whose failure does not matter
	switch o.verb {
	case destroy:
		linkHeader(b, unix.RTM_DELLINK, 0, index, 0)
	case change:
		alterLink(b, index, e.want, e.actual)
	case create, remake:
		uplink := uint32(0)
		if name := e.want.vxlan.Uplink; name != "" {
			var err error
			if uplink, err = h.state.ifaces.index(name); err != nil {
				return err
			}
		}
		if o.verb == remake {
			linkHeader(b, unix.RTM_DELLINK, 0, index, 0)
		}
		newLink(b, e.key, e.want, uplink)
		if e.want.quiet {
			optional = b.Len() // there may be no IPv6
			linkHeader(b, unix.RTM_NEWLINK, 0, 0, 0)
			b.String(unix.IFLA_IFNAME, e.key)
			addrGenNone(b)
		}
		linkHeader(b, unix.RTM_NEWLINK, 0, 0, unix.IFF_UP)
		b.String(unix.IFLA_IFNAME, e.key)
		b.String(unix.IFLA_IFALIAS, linkMark)
		// A bridge keeps an MTU of its own only if told after its birth
		// (net/bridge/br_if.c, br_mtu_auto_adjust).
		b.U32(unix.IFLA_MTU, uint32(e.want.mtu))
	}
	errs, err := h.conn.Execute(b)
	if err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil && i != optional {
			return linkError(e.want.kind, err)
		}
	}
	return nil
}

// linkError explains the one errno that does not explain itself.
func linkError(k LinkKind, err error) error {
	if errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: the kernel lacks module %s", err, k)
	}
	return err
}

func linkHeader(b *rtnl.Batch, typ, flags uint16, index uint32, up uint32) {
	var h [unix.SizeofIfInfomsg]byte
	binary.NativeEndian.PutUint32(h[4:], index)
	binary.NativeEndian.PutUint32(h[8:], up)
	binary.NativeEndian.PutUint32(h[12:], up)
	b.Message(typ, flags, h[:])
}

func newLink(b *rtnl.Batch, name string, d device, uplink uint32) {
	linkHeader(b, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	b.Bytes(unix.IFLA_ADDRESS, d.mac[:])
	if d.kind != Bridge {
		b.U32(unix.IFLA_MTU, uint32(d.mtu))
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, string(d.kind))
	data := b.Nest(unix.IFLA_INFO_DATA)
	if d.kind == VXLAN {
		b.U32(unix.IFLA_VXLAN_ID, d.vxlan.VNI)
		b.U16BE(unix.IFLA_VXLAN_PORT, d.vxlan.Port)
		if uplink != 0 {
			b.U32(unix.IFLA_VXLAN_LINK, uplink)
		}
		switch local := d.vxlan.Local; {
		case local.Is4():
			b.Addr(unix.IFLA_VXLAN_LOCAL, local)
		case local.Is6():
			b.Addr(unix.IFLA_VXLAN_LOCAL6, local)
		}
		checksum := uint8(0)
		if d.vxlan.UDPChecksum {
			checksum = 1
		}
		b.U8(unix.IFLA_VXLAN_UDP_CSUM, checksum)
	}
	fickle(b, d)
	b.End(data)
	b.End(info)
}

// fickle adds what can be changed in a living device.
func fickle(b *rtnl.Batch, d device) {
	v := uint8(0)
	if d.learning {
		v = 1
	}
	switch d.kind {
	case VXLAN:
		b.U8(unix.IFLA_VXLAN_LEARNING, v)
		b.U8(unix.IFLA_VXLAN_DF, d.df)
	case Bridge:
		b.U8(unix.IFLA_BR_MCAST_SNOOPING, v)
	}
}

func addrGenNone(b *rtnl.Batch) {
	spec := b.Nest(unix.IFLA_AF_SPEC)
	inet6 := b.Nest(unix.AF_INET6)
	b.U8(unix.IFLA_INET6_ADDR_GEN_MODE, addrGenModeNone)
	b.End(inet6)
	b.End(spec)
}

// alterLink changes in place what differs.
func alterLink(b *rtnl.Batch, index uint32, want, actual device) {
	if want.learning != actual.learning || want.df != actual.df {
		linkHeader(b, unix.RTM_NEWLINK, 0, index, 0)
		info := b.Nest(unix.IFLA_LINKINFO)
		b.String(unix.IFLA_INFO_KIND, string(want.kind))
		data := b.Nest(unix.IFLA_INFO_DATA)
		fickle(b, want)
		b.End(data)
		b.End(info)
	}
	linkHeader(b, unix.RTM_NEWLINK, 0, index, unix.IFF_UP)
	if want.mtu != actual.mtu {
		b.U32(unix.IFLA_MTU, uint32(want.mtu))
	}
	if want.mac != actual.mac {
		b.Bytes(unix.IFLA_ADDRESS, want.mac[:])
	}
	if want.marked != actual.marked {
		b.String(unix.IFLA_IFALIAS, linkMark)
	}
	if want.quiet && !actual.quiet {
		addrGenNone(b)
	}
}
