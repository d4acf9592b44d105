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

// nexthopMessage is what an RTM_NEWNEXTHOP or RTM_DELNEXTHOP says.
type nexthopMessage struct {
	id       uint32
	protocol uint8
	oif      int32
	gateway  gateway // less the device's name; no address: nothing that weft makes
	members  Group   // of a group
}

func decodeNexthop(data []byte) (n nexthopMessage, ok bool) {
	if len(data) < sizeofNhMsg {
		return n, false
	}
	n.protocol = data[2]
	n.gateway.onLink = rtnl.U32(data[4:])&unix.RTNH_F_ONLINK != 0
	odd, group := false, uint16(0)
	err := rtnl.Attrs(data[sizeofNhMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.NHA_ID:
			n.id = rtnl.U32(v)
		case unix.NHA_OIF:
			n.oif = int32(rtnl.U32(v))
		case unix.NHA_GATEWAY:
			n.gateway.addr = rtnl.Addr(v)
		case unix.NHA_GROUP:
			n.members = decodeGroup(v)
		case nhaGroupType:
			group = rtnl.U16(v)
		case unix.NHA_BLACKHOLE, unix.NHA_ENCAP, nhaFDB:
			odd = true
		}
	})
	if odd {
		n.gateway.addr = netip.Addr{}
	}
	if n.members != "" && (odd || group != 0) {
		n.members = strange
	}
	return n, err == nil
}

// foldNexthop takes in a nexthop object that came, changed or went. When one
// goes that is wanted, its routes may have gone without a word
// (net/ipv4/nexthop.c, __remove_nexthop_fib).
func (s *state) foldNexthop(typ uint16, data []byte, dumping bool) (stale bool) {
	n, ok := decodeNexthop(data)
	own := ok && ownNexthop(n.id)
	if !dumping && (!own || n.protocol != Protocol) {
		s.reach++ // somebody's route may lead there
	}
	if !own {
		return false
	}
	wanted := s.wantsNexthop(n.id)
	switch {
	case typ == unix.RTM_DELNEXTHOP:
		s.nexthops.dropActual(n.id)
		s.groups.dropActual(n.id)
		return wanted || s.foreign.nexthops[n.id] != ""
	case n.protocol != Protocol:
		s.nexthops.dropActual(n.id)
		s.groups.dropActual(n.id)
		s.foreign.nexthops[n.id] = fmt.Sprintf("a nexthop of protocol %d", n.protocol)
		return wanted && !dumping
	}
	delete(s.foreign.nexthops, n.id)
	if n.members != "" {
		s.nexthops.dropActual(n.id)
		s.groups.setActual(n.id, n.members)
		return false
	}
	n.gateway.link = s.ifaces.name(n.oif)
	s.groups.dropActual(n.id)
	s.nexthops.setActual(n.id, n.gateway)
	return false
}

func (s *state) wantsNexthop(id uint32) bool {
	if e := s.nexthops.find(id); e != nil && e.wanted {
		return true
	}
	e := s.groups.find(id)
	return e != nil && e.wanted
}

// becomesGateway and becomesGroup keep a plan from removing at its end what it
// put in the place of the other kind at the same id.
func (s *state) becomesGateway(e *entry[uint32, Group]) bool {
	n := s.nexthops.find(e.key)
	return n != nil && n.wanted
}

func (s *state) becomesGroup(e *entry[uint32, gateway]) bool {
	g := s.groups.find(e.key)
	return g != nil && g.wanted
}

func (s *state) nexthopVerb(e *entry[uint32, gateway]) (verb, bool) {
	group := s.groups.find(e.key)
	switch {
	case s.foreign.nexthops[e.key] != "":
		return 0, false
	case e.stuck || group != nil && group.present:
		return remake, true
	case e.present:
		return change, true
	}
	return create, true
}

// encodeNexthop: a change is one message, so that all routes through the
// object move at once.
func encodeNexthop(b *rtnl.Batch, f *ifaces, v verb, e *entry[uint32, gateway]) error {
	if v == destroy {
		encodeNexthopGone(b, e.key)
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

func encodeNexthopGone(b *rtnl.Batch, id uint32) {
	nexthopHeader(b, unix.RTM_DELNEXTHOP, 0, unix.AF_UNSPEC, 0)
	b.U32(unix.NHA_ID, id)
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
