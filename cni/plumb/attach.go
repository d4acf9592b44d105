package plumb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// ErrTaken says that the pod has an interface of that name already.
var ErrTaken = errors.New("the container has an interface of this name already")

// ErrNotOurs says that an interface with the name that weft would use belongs
// to something else.
var ErrNotOurs = errors.New("the host interface belongs to something else")

// End is one interface of an attachment.
type End struct {
	Index uint32
	Name  string
	MAC   fabric.MAC
}

// Ends are a pod's two interfaces.
type Ends struct {
	Host, Pod  End
	attachment ipam.Attachment
}

// Sockets are open netlink sockets on both sides.
type Sockets struct{ Host, Pod *rtnl.Conn }

// DialBoth opens a socket in the calling thread's namespace and one in the pod's.
func DialBoth(netns int) (Sockets, error) {
	host, err := rtnl.Dial()
	if err != nil {
		return Sockets{}, err
	}
	pod, err := rtnl.DialIn(netns)
	if err != nil {
		return Sockets{}, errors.Join(err, host.Close())
	}
	return Sockets{Host: host, Pod: pod}, nil
}

// Close closes both.
func (s Sockets) Close() error { return errors.Join(s.Host.Close(), s.Pod.Close()) }

// Vacant makes room for an attachment: what an earlier ADD of the same
// attachment left on the host, killed or never followed by a DEL, goes. It
// changes nothing and returns ErrTaken or ErrNotOurs where something else
// stands in the way.
func (s Sockets) Vacant(a ipam.Attachment) error {
	old, err := GetLink(s.Host, a.HostInterface())
	if err != nil {
		return err
	}
	taken, err := GetLink(s.Pod, a.Interface)
	if err != nil {
		return err
	}
	if old != nil {
		if err := ours(old, a); err != nil {
			return err
		}
		if taken != nil && !peers(s.Pod, taken, old) {
			return ErrTaken
		}
		return deleteLink(s.Host, old.Index)
	}
	if taken != nil {
		return ErrTaken
	}
	return nil
}

// peers reports whether the pod's interface is the other end of the host's.
func peers(c *rtnl.Conn, pod, host *Link) bool {
	var b rtnl.Batch
	header(&b, unix.RTM_GETLINK, 0, pod.Index, 0)
	var peer uint32
	err := c.Request(&b, func(m rtnl.Message) error {
		return rtnl.Attrs(m.Data[min(len(m.Data), unix.SizeofIfInfomsg):], func(typ uint16, v []byte) {
			if typ == unix.IFLA_LINK {
				peer = rtnl.U32(v)
			}
		})
	})
	return err == nil && pod.Kind == "veth" && peer == host.Index
}

// ours reports as ErrNotOurs a host interface that was not made for a. One
// whose alias somebody took off is believed by its name, which nobody else
// would come up with.
func ours(l *Link, a ipam.Attachment) error {
	holder, _, ok := parseAlias(l.Alias)
	if bare := l.Alias == "" && l.Kind == "veth"; !bare && (!ok || holder != a) {
		return fmt.Errorf("%w: %s, kind %q, alias %q", ErrNotOurs, l.Name, l.Kind, l.Alias)
	}
	return nil
}

// Attach makes the pod's veth pair and configures both ends. Whatever fails, it
// leaves nothing behind. Errors to tell: ErrTaken, ErrMACTaken, ErrNoGuard, and
// EXFULL for a bridge without a free port.
func (s Sockets) Attach(p *Pod, bridge *Link) (Ends, error) {
	e := Ends{Host: End{Name: p.HostInterface(), MAC: p.hostMAC()}, Pod: End{Name: p.Interface, MAC: p.MAC()}, attachment: p.Attachment}
	if err := p.checkMAC(); err != nil {
		return Ends{}, err
	}
	if p.Guarded {
		// Before there is a port: it is never without.
		if err := AddGuard(GuardOf(p.Attachment, p.MAC(), p.Addrs)); err != nil {
			return Ends{}, fmt.Errorf("guard: %w", err)
		}
	}
	if err := s.connect(p, bridge, &e); err != nil {
		return Ends{}, errors.Join(err, s.Undo(e))
	}
	p.announce(bridge.Index)
	return e, nil
}

// connect makes what is on the host, then what is in the pod.
func (s Sockets) connect(p *Pod, bridge *Link, e *Ends) error {
	if err := s.makePair(p, bridge, e); err != nil {
		return err
	}
	if err := s.alone(p, bridge); err != nil {
		return err
	}
	if len(p.Sysctls) > 0 {
		if err := rtnl.Within(p.Netns, p.setSysctls); err != nil {
			return err
		}
	}
	if err := s.configure(p, &e.Pod); err != nil {
		return fmt.Errorf("interface %s in the container: %w", p.Interface, err)
	}
	return nil
}

