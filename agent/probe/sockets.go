package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// sockets is the wire: a packet socket, by which requests leave through any
// device for any MAC; a raw ICMP socket per family, which hears echo replies
// and hints; and a UDP socket per family at the agents' port, which hears
// requests and answers.
type sockets struct {
	*Prober
	packets int
	icmp    fabric.PerFamily[*net.IPConn] // nil: the host has no such sockets
	udp     fabric.PerFamily[*net.UDPConn]
	at      uint16                   // the port that udp is at
	said    fabric.PerFamily[string] // what was said of a port that cannot be had
	limit   limit                    // of answers
	done    chan struct{}
	readers sync.WaitGroup
}

// openSockets opens them in the calling thread's network namespace, all but
// those at the port. It fails where this process may not have them.
func openSockets(p *Prober) (wire, error) {
	// With protocol 0 it receives nothing.
	packets, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	s := &sockets{Prober: p, packets: packets, done: make(chan struct{}), limit: limit{window: newWindow(answerRate)}}
	var errs []error
	for _, f := range fabric.Families {
		c, err := listenICMP(f)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.icmp.Set(f, c)
		s.readers.Go(func() { s.readICMP(f, c) })
	}
	if len(errs) == len(fabric.Families) {
		s.close()
		return nil, errors.Join(errs...)
	}
	return s, nil
}

// listenICMP opens a raw socket for what concerns probes.
func listenICMP(f fabric.Family) (*net.IPConn, error) {
	network, any := "ip4:icmp", netip.IPv4Unspecified()
	if f == fabric.IPv6 {
		network, any = "ip6:ipv6-icmp", netip.IPv6Unspecified()
	}
	c, err := net.ListenIP(network, &net.IPAddr{IP: any.AsSlice()})
	if err != nil {
		return nil, fmt.Errorf("raw ICMP socket: %w", err)
	}
	if err := control(c, func(fd int) error { return filterICMP(f, fd) }); err != nil {
		c.Close()
		return nil, fmt.Errorf("ICMP filter of %s: %w", f, err)
	}
	return c, nil
}

// control does something to a connection's socket.
func control(c syscall.Conn, do func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var done error
	err = raw.Control(func(fd uintptr) { done = do(int(fd)) })
	return errors.Join(err, done)
}

// filterICMP lets a raw socket hear only the types that parseICMP reads: a host
// hears a lot of neighbour discovery.
func filterICMP(f fabric.Family, fd int) error {
	if f == fabric.IPv4 {
		const icmpFilter = 1                                        // ICMP_FILTER (linux/icmp.h), not in x/sys
		blocked := ^(int32(1)<<echoReply4 | int32(1)<<unreachable4) // a bit per type
		return unix.SetsockoptInt(fd, unix.SOL_RAW, icmpFilter, int(blocked))
	}
	var filter unix.ICMPv6Filter
	for i := range filter.Data {
		filter.Data[i] = ^uint32(0)
	}
	for _, typ := range []int{echoReply6, tooBig6} {
		filter.Data[typ/32] &^= 1 << (typ % 32)
	}
	return unix.SetsockoptICMPv6Filter(fd, unix.SOL_ICMPV6, unix.ICMPV6_FILTER, &filter)
}

func (s *sockets) can(m method, f fabric.Family) bool {
	if m == byKernel {
		return s.icmp.Get(f) != nil
	}
	return s.udp.Get(f) != nil
}

func (s *sockets) send(p packet, link string, mac fabric.MAC) error {
	ifr, err := unix.NewIfreq(link)
	if err != nil {
		return fmt.Errorf("device %q: %w", link, err)
	}
	if err := unix.IoctlIfreq(s.packets, unix.SIOCGIFINDEX, ifr); err != nil {
		return fmt.Errorf("device %s: %w", link, err)
	}
	to := unix.SockaddrLinklayer{Protocol: ethertype(p.to), Ifindex: int(ifr.Uint32()), Halen: uint8(len(mac))}
	copy(to.Addr[:], mac[:])
	if err := unix.Sendto(s.packets, p.marshal(), 0, &to); err != nil {
		return fmt.Errorf("send %d bytes to %s by %s: %w", p.size, p.to, link, err)
	}
	return nil
}

func (s *sockets) forget(hosts []netip.Addr) {
	if _, err := kernel.ForgetPathMTU(hosts...); err != nil {
		s.o.Log.WithError(err).Debug("path MTU cannot be forgotten")
	}
}

// ethertype is the protocol number of an address's family in network order.
func ethertype(a netip.Addr) uint16 {
	if a.Is4() {
		return htons(unix.ETH_P_IP)
	}
	return htons(unix.ETH_P_IPV6)
}

func (s *sockets) readICMP(f fabric.Family, c *net.IPConn) {
	buf := make([]byte, 256) // headers, and the headers that errors quote
	for {
		n, from, err := c.ReadFromIP(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an error that was queued; it is gone by now
		}
		m, ok := parseICMP(f, buf[:n])
		addr, valid := netip.AddrFromSlice(from.IP)
		switch {
		case !ok || !valid:
		case m.hint.to.IsValid():
			s.tell(m.hint)
		default:
			s.reply(reply{nonce: m.nonce, from: addr.Unmap(), at: time.Now()})
		}
	}
}

func (s *sockets) reply(a reply) {
	select {
	case s.replies <- a:
	case <-s.done:
	}
}

// tell passes a hint on; where there are too many, the next ones will do.
func (s *sockets) tell(h hint) {
	select {
	case s.hints <- h:
	default:
	}
}

func (s *sockets) close() {
	close(s.done)
	unix.Close(s.packets)
	for _, f := range fabric.Families {
		if c := s.icmp.Get(f); c != nil {
			c.Close()
		}
		if c := s.udp.Get(f); c != nil {
			c.Close()
		}
	}
	s.readers.Wait()
}
