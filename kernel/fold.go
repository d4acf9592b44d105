package kernel

import (
	"errors"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// drain takes in the notifications that are queued.
func (h *Host) drain() error {
	for {
		err := h.events.Drain(func(m rtnl.Message) { h.fold(m, false) })
		if err == nil {
			break
		}
		if !errors.Is(err, rtnl.ErrOverrun) {
			return err
		}
		h.stale, h.staleSysctl, h.staleHost = true, true, true
		h.state.reach++
	}
	for {
		err := h.natEvent.Drain(h.foldNAT)
		if err == nil {
			return nil
		}
		if !errors.Is(err, rtnl.ErrOverrun) {
			return err
		}
		h.staleNAT = true
	}
}

// fold takes in one message, of a dump or a notification. It is the one place
// where state learns what the kernel holds, but for sysctls and nftables.
//
// A notification that something happened that makes the kernel drop objects
// silently (a device goes down: net/ipv4/fib_frontend.c, fib_disable_ip, and
// net/ipv4/nexthop.c, nexthop_flush_dev) marks everything stale.
func (h *Host) fold(m rtnl.Message, dumping bool) {
	stale := false
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if !dumping {
			h.state.foldReach(m.Data)
		}
		stale = h.state.foldRoute(m.Type, m.Data, dumping)
	case unix.RTM_NEWNEIGH, unix.RTM_DELNEIGH:
		h.state.foldNeigh(m.Type, m.Data)
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		stale = h.state.foldNexthop(m.Type, m.Data, dumping)
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		stale = h.state.foldAddr(m.Type, m.Data, dumping)
	case unix.RTM_NEWLINK:
		stale = h.state.foldLink(m.Data)
	case unix.RTM_DELLINK:
		stale = h.state.dropLink(m.Data)
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		h.state.reach++
	case unix.RTM_NEWNETCONF:
		h.staleSysctl = h.staleSysctl || h.state.concerns(m.Data)
	}
	if stale && !dumping {
		h.stale, h.staleSysctl = true, true
	}
}

// concerns reports whether a notification of altered sysctls (struct
// netconfmsg) is about all devices, the default, or one that is watched. Every
// device that is made sends some.
func (s *state) concerns(data []byte) bool {
	const (
		header  = 4 // ncm_family, padded (net/ipv4/devinet.c, inet_netconf_fill_devconf)
		ifindex = 1 // NETCONFA_IFINDEX; negative: NETCONFA_IFINDEX_ALL, _DEFAULT
	)
	if len(data) < header {
		return false
	}
	concerned := true
	_ = rtnl.Attrs(data[header:], func(typ uint16, v []byte) {
		if index := int32(rtnl.U32(v)); typ == ifindex && index > 0 {
			i, known := s.ifaces.byIndex[index]
			concerned = known && s.watches(i)
		}
	})
	return concerned
}
