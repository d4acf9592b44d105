package plumb

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// MaxPorts is how many ports a bridge can have (net/bridge/br_private.h,
// BR_MAX_PORTS, of which number 0 is none).
const MaxPorts = 1<<10 - 1

// PortState is what the spanning tree lets a bridge's port do (linux/if_bridge.h).
type PortState byte

// The states of a port. Those in between pass by themselves.
const (
	PortDisabled PortState = iota
	PortListening
	PortLearning
	PortForwarding
	PortBlocked
)

func (s PortState) String() string {
	names := [...]string{"disabled", "listening", "learning", "forwarding", "blocked"}
	if int(s) < len(names) {
		return names[s]
	}
	return fmt.Sprintf("state %d", byte(s))
}

// Port is a veth interface: where its other end is and, on the host, what the
// bridge makes of it.
type Port struct {
	Link
	Peer     uint32 // index of the other end, in its own namespace
	State    PortState
	Hairpin  bool
	Isolated bool
}

// GetPort returns the interface called name, or nil if there is none.
func GetPort(c *rtnl.Conn, name string) (*Port, error) {
	var b rtnl.Batch
	header(&b, unix.RTM_GETLINK, 0, 0, 0)
	b.String(unix.IFLA_IFNAME, name)
	b.U32(unix.IFLA_EXT_MASK, skipStats)
	var p *Port
	err := c.Request(&b, func(m rtnl.Message) (err error) {
		p, err = decodePort(m.Data)
		return err
	})
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("look for interface %s: %w", name, err)
	}
	return p, nil
}

func decodePort(data []byte) (*Port, error) {
	l, err := decodeLink(data)
	if err != nil {
		return nil, err
	}
	p := &Port{Link: *l}
	err = rtnl.Attrs(data[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_LINK:
			p.Peer = rtnl.U32(v)
		case unix.IFLA_LINKINFO:
			_ = rtnl.Attrs(v, func(typ uint16, v []byte) {
				if typ == unix.IFLA_INFO_SLAVE_DATA {
					p.decodeSlave(v)
				}
			})
		}
	})
	return p, err
}

// decodeSlave reads what the bridge says of its port. What cannot be read
// stays zero, as on a port of another kind of device.
func (p *Port) decodeSlave(data []byte) {
	_ = rtnl.Attrs(data, func(typ uint16, v []byte) {
		if len(v) != 1 {
			return
		}
		switch typ {
		case unix.IFLA_BRPORT_STATE:
			p.State = PortState(v[0])
		case unix.IFLA_BRPORT_MODE:
			p.Hairpin = v[0] != 0
		case unix.IFLA_BRPORT_ISOLATED:
			p.Isolated = v[0] != 0
		}
	})
}

// Survey is what the host's interfaces say of a bridge and of the pods.
type Survey struct {
	Bridge *Link // nil: there is none of that name
	Ports  int   // of the bridge, whosever they are
	Pods   int   // interfaces of pods on this host, on whichever bridge
}

// Look surveys the interfaces of the socket's namespace in one dump.
func Look(c *rtnl.Conn, bridge string) (Survey, error) {
	var s Survey
	ports := map[uint32]int{}
	reset := func() { s = Survey{}; clear(ports) }
	err := dump(c, unix.RTM_GETLINK, ifinfo(0, 0), reset, func(m rtnl.Message) error {
		l, err := decodeLink(m.Data)
		if err != nil {
			return err
		}
		if l.Name == bridge {
			s.Bridge = l
		}
		if a, _, ok := parseAlias(l.Alias); ok && a.HostInterface() == l.Name {
			s.Pods++
		}
		ports[l.Master]++
		return nil
	})
	if err != nil {
		return Survey{}, fmt.Errorf("list interfaces: %w", err)
	}
	if s.Bridge != nil {
		s.Ports = ports[s.Bridge.Index]
	}
	return s, nil
}

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

// Route is a unicast route through one interface.
type Route struct {
	Dst     netip.Prefix
	Gateway netip.Addr // not valid: none
}

// Routes lists the routes through an interface, each with its tables: a later
// plugin of a chain may have moved them into one of its own.
func Routes(c *rtnl.Conn, index uint32) (map[Route][]uint32, error) {
	h := make([]byte, unix.SizeofRtMsg)
	var out map[Route][]uint32
	reset := func() { out = map[Route][]uint32{} }
	err := dump(c, unix.RTM_GETROUTE, h, reset, func(m rtnl.Message) error {
		if len(m.Data) < len(h) || m.Data[7] != unix.RTN_UNICAST {
			return nil
		}
		dst := unspecified(m.Data[0])
		var r Route
		oif, table := uint32(0), uint32(m.Data[4])
		err := rtnl.Attrs(m.Data[len(h):], func(typ uint16, v []byte) {
			switch typ {
			case unix.RTA_DST:
				dst = rtnl.Addr(v)
			case unix.RTA_GATEWAY:
				r.Gateway = rtnl.Addr(v)
			case unix.RTA_OIF:
				oif = rtnl.U32(v)
			case unix.RTA_TABLE:
				table = rtnl.U32(v)
			}
		})
		r.Dst = netip.PrefixFrom(dst, int(m.Data[1]))
		if oif == index {
			out[r] = append(out[r], table)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	return out, nil
}

// Rule sends what comes from a source to a routing table.
type Rule struct {
	Src   netip.Prefix
	Table uint32
}

// Rules lists the rules of both families that choose a table.
func Rules(c *rtnl.Conn) ([]Rule, error) {
	h := make([]byte, 12) // struct fib_rule_hdr, linux/fib_rules.h
	var out []Rule
	err := dump(c, unix.RTM_GETRULE, h, func() { out = nil }, func(m rtnl.Message) error {
		if len(m.Data) < len(h) || m.Data[0] != unix.AF_INET && m.Data[0] != unix.AF_INET6 {
			return nil
		}
		src := unspecified(m.Data[0])
		r := Rule{Table: uint32(m.Data[4])}
		err := rtnl.Attrs(m.Data[len(h):], func(typ uint16, v []byte) {
			switch typ {
			case unix.FRA_SRC:
				src = rtnl.Addr(v)
			case unix.FRA_TABLE:
				r.Table = rtnl.U32(v)
			}
		})
		r.Src = netip.PrefixFrom(src, int(m.Data[2]))
		out = append(out, r)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list rules: %w", err)
	}
	return out, nil
}

func unspecified(family byte) netip.Addr {
	if family == unix.AF_INET6 {
		return netip.IPv6Unspecified()
	}
	return netip.IPv4Unspecified()
}
