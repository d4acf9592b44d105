package plumb

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Addresses lists the addresses of an interface with their lengths.
func Addresses(c *rtnl.Conn, index uint32) ([]netip.Prefix, error) {
	h := make([]byte, unix.SizeofIfAddrmsg)
	var out []netip.Prefix
	err := dump(c, unix.RTM_GETADDR, h, func() { out = nil }, func(m rtnl.Message) error {
		if len(m.Data) < len(h) || rtnl.U32(m.Data[4:]) != index {
			return nil
		}
		var local, addr netip.Addr
		err := rtnl.Attrs(m.Data[len(h):], func(typ uint16, v []byte) {
			switch typ {
			case unix.IFA_LOCAL:
				local = rtnl.Addr(v)
			case unix.IFA_ADDRESS:
				addr = rtnl.Addr(v)
			}
		})
		if !local.IsValid() {
			local = addr // IPv6 has no IFA_LOCAL without a peer
		}
		out = append(out, netip.PrefixFrom(local, int(m.Data[1])))
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return out, nil
}

// DefaultGateways lists the gateways of the default routes of the main table
// through an interface.
func DefaultGateways(c *rtnl.Conn, index uint32) ([]netip.Addr, error) {
	h := make([]byte, unix.SizeofRtMsg)
	var out []netip.Addr
	err := dump(c, unix.RTM_GETROUTE, h, func() { out = nil }, func(m rtnl.Message) error {
		if len(m.Data) < len(h) || m.Data[1] != 0 || m.Data[4] != unix.RT_TABLE_MAIN || m.Data[7] != unix.RTN_UNICAST {
			return nil
		}
		var gateway netip.Addr
		var oif uint32
		err := rtnl.Attrs(m.Data[len(h):], func(typ uint16, v []byte) {
			switch typ {
			case unix.RTA_GATEWAY:
				gateway = rtnl.Addr(v)
			case unix.RTA_OIF:
				oif = rtnl.U32(v)
			}
		})
		if oif == index {
			out = append(out, gateway)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return out, nil
}
