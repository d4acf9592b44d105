package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// linkMark is the alias of every device that weft made. It is set in the same
// system call that makes the device; a device without it is somebody else's,
// whatever its name.
const linkMark = "weft"

const addrGenModeNone = 1 // IN6_ADDR_GEN_MODE_NONE, not in x/sys

// device is the value of a link: what Link asks for, and what weft wants of
// every device. vxlan is without DF: what differs in it cannot be changed.
type device struct {
	kind  LinkKind
	mac   fabric.MAC
	mtu   int
	vxlan VXLANConfig
	up    bool
	// learning: a VXLAN device learns peers from packets, a bridge learns from
	// them which port wants which group (multicast snooping). Of a bridge pods
	// could misuse it: who sends a querier's message becomes the router that
	// gets everybody's groups, and who has not heard it loses his.
	learning bool
	df       uint8
	quiet    bool // VXLAN: no IPv6 link-local address of the kernel's choice
	marked   bool
}

// The don't-fragment bit of outer IPv4 packets (enum ifla_vxlan_df).
const (
	dfUnset = 0
	dfSet   = 1
)

func wantedDevice(l Link) device {
	d := device{kind: l.Kind, mac: l.MAC, mtu: l.MTU, vxlan: l.VXLAN, up: true, quiet: l.Kind == VXLAN, marked: true, df: dfUnset}
	if d.vxlan.DF {
		d.vxlan.DF, d.df = false, dfSet
	}
	return d
}

// linkMessage is what an RTM_NEWLINK says.
type linkMessage struct {
	device
	index int32
	flags uint32
	name  string
	alias string
	lower int32 // VXLAN: index of the uplink
	// external is true for a VXLAN device whose packets bring their VNI along.
	external bool
	iface    iface
}

func decodeLink(data []byte) (linkMessage, bool) {
	if len(data) < unix.SizeofIfInfomsg || data[0] != unix.AF_UNSPEC {
		return linkMessage{}, false // AF_BRIDGE says something of a port
	}
	l := linkMessage{index: int32(rtnl.U32(data[4:])), flags: rtnl.U32(data[8:])}
	master, hasINET6 := int32(0), false
	err := rtnl.Attrs(data[unix.SizeofIfInfomsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_IFNAME:
			l.name = rtnl.String(v)
		case unix.IFLA_MTU:
			l.mtu = int(rtnl.U32(v))
		case unix.IFLA_ADDRESS:
			copy(l.mac[:], v)
		case unix.IFLA_MASTER:
			master = int32(rtnl.U32(v))
		case unix.IFLA_IFALIAS:
			l.alias = rtnl.String(v)
		case unix.IFLA_LINKINFO:
			l.decodeInfo(v)
		case unix.IFLA_AF_SPEC:
			hasINET6 = l.decodeAddrGen(v)
		}
	})
	if l.kind != VXLAN {
		l.vxlan, l.quiet, l.df = VXLANConfig{}, false, dfUnset
	} else if !hasINET6 {
		l.quiet = true // IPv6 is off, or the MTU too small for it
	}
	l.up, l.marked = l.flags&unix.IFF_UP != 0, l.alias == linkMark
	l.iface = iface{name: l.name, carrier: hasCarrier(l.flags), loopback: l.flags&unix.IFF_LOOPBACK != 0, master: master}
	return l, err == nil && l.name != ""
}

func (l *linkMessage) decodeInfo(info []byte) {
	var kind string
	var data []byte
	_ = rtnl.Attrs(info, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_INFO_KIND:
			kind = rtnl.String(v)
		case unix.IFLA_INFO_DATA:
			data = v
		}
	})
	l.kind = LinkKind(kind)
	switch l.kind {
	case VXLAN:
		l.decodeVXLAN(data)
	case Bridge:
		_ = rtnl.Attrs(data, func(typ uint16, v []byte) {
			if typ == unix.IFLA_BR_MCAST_SNOOPING {
				l.learning = rtnl.U8(v) != 0
			}
		})
	}
}

func (l *linkMessage) decodeVXLAN(data []byte) {
	_ = rtnl.Attrs(data, func(typ uint16, v []byte) {
		switch typ {
		case unix.IFLA_VXLAN_ID:
			l.vxlan.VNI = rtnl.U32(v)
		case unix.IFLA_VXLAN_PORT:
			l.vxlan.Port = rtnl.U16BE(v)
		case unix.IFLA_VXLAN_LINK:
			l.lower = int32(rtnl.U32(v))
		case unix.IFLA_VXLAN_LOCAL, unix.IFLA_VXLAN_LOCAL6:
			l.vxlan.Local = rtnl.Addr(v)
		case unix.IFLA_VXLAN_LEARNING:
			l.learning = rtnl.U8(v) != 0
		case unix.IFLA_VXLAN_UDP_CSUM:
			l.vxlan.UDPChecksum = rtnl.U8(v) != 0
		case unix.IFLA_VXLAN_DF:
			l.df = rtnl.U8(v)
		case unix.IFLA_VXLAN_COLLECT_METADATA:
			l.external = rtnl.U8(v) != 0
		}
	})
}

