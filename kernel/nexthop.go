package kernel

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

const (
	sizeofNhMsg  = 8 // struct nhmsg: family, scope, protocol, pad, flags
	nexthopRange = 1 << 24
	nhaFDB       = 11 // NHA_FDB, not in x/sys
	rtaNexthopID = 30 // RTA_NH_ID, not in x/sys
)

// gateway is the value of a nexthop object.
type gateway struct {
	link   string
	addr   netip.Addr
	onLink bool
}

func wantedGateway(n Nexthop) gateway {
	return gateway{link: n.Link, addr: n.Gateway.Unmap(), onLink: n.OnLink}
}

// foldNexthop takes in a nexthop object that came, changed or went. When one
// goes that is wanted, its routes may have gone without a word
// (net/ipv4/nexthop.c, __remove_nexthop_fib).
func (s *state) foldNexthop(typ uint16, data []byte, dumping bool) (stale bool) {
	if len(data) < sizeofNhMsg {
		return false
	}
	protocol, flags := data[2], rtnl.U32(data[4:])
	var id, oif uint32
	g := gateway{onLink: flags&unix.RTNH_F_ONLINK != 0}
	odd := false
	err := rtnl.Attrs(data[sizeofNhMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NHA_ID:
			id = rtnl.U32(v)
		case unix.NHA_OIF:
			oif = rtnl.U32(v)
		case unix.NHA_GATEWAY:
			g.addr = rtnl.Addr(v)
		case unix.NHA_GROUP, unix.NHA_BLACKHOLE, unix.NHA_ENCAP, nhaFDB:
			odd = true
		}
	})
	if err != nil || id&^uint32(nexthopRange-1) != nexthopBase {
		return false
	}
	if odd {
		g.addr = netip.Addr{} // nothing that could be wanted
	}
	g.link = s.ifaces.name(int32(oif))
	e := s.nexthops.find(id)
	wanted := e != nil && e.wanted
	switch {
	case typ == unix.RTM_DELNEXTHOP:
		s.nexthops.dropActual(id)
		return wanted || s.foreign.nexthops[id] != ""
	case protocol != Protocol:
		s.nexthops.dropActual(id)
		s.foreign.nexthops[id] = fmt.Sprintf("a nexthop of protocol %d", protocol)
		return wanted && !dumping
	}
	s.nexthops.setActual(id, g)
	return false
}

func (s *state) nexthopVerb(e *entry[uint32, gateway]) (verb, bool) {
	switch {
	case !e.present:
		return create, s.foreign.nexthops[e.key] == ""
	case e.stuck:
		return remake, true
	}
	return change, true
}

// encodeNexthop: a change is one message, so that all routes through the
// object move at once.
func encodeNexthop(b *rtnl.Batch, f *ifaces, v verb, e *entry[uint32, gateway]) error {
	if v == destroy {
		nexthopHeader(b, unix.RTM_DELNEXTHOP, 0, unix.AF_UNSPEC, 0)
		b.U32(unix.NHA_ID, e.key)
		return nil
	}
	index, err := f.index(e.want.link)
	if err != nil {
		return err
	}
	if !e.want.addr.IsValid() {
		return errors.New("it has no gateway")
	}
	nl, flags := uint16(unix.NLM_F_CREATE|unix.NLM_F_EXCL), uint32(0)
	if v == change {
		nl = unix.NLM_F_REPLACE
	}
	if e.want.onLink {
		flags = unix.RTNH_F_ONLINK
	}
	nexthopHeader(b, unix.RTM_NEWNEXTHOP, nl, family(e.want.addr), flags)
	b.U32(unix.NHA_ID, e.key)
	b.U32(unix.NHA_OIF, index)
	b.Addr(unix.NHA_GATEWAY, e.want.addr)
	return nil
}

func nexthopHeader(b *rtnl.Batch, typ, nl uint16, family uint8, flags uint32) {
	var h [sizeofNhMsg]byte
	h[0] = family
	if typ == unix.RTM_NEWNEXTHOP {
		h[2] = Protocol
	}
	native.PutUint32(h[4:], flags)
	b.Message(typ, nl, h[:])
}
