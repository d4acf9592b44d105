package probe

import (
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// answerRate bounds the requests that are answered, per second. An answer is
// small, and all peers may ask at once; those beyond the bound ask the kernel.
const answerRate = 1000

// limit is a window for several goroutines.
type limit struct {
	mu     sync.Mutex // guards window
	window window
}

func (l *limit) allow(now time.Time) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.window.wait(now) > 0 {
		return false
	}
	l.window.take(now)
	return true
}

// tend keeps the UDP sockets at the port; one that somebody else has is asked
// for again each time.
func (s *sockets) tend(port uint16) {
	for _, f := range fabric.Families {
		have := s.udp.Get(f)
		if have != nil && s.at == port {
			continue
		}
		if have != nil {
			have.Close()
			s.udp.Set(f, nil)
		}
		c, err := listenUDP(f, port)
		if err != nil {
			s.complain(f, err)
			continue
		}
		s.said.Set(f, "")
		s.udp.Set(f, c)
		s.readers.Go(func() { s.readUDP(c) })
	}
	s.at = port
}

// complain says once that nobody can be heard at the port. A host without IPv6
// is no reason to.
func (s *sockets) complain(f fabric.Family, err error) {
	if errors.Is(err, unix.EAFNOSUPPORT) || s.said.Get(f) == err.Error() {
		return
	}
	s.said.Set(f, err.Error())
	s.o.Log.WithField("family", f).WithError(err).Warn("peers' probes are not answered by the agent")
}

// listenUDP opens a socket that says to which address packets came: an answer
// must come from there.
func listenUDP(f fabric.Family, port uint16) (*net.UDPConn, error) {
	network, level, option := "udp4", unix.SOL_IP, unix.IP_PKTINFO
	if f == fabric.IPv6 {
		network, level, option = "udp6", unix.SOL_IPV6, unix.IPV6_RECVPKTINFO
	}
	c, err := net.ListenUDP(network, &net.UDPAddr{Port: int(port)})
	if err != nil {
		return nil, err
	}
	if err := control(c, func(fd int) error { return unix.SetsockoptInt(fd, level, option, 1) }); err != nil {
		c.Close()
		return nil, err
	}
	return c, nil
}

// readUDP answers requests and passes answers on, until the socket is closed.
func (s *sockets) readUDP(c *net.UDPConn) {
	var buf [2 * headerLen]byte // of the rest only the size matters, and that is written in it
	var control [128]byte
	for {
		n, m, _, from, err := c.ReadMsgUDPAddrPort(buf[:], control[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		h, ok := parseHeader(buf[:n])
		if err != nil || !ok {
			continue
		}
		peer := from.Addr().Unmap()
		if h.kind == answer {
			s.reply(reply{nonce: h.nonce, from: peer, at: time.Now()})
			continue
		}
		if !s.o.Known(peer) || !s.limit.allow(time.Now()) {
			s.counts.refused.Add(1)
			continue
		}
		h.kind = answer
		var out [headerLen]byte
		h.put(out[:])
		if _, _, err := c.WriteMsgUDPAddrPort(out[:], sourced(control[:m]), from); err == nil {
			s.counts.requests.Add(1)
		}
	}
}

// sourced is the control message that makes an answer come from the address
// that a request went to, nil: the kernel chooses.
func sourced(control []byte) []byte {
	to := arrivedAt(control)
	switch {
	case to.Is4():
		return unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: to.As4()})
	case to.Is6():
		return unix.PktInfo6(&unix.Inet6Pktinfo{Addr: to.As16()})
	}
	return nil
}

// arrivedAt reads struct in_pktinfo or in6_pktinfo: for IPv4 the local address
// in the middle of it, for IPv6 the address at its beginning.
func arrivedAt(control []byte) netip.Addr {
	for len(control) > 0 {
		head, data, rest, err := unix.ParseOneSocketControlMessage(control)
		switch {
		case err != nil:
			return netip.Addr{}
		case head.Level == unix.SOL_IP && head.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrFrom4([4]byte(data[4:8]))
		case head.Level == unix.SOL_IPV6 && head.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrFrom16([16]byte(data[:16]))
		}
		control = rest
	}
	return netip.Addr{}
}

// htons gives a number the byte order of the network.
func htons(v uint16) uint16 {
	var b [2]byte
	binary.BigEndian.PutUint16(b[:], v)
	return binary.NativeEndian.Uint16(b[:])
}
