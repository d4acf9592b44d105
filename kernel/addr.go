package kernel

import (
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// decodeAddr reads an RTM_NEWADDR or RTM_DELADDR. ok is false for addresses
// that the kernel made by itself.
func decodeAddr(data []byte) (index int32, p netip.Prefix, ok bool) {
	if len(data) < unix.SizeofIfAddrmsg {
		return 0, p, false
	}
	family, bits, flags, scope := data[0], int(data[1]), uint32(data[2]), data[3]
	var local, address netip.Addr
	err := rtnl.Attrs(data[unix.SizeofIfAddrmsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFA_LOCAL:
			local = rtnl.Addr(v)
		case unix.IFA_ADDRESS:
			address = rtnl.Addr(v)
		case unix.IFA_FLAGS:
			flags = rtnl.U32(v)
		}
	})
	if !local.IsValid() { // IPv6 gives it only to addresses with a peer
		local = address
	}
	p = netip.PrefixFrom(local, bits)
	ok = err == nil && p.IsValid() && flags&unix.IFA_F_PERMANENT != 0 &&
		(family != unix.AF_INET6 || scope != unix.RT_SCOPE_LINK)
	return int32(rtnl.U32(data[4:])), p, ok
}

// foldAddr takes in an address that came or went on a device of ours.
func (s *state) foldAddr(typ uint16, data []byte, dumping bool) (stale bool) {
	index, p, ok := decodeAddr(data)
	if p.IsValid() {
		s.foldHostAddr(hostAddr{index, p.Addr()}, typ == unix.RTM_NEWADDR, dumping)
	}
	i := s.ifaces.byIndex[index]
	if i.own == "" {
		return false
	}
	key := Addr{Link: i.name, Prefix: p}
	switch {
	case typ == unix.RTM_DELADDR:
		e := s.addrs.find(key)
		s.addrs.dropActual(key)
		// Routes may have gone with it.
		return e != nil && e.wanted
	case ok:
		s.addrs.setActual(key, struct{}{})
	}
	return false
}

func encodeAddr(b *rtnl.Batch, f *ifaces, v verb, a Addr) error {
	index, err := f.index(a.Link)
	if err != nil {
		return err
	}
	typ, flags := uint16(unix.RTM_NEWADDR), uint16(unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	if v == destroy {
		typ, flags = unix.RTM_DELADDR, 0
	}
	local := a.Prefix.Addr()
	var h [unix.SizeofIfAddrmsg]byte
	h[0], h[1] = family(local), uint8(a.Prefix.Bits())
	native.PutUint32(h[4:], index)
	b.Message(typ, flags, h[:])
	b.Addr(unix.IFA_LOCAL, local)
	b.Addr(unix.IFA_ADDRESS, local)
	if v != destroy && local.Is6() {
		// Nobody else has it, by the lease: no second of silence to find out.
		b.U32(unix.IFA_FLAGS, unix.IFA_F_NODAD)
	}
	return nil
}

// family is the address family number of a.
func family(a netip.Addr) uint8 {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