// makePair makes both ends and sets up the host's.
func (s Sockets) makePair(p *Pod, bridge *Link, e *Ends) error {
	var b rtnl.Batch
	p.pair(&b, *e, bridge.Index)
	genMode(&b, e.Host.Name, addrGenModeNone)
	optional := []int{b.Len() - 1}
	p.port(&b, e.Host.Name)
	for _, a := range p.Addrs {
		forget(&b, bridge.Index, a.Addr())
		optional = append(optional, b.Len()-1)
	}
	errs, err := s.Host.Execute(&b)
	if err == nil && errs[0] != nil {
		return pairError(errs[0], p.Interface, bridge.Name)
	}
	for _, i := range optional {
		errs[i] = nil
	}
	var lookErr error
	e.Host.Index, lookErr = index(s.Host, e.Host.Name)
	if err = errors.Join(err, errors.Join(errs...), lookErr); err != nil {
		return fmt.Errorf("interface %s: %w", e.Host.Name, err)
	}
	return nil
}

// Undo removes what Attach made, by index: the name may be a later ADD's by
// now, and then so is the guard.
func (s Sockets) Undo(e Ends) error {
	if e.Host.Index != 0 {
		if err := deleteLink(s.Host, e.Host.Index); err != nil {
			return err
		}
	}
	if l, err := GetLink(s.Host, e.Host.Name); err != nil || l != nil {
		return err
	}
	return Unguard(e.attachment)
}

// pair adds the message that makes both ends: the host's as a port of the
// bridge, the pod's in the pod's namespace.
func (p *Pod) pair(b *rtnl.Batch, e Ends, bridge uint32) {
	header(b, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, 0)
	b.String(unix.IFLA_IFNAME, e.Host.Name)
	b.Bytes(unix.IFLA_ADDRESS, e.Host.MAC[:])
	b.U32(unix.IFLA_MTU, uint32(p.MTU))
	b.U32(unix.IFLA_MASTER, bridge)
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "veth")
	data := b.Nest(unix.IFLA_INFO_DATA)
	const vethInfoPeer = 1 // VETH_INFO_PEER, not in x/sys
	peer := b.NestRaw(vethInfoPeer, ifinfo(0, 0))
	b.String(unix.IFLA_IFNAME, e.Pod.Name)
	b.U32(unix.IFLA_MTU, uint32(p.MTU))
	b.Bytes(unix.IFLA_ADDRESS, e.Pod.MAC[:])
	b.U32(unix.IFLA_NET_NS_FD, uint32(p.Netns))
	b.End(peer)
	b.End(data)
	b.End(info)
}

// pairError explains what the kernel says of a veth pair that it did not make.
func pairError(err error, iface, bridge string) error {
	switch {
	case errors.Is(err, unix.EEXIST):
		return fmt.Errorf("%s: %w", iface, ErrTaken)
	case errors.Is(err, unix.EXFULL):
		return fmt.Errorf("bridge %s has as many ports as it can have: %w", bridge, err)
	}
	return fmt.Errorf("make interface pair: %w", err)
}

// groupsToGuard are the addresses 01:80:c2:00:00:0X that a bridge keeps for
// itself and for the protocols of its neighbours, all but that of PAUSE, whose
// frames no bridge passes on. Left as they are, frames to some of them are
// learnt from and handed to the host past every hook (net/bridge/br_input.c,
// br_handle_frame); as a port's "forward these too" they go the way of all
// frames, through the guard.
const groupsToGuard = 0xffff &^ (1 << 1)

// port adds the message that sets up the host's end, a port of the bridge.
func (p *Pod) port(b *rtnl.Batch, name string) {
	header(b, unix.RTM_NEWLINK, 0, 0, unix.IFF_UP)
	b.String(unix.IFLA_IFNAME, name)
	b.String(unix.IFLA_IFALIAS, p.alias())
	if !p.Guarded && !p.Hairpin && !p.Isolated {
		return
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_SLAVE_KIND, "bridge")
	data := b.Nest(unix.IFLA_INFO_SLAVE_DATA)
	if p.Hairpin {
		b.U8(unix.IFLA_BRPORT_MODE, 1)
	}
	if p.Isolated {
		b.U8(unix.IFLA_BRPORT_ISOLATED, 1)
	}
	if p.Guarded {
		b.U16(unix.IFLA_BRPORT_GROUP_FWD_MASK, groupsToGuard)
	}
	b.End(data)
	b.End(info)
}

// forget drops what the host remembers of an address's last pod: it may have
// given up on it.
func forget(b *rtnl.Batch, index uint32, a netip.Addr) {
	h := make([]byte, unix.SizeofNdMsg)
	h[0] = family(a)
	putIndex(h[4:], index)
	b.Message(unix.RTM_DELNEIGH, 0, h)
	b.Addr(unix.NDA_DST, a)
}

func putIndex(h []byte, index uint32) { binary.NativeEndian.PutUint32(h, index) }
