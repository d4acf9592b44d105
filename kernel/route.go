package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// defaultMetric6 is what the kernel makes of metric 0 for IPv6
// (include/uapi/linux/ipv6_route.h, IP6_RT_PRIO_USER).
const defaultMetric6 = 1024

// lockMTU is the bit for the MTU in RTAX_LOCK.
const lockMTU = 1 << unix.RTAX_MTU

// otherType is the type of a route that weft never makes.
const otherType RouteType = 255

// path is the value of a route.
type path struct {
	typ RouteType
	// locked: the kernel may not lower the MTU by what it learns. Forwarding
	// heeds the MTU of an IPv6 route only then (include/net/ip6_route.h,
	// ip6_dst_mtu_maybe_forward); IPv4 always does, and a lock there would take
	// the don't-fragment bit from what this host sends itself (net/ip.h,
	// ip_dont_fragment).
	locked  bool
	nexthop uint32
	mtu     int
}

func wantedPath(r Route) path {
	return path{typ: r.Type, nexthop: r.Nexthop, mtu: r.MTU, locked: r.MTU != 0 && r.Dst.Addr().Is6()}
}

// normal returns the key in the form in which the kernel gives it back.
func (k RouteKey) normal() RouteKey {
	k.Dst = netip.PrefixFrom(k.Dst.Addr().Unmap(), k.Dst.Bits()).Masked()
	if k.Metric == 0 && k.Dst.Addr().Is6() {
		k.Metric = defaultMetric6
	}
	return k
}

// routeMessage is what an RTM_NEWROUTE or RTM_DELROUTE says.
type routeMessage struct {
	RouteKey
	path
	protocol uint8
	oif      int32
}

// decodeRoute reads a route of the main table; ok is false for others, and for
// those that match on more than a destination.
func decodeRoute(data []byte) (r routeMessage, ok bool) {
	if len(data) < unix.SizeofRtMsg {
		return r, false
	}
	fam, bits, srcBits, tos, table := data[0], int(data[1]), data[2], data[3], uint32(data[4])
	dst := netip.IPv4Unspecified()
	if fam == unix.AF_INET6 {
		dst = netip.IPv6Unspecified()
	}
	r.protocol, r.typ = data[5], routeType(data[7])
	err := rtnl.Attrs(data[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_DST:
			dst = rtnl.Addr(v)
		case unix.RTA_TABLE:
			table = rtnl.U32(v)
		case unix.RTA_PRIORITY:
			r.Metric = rtnl.U32(v)
		case unix.RTA_OIF:
			r.oif = int32(rtnl.U32(v))
		case rtaNexthopID:
			r.nexthop = rtnl.U32(v)
		case unix.RTA_METRICS:
			r.mtu, r.locked = metricMTU(v)
		}
	})
	r.Dst = netip.PrefixFrom(dst, bits)
	cloned := rtnl.U32(data[8:])&unix.RTM_F_CLONED != 0
	return r, err == nil && !cloned && table == unix.RT_TABLE_MAIN && srcBits|tos == 0 &&
		fam == family(dst) && r.Dst.IsValid()
}

func metricMTU(metrics []byte) (mtu int, locked bool) {
	_ = rtnl.Attrs(metrics, func(typ uint16, v []byte) {
		switch typ {
		case unix.RTAX_MTU:
			mtu = int(rtnl.U32(v))
		case unix.RTAX_LOCK:
			locked = rtnl.U32(v)&lockMTU != 0
		}
	})
	return mtu, locked
}

func routeType(rtn uint8) RouteType {
	switch rtn {
	case unix.RTN_UNICAST:
		return Unicast
	case unix.RTN_BLACKHOLE:
		return Blackhole
	case unix.RTN_UNREACHABLE:
		return Unreachable
	}
	return otherType
}

func (t RouteType) rtn() uint8 {
	switch t {
	case Blackhole:
		return unix.RTN_BLACKHOLE
	case Unreachable:
		return unix.RTN_UNREACHABLE
	}
	return unix.RTN_UNICAST
}

// foldRoute takes in a route of the main table that came, changed or went.
func (s *state) foldRoute(typ uint16, data []byte, dumping bool) (stale bool) {
	r, ok := decodeRoute(data)
	switch {
	case !ok:
		return false
	case r.protocol != Protocol:
		return s.foldForeignRoute(r, dumping)
	case typ == unix.RTM_DELROUTE:
		// IPv4 can hold several routes at one key; when one goes that is not
		// the one we know of, only a dump tells what is left.
		e := s.routes.find(r.RouteKey)
		stale = e != nil && e.present && e.actual != r.path
		s.routes.dropActual(r.RouteKey)
		return stale
	}
	if e := s.routes.find(r.RouteKey); dumping && e != nil && e.present && e.dump == s.routes.dump && e.actual != r.path {
		// The second at this key. The one that is not wanted must go.
		if e.actual == e.want {
			e.actual = r.path
		}
		s.routes.setStuck(s.routes.index[r.RouteKey])
		return false
	}
	s.routes.setActual(r.RouteKey, r.path)
	return false
}

// routeVerb: with a foreign route at the same key, a replacement might hit
// that one.
func (s *state) routeVerb(e *entry[RouteKey, path]) (verb, bool) {
	switch same := s.foreign.sameKey(e.key); {
	case same != nil:
		return 0, false
	case e.stuck:
		return destroy, true
	case e.present:
		return change, true
	}
	return create, true
}

// encodeRoute: a change is one message (NLM_F_REPLACE without NLM_F_CREATE)
// for every pair of types and both families, so there is always a route. A
// deletion says what it deletes, so that it cannot hit another's.
func encodeRoute(b *rtnl.Batch, v verb, e *entry[RouteKey, path]) {
	typ, nl, p := uint16(unix.RTM_NEWROUTE), uint16(unix.NLM_F_CREATE|unix.NLM_F_EXCL), e.want
	switch v {
	case change:
		nl = unix.NLM_F_REPLACE
	case destroy:
		typ, nl, p = unix.RTM_DELROUTE, 0, e.actual
	}
	dst := e.key.Dst
	var h [unix.SizeofRtMsg]byte
	h[0], h[1], h[4], h[5], h[7] = family(dst.Addr()), uint8(dst.Bits()), unix.RT_TABLE_MAIN, Protocol, p.typ.rtn()
	if v == destroy {
		h[6] = unix.RT_SCOPE_NOWHERE // any
		if p.typ == otherType {
			h[7] = unix.RTN_UNSPEC // any
		}
	}
	b.Message(typ, nl, h[:])
	b.Addr(unix.RTA_DST, dst.Addr())
	b.U32(unix.RTA_PRIORITY, e.key.Metric)
	if p.nexthop != 0 {
		b.U32(rtaNexthopID, p.nexthop)
	}
	if v != destroy {
		// Even an empty one: without it IPv4 takes the metrics of any route
		// through the same nexthop object, the one that is to be changed
		// above all (net/ipv4/fib_semantics.c, fib_find_info_nh).
		metrics := b.Nest(unix.RTA_METRICS)
		if p.mtu != 0 {
			b.U32(unix.RTAX_MTU, uint32(p.mtu))
		}
		if p.locked {
			b.U32(unix.RTAX_LOCK, lockMTU)
		}
		b.End(metrics)
	}
}