// decodeAddrGen reports whether the device speaks IPv6 at all.
func (l *linkMessage) decodeAddrGen(spec []byte) (ok bool) {
	_ = rtnl.Attrs(spec, func(family uint16, v []byte) {
		if family != unix.AF_INET6 {
			return
		}
		ok = true
		_ = rtnl.Attrs(v, func(typ uint16, v []byte) {
			if typ == unix.IFLA_INET6_ADDR_GEN_MODE {
				l.quiet = rtnl.U8(v) == addrGenModeNone
			}
		})
	})
	return ok
}

// foldLink takes in that a device is there, and reports whether that may have
// made the kernel drop objects without saying so.
func (s *state) foldLink(data []byte) (stale bool) {
	l, ok := decodeLink(data)
	if !ok {
		return false
	}
	before, known := s.ifaces.byIndex[l.index]
	if known && before.name != l.name {
		s.links.dropActual(before.name)
		delete(s.foreign.links, before.name)
		stale = s.watches(before)
	}
	if before.carrier != l.iface.carrier || before.name != l.name && l.iface.carrier {
		s.linkNews(l.name)
	}
	l.iface.own = l.owner(before)
	s.ifaces.set(l.index, l.iface)
	altered := s.foldOwnLink(l)
	if !s.watches(l.iface) {
		return stale
	}
	return stale || altered || !known || before.carrier != l.iface.carrier && l.kind != Bridge
}

// owner is the kind of the device if it is weft's own. One that was ours
// stays ours when somebody takes the mark off.
func (l *linkMessage) owner(before iface) LinkKind {
	if !strings.HasPrefix(l.name, Prefix) || l.kind != VXLAN && l.kind != Bridge || !l.marked && before.own != l.kind {
		return ""
	}
	return l.kind
}

// foldOwnLink enters a device with a name of ours as ours or as in our way,
// and reports whether ours is not what it was.
func (s *state) foldOwnLink(l linkMessage) (altered bool) {
	switch {
	case l.iface.own != "":
		l.vxlan.Uplink = s.ifaces.name(l.lower)
		e := s.links.find(l.name)
		altered = e == nil || !e.present || e.actual != l.device
		s.links.setActual(l.name, l.device)
		delete(s.foreign.links, l.name)
	case strings.HasPrefix(l.name, Prefix):
		s.links.dropActual(l.name)
		s.foreign.links[l.name] = fmt.Sprintf("a device of kind %q without alias %q", string(l.kind), linkMark)
	}
	return altered
}

// linkNews counts a change that Reach knows of.
func (s *state) linkNews(name string) {
	if !strings.HasPrefix(name, Prefix) {
		s.reach++
	}
}

// dropLink takes in that a device is gone.
func (s *state) dropLink(data []byte) (stale bool) {
	l, ok := decodeLink(data)
	if !ok {
		return false
	}
	gone, known := s.ifaces.byIndex[l.index]
	s.ifaces.drop(l.index)
	if !known {
		return false
	}
	s.linkNews(gone.name)
	for a := range s.hostAddrs {
		if a.index == l.index {
			delete(s.hostAddrs, a)
		}
	}
	if _, again := s.ifaces.byName[gone.name]; !again {
		s.links.dropActual(gone.name)
		delete(s.foreign.links, gone.name)
	}
	return s.watches(gone)
}

// watches reports whether objects of ours lie on the device, or are to. A name
// alone says nothing: the host ends of pods' veths begin like ours, and come
// and go all the time.
func (s *state) watches(i iface) bool { return i.own != "" || s.ifaces.watched[i.name] }

// resolveUplinks names the uplinks of our VXLAN devices once a dump has shown
// all devices: one may come after the device that uses it.
func (s *state) resolveUplinks(lowers map[string]int32) {
	for name, lower := range lowers {
		if e := s.links.find(name); e != nil && e.present && e.actual.kind == VXLAN {
			d := e.actual
			d.vxlan.Uplink = s.ifaces.name(lower)
			s.links.setActual(name, d)
		}
	}
}

// linkVerb: only what cannot be altered in a living device makes it anew.
func (s *state) linkVerb(e *entry[string, device]) (verb, bool) {
	switch _, taken := s.foreign.links[e.key]; {
	case !e.present:
		return create, !taken
	case e.want.kind != e.actual.kind || e.want.vxlan != e.actual.vxlan:
		return remake, true
	}
	return change, true
}

// linkStays: a bridge with ports is never removed, because its pods would
// lose their network; it goes when they have gone.
func (s *state) linkStays(e *entry[string, device]) bool { return s.ifaces.hasPorts(e.key) }
