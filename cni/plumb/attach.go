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

// Pod is what Attach connects.
type Pod struct {
	ipam.Attachment
	Addrs []netip.Prefix // with the subnets' lengths
	// Gateways are the bridge's addresses in the same subnets.
	Gateways []netip.Addr
	MTU      int
	Netns    int // descriptor of the pod's namespace
	// Hardware is the pod's MAC address where the runtime asked for a certain
	// one; zero: it follows from the IP address.
	Hardware fabric.MAC
	// Hairpin lets the bridge send a frame back out of the port it came from.
	Hairpin bool
	// Isolated keeps frames from other isolated ports of the bridge away.
	Isolated bool
	// Guarded drops what the pod sends with another's MAC or IP address.
	Guarded bool
	// Sysctls are set in the pod's namespace: net.* keys, with dots, to values.
	Sysctls map[string]string
}

// MAC is the pod's address on the bridge. It follows from the IP address, so
// that neighbours that remember an address from its last pod are right.
func (p *Pod) MAC() fabric.MAC {
	for _, a := range p.Addrs {
		if a.Addr().Is4() {
			b := a.Addr().As4()
			return fabric.MAC{0x0a, 0x58, b[0], b[1], b[2], b[3]}
		}
	}
	return fabric.DeriveMAC("pod", p.Addrs[0].Addr().String())
}

// hostMAC is the address of the pod's interface on the host. Nobody talks to
// it; being ours, it need not be asked for.
func (p *Pod) hostMAC() fabric.MAC { return fabric.DeriveMAC("port", p.HostInterface()) }

// End is one interface of an attachment.
type End struct {
	Index uint32
	Name  string
	MAC   fabric.MAC
}

// Ends are a pod's two interfaces.
type Ends struct{ Host, Pod End }

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
// leaves nothing behind.
func (s Sockets) Attach(p *Pod, bridge *Link) (Ends, error) {
	e := Ends{Host: End{Name: p.HostInterface(), MAC: p.hostMAC()}, Pod: End{Name: p.Interface, MAC: p.MAC()}}
	var b rtnl.Batch
	p.pair(&b, e, bridge.Index)
	quiet(&b, e.Host.Name)
	optional := []int{b.Len() - 1}
	header(&b, unix.RTM_NEWLINK, 0, 0, unix.IFF_UP)
	b.String(unix.IFLA_IFNAME, e.Host.Name)
	b.String(unix.IFLA_IFALIAS, alias(p.Attachment, p.Addrs))
	for _, a := range p.Addrs {
		forget(&b, bridge.Index, a.Addr())
		optional = append(optional, b.Len()-1)
	}
	errs, err := s.Host.Execute(&b)
	if err == nil && errs[0] != nil {
		return Ends{}, pairError(errs[0], p.Interface, bridge.Name) // there is nothing to undo
	}
	for _, i := range optional {
		errs[i] = nil
	}
	var lookErr error
	e.Host.Index, lookErr = index(s.Host, e.Host.Name)
	if err = errors.Join(err, errors.Join(errs...), lookErr); err != nil {
		return Ends{}, errors.Join(fmt.Errorf("interface %s: %w", e.Host.Name, err), s.Undo(e))
	}
	if err := s.configure(p, &e.Pod); err != nil {
		return Ends{}, errors.Join(fmt.Errorf("interface %s in the container: %w", p.Interface, err), s.Undo(e))
	}
	return e, nil
}

// Undo removes what Attach made, by index: the name may be a later ADD's by now.
func (s Sockets) Undo(e Ends) error {
	if e.Host.Index == 0 {
		return nil
	}
	return deleteLink(s.Host, e.Host.Index)
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

// configure brings the pod's end up and gives it its addresses and routes.
func (s Sockets) configure(p *Pod, e *End) (err error) {
	if e.Index, err = index(s.Pod, e.Name); err != nil {
		return err
	}
	var b rtnl.Batch
	const loopback = 1 // LOOPBACK_IFINDEX
	header(&b, unix.RTM_NEWLINK, 0, loopback, unix.IFF_UP)
	var optional []int
	if !p.has(unix.AF_INET6) {
		optional = []int{b.Len()}
		quiet(&b, e.Name)
	}
	header(&b, unix.RTM_NEWLINK, 0, e.Index, unix.IFF_UP)
	for _, a := range p.Addrs {
		address(&b, e.Index, a)
	}
	for _, g := range p.Gateways {
		defaultRoute(&b, e.Index, g)
	}
	return execute(s.Pod, &b, optional...)
}

func (p *Pod) has(f byte) bool {
	for _, a := range p.Addrs {
		if family(a.Addr()) == f {
			return true
		}
	}
	return false
}

func defaultRoute(b *rtnl.Batch, index uint32, gateway netip.Addr) {
	h := make([]byte, unix.SizeofRtMsg)
	h[0], h[4], h[5], h[7] = family(gateway), unix.RT_TABLE_MAIN, unix.RTPROT_BOOT, unix.RTN_UNICAST
	b.Message(unix.RTM_NEWROUTE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	b.U32(unix.RTA_OIF, index)
	b.Addr(unix.RTA_GATEWAY, gateway)
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

// Detach removes the attachment's interfaces. None is not an error, and an
// interface that was not made for it stays.
func Detach(a ipam.Attachment) error {
	c, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := GetLink(c, a.HostInterface())
	if err != nil || l == nil || errors.Is(ours(l, a), ErrNotOurs) {
		return err
	}
	if err := deleteLink(c, l.Index); err != nil {
		return fmt.Errorf("remove interface %s: %w", l.Name, err)
	}
	return nil
}
