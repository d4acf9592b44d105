package plumb

import (
	"errors"
	"fmt"
	"hash/fnv"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// firstIndex is the index of the first interface that a namespace gets after
// its loopback.
const firstIndex = 2

// configure brings the pod's end up and gives it its addresses and routes.
func (s Sockets) configure(p *Pod, e *End) (err error) {
	if e.Index, err = index(s.Pod, e.Name); err != nil {
		return err
	}
	var taken defaults
	if e.Index > firstIndex { // else nothing else has ever been here
		if taken, err = readDefaults(s.Pod); err != nil {
			return err
		}
	}
	var b rtnl.Batch
	const loopback = 1 // LOOPBACK_IFINDEX
	header(&b, unix.RTM_NEWLINK, 0, loopback, unix.IFF_UP)
	var optional []int
	switch v6 := p.has(unix.AF_INET6); {
	case !v6:
		genMode(&b, e.Name, addrGenModeNone)
		optional = []int{b.Len() - 1}
	case p.Guarded: // and knows one link-local address of the pod's
		genMode(&b, e.Name, addrGenModeEUI64)
	}
	header(&b, unix.RTM_NEWLINK, 0, e.Index, unix.IFF_UP)
	if err := s.number(&b, p, e, 0, taken); err != nil {
		return err
	}
	err = execute(s.Pod, &b, optional...)
	if !errors.Is(err, unix.EACCES) || !p.has(unix.AF_INET6) {
		return err
	}
	// Whoever made the namespace switched IPv6 off in it, as container managers
	// do that know of no IPv6. What is left to do begins with that address.
	if err := rtnl.Within(p.Netns, func() error { return writeSysctl("/proc/sys/net/ipv6/conf/"+e.Name+"/disable_ipv6", "0") }); err != nil {
		return err
	}
	b.Reset()
	first := slices.IndexFunc(p.Addrs, func(a netip.Prefix) bool { return a.Addr().Is6() })
	if err := s.number(&b, p, e, first, taken); err != nil {
		return err
	}
	return execute(s.Pod, &b)
}

// number adds the messages of a pod's addresses, from the first on, each followed
// by its routes.
func (s Sockets) number(b *rtnl.Batch, p *Pod, e *End, first int, taken defaults) error {
	for i := first; i < len(p.Addrs); i++ {
		address(b, e.Index, p.Addrs[i])
		if !taken.of(p.Addrs[i].Addr()) {
			route(b, e.Index, routeSpec{gateway: p.Gateways[i]})
		} else if err := s.source(b, e, p.Addrs[i], p.Gateways[i]); err != nil {
			return err
		}
	}
	return nil
}

// defaults says for which families a namespace has a default route.
type defaults struct{ v4, v6 bool }

func (d defaults) of(a netip.Addr) bool { return a.Is4() && d.v4 || a.Is6() && d.v6 }

func readDefaults(c *rtnl.Conn) (d defaults, err error) {
	err = dump(c, unix.RTM_GETROUTE, make([]byte, unix.SizeofRtMsg), func() { d = defaults{} }, func(m rtnl.Message) error {
		if len(m.Data) < unix.SizeofRtMsg || m.Data[1] != 0 || m.Data[4] != unix.RT_TABLE_MAIN || m.Data[7] != unix.RTN_UNICAST {
			return nil
		}
		d.v4 = d.v4 || m.Data[0] == unix.AF_INET
		d.v6 = d.v6 || m.Data[0] == unix.AF_INET6
		return nil
	})
	if err != nil {
		err = fmt.Errorf("list routes: %w", err)
	}
	return d, err
}

// A pod's second interface finds a default route there, which stays. What comes
// from the interface's own address leaves by a table of its own, or answers
// would go out of the other interface with this one's address:
//
//	ip rule add priority 15800 from ADDRESS lookup TABLE
//	ip route add SUBNET dev INTERFACE table TABLE
//	ip route add default via GATEWAY dev INTERFACE table TABLE
//
// The routes go with the interface. The rules stay, as DEL does not go into the
// pod's namespace; with an empty table they do nothing, and the next ADD of an
// interface of this name takes them out.
const (
	sourcePriority = 15800    // before main's, 32766
	sourceTables   = 15800000 // and up to 2^24 more
)

// SourceTable is the number of the routing table of an interface's own.
func SourceTable(iface string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(iface))
	return sourceTables + h.Sum32()&(1<<24-1)
}

// source adds the messages of one address.
func (s Sockets) source(b *rtnl.Batch, e *End, a netip.Prefix, gateway netip.Addr) error {
	table := SourceTable(e.Name)
	if err := s.forgetRules(b, table, family(gateway)); err != nil {
		return err
	}
	route(b, e.Index, routeSpec{dst: a.Masked(), table: table})
	route(b, e.Index, routeSpec{gateway: gateway, table: table})
	h := ruleHeader(family(gateway))
	h[2], h[7] = byte(a.Addr().BitLen()), unix.FR_ACT_TO_TBL
	b.Message(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	b.Addr(unix.FRA_SRC, a.Addr())
	b.U32(unix.FRA_PRIORITY, sourcePriority)
	b.U32(unix.FRA_TABLE, table)
	return nil
}

// forgetRules adds messages that take out the rules of an earlier interface.
func (s Sockets) forgetRules(b *rtnl.Batch, table uint32, family byte) error {
	var stale []netip.Addr
	h := ruleHeader(family)
	err := dump(s.Pod, unix.RTM_GETRULE, h, func() { stale = nil }, func(m rtnl.Message) error {
		var src netip.Addr
		var t, priority uint32
		err := rtnl.Attrs(m.Data[min(len(m.Data), len(h)):], func(typ uint16, v []byte) {
			switch typ {
			case unix.FRA_SRC:
				src = rtnl.Addr(v)
			case unix.FRA_TABLE:
				t = rtnl.U32(v)
			case unix.FRA_PRIORITY:
				priority = rtnl.U32(v)
			}
		})
		if t == table && priority == sourcePriority && src.IsValid() {
			stale = append(stale, src)
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("list routing rules: %w", err)
	}
	for _, src := range stale {
		h := ruleHeader(family)
		h[2], h[7] = byte(src.BitLen()), unix.FR_ACT_TO_TBL
		b.Message(unix.RTM_DELRULE, 0, h)
		b.Addr(unix.FRA_SRC, src)
		b.U32(unix.FRA_PRIORITY, sourcePriority)
		b.U32(unix.FRA_TABLE, table)
	}
	return nil
}

// ruleHeader is struct fib_rule_hdr, not in x/sys.
func ruleHeader(family byte) []byte {
	h := make([]byte, 12)
	h[0] = family
	return h
}

// routeSpec is a route through the pod's interface.
type routeSpec struct {
	dst     netip.Prefix // zero: the default route
	gateway netip.Addr   // zero: dst is on the link
	table   uint32       // 0: main
}

func route(b *rtnl.Batch, index uint32, r routeSpec) {
	h := make([]byte, unix.SizeofRtMsg)
	h[4], h[5], h[7] = unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RTN_UNICAST
	if r.gateway.IsValid() {
		h[0] = family(r.gateway)
	} else {
		h[0], h[1], h[6] = family(r.dst.Addr()), byte(r.dst.Bits()), unix.RT_SCOPE_LINK
	}
	b.Message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	b.U32(unix.RTA_OIF, index)
	if r.gateway.IsValid() {
		b.Addr(unix.RTA_GATEWAY, r.gateway)
	} else {
		b.Addr(unix.RTA_DST, r.dst.Addr())
	}
	if r.table != 0 {
		b.U32(unix.RTA_TABLE, r.table)
	}
}
