package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Hop is where packets go next: out of a device, to a gateway on its segment.
type Hop struct {
	Link    string
	Gateway netip.Addr // without a zone; of either family, whatever the destination's
}

// Nexthop is the object for the hop. The kernel is not to look the gateway up
// again (OnLink): that it is there was found out by Reach, or said by the zone
// of a link-local address.
func (h Hop) Nexthop(id uint32) Nexthop {
	return Nexthop{ID: id, Link: h.Link, Gateway: h.Gateway, OnLink: true}
}

// rawHop is a way of a route as the kernel gives it.
type rawHop struct {
	index   int32
	gateway netip.Addr // invalid where the destination is on the segment
	flags   uint8      // RTNH_F_*
}

// decodeHops reads the ways of a route from its attributes: one, or several
// where it is multipath.
func decodeHops(attrs []byte) (hops []rawHop, metric uint32) {
	var single rawHop
	_ = rtnl.Attrs(attrs, func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_OIF:
			single.index = int32(rtnl.U32(v))
		case unix.RTA_PRIORITY:
			metric = rtnl.U32(v)
		case unix.RTA_MULTIPATH: // struct rtnexthop: len, flags, hops, ifindex
			for len(v) >= unix.SizeofRtNexthop {
				n := int(rtnl.U16(v))
				if n < unix.SizeofRtNexthop || n > len(v) {
					return
				}
				hop := rawHop{index: int32(rtnl.U32(v[4:])), flags: v[2]}
				_ = rtnl.Attrs(v[unix.SizeofRtNexthop:n], hop.decodeGateway)
				hops = append(hops, hop)
				v = v[min((n+3)&^3, len(v)):]
			}
		default:
			single.decodeGateway(typ, v)
		}
	})
	if single.index != 0 {
		hops = append(hops, single)
	}
	return hops, metric
}

// decodeGateway reads RTA_GATEWAY, or RTA_VIA (struct rtvia: family, address),
// which is an IPv6 gateway of an IPv4 route.
func (h *rawHop) decodeGateway(typ uint16, v []byte) {
	switch {
	case typ == unix.RTA_GATEWAY:
		h.gateway = rtnl.Addr(v)
	case typ == unix.RTA_VIA && len(v) > 2:
		h.gateway = rtnl.Addr(v[2:])
	}
}
