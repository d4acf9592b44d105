package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"
	"golang.org/x/time/rate"
)

const (
	tcpPort  = 7118
	tcpChunk = 16 << 10
)

// TCPReport is what a stream saw.
type TCPReport struct {
	Sent, Received int64  // bytes
	Retransmits    uint32 // segments, from TCP_INFO
	// Spurious are those of them that had arrived the first time: the receiver
	// has said so (RFC 2883).
	Spurious     uint32
	LongestStall time.Duration
	PathMTU      uint32
}

// Stream is a TCP connection that carries data at a bounded rate.
type Stream struct {
	client   *net.TCPConn
	listener *net.TCPListener
	group    errgroup.Group
	stop     context.CancelFunc
	sent     atomic.Int64
	received atomic.Int64
	stall    atomic.Int64 // nanoseconds
}

// StartTCP connects two endpoints in the family of the address to and sends
// bytesPerSecond (at least 64 KiB/s) until Stop.
func StartTCP(ctx context.Context, from, to *Namespace, addr netip.Addr, bytesPerSecond int) (*Stream, error) {
	at := netip.AddrPortFrom(addr, tcpPort)
	l, err := to.ListenTCP(at)
	if err != nil {
		return nil, fmt.Errorf("tcp probe: %w", err)
	}
	dial, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := from.Dial(dial, "tcp", at.String())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("tcp probe: %w", err), l.Close())
	}
	s := &Stream{client: conn.(*net.TCPConn), listener: l}
	ctx, s.stop = context.WithCancel(ctx)
	s.group.Go(s.receive)
	s.group.Go(func() error { return s.send(ctx, max(bytesPerSecond, 4*tcpChunk)) })
	return s, nil
}

func (s *Stream) send(ctx context.Context, bytesPerSecond int) error {
	limit := rate.NewLimiter(rate.Limit(bytesPerSecond), tcpChunk)
	buf := make([]byte, tcpChunk)
	for limit.WaitN(ctx, len(buf)) == nil {
		n, err := s.client.Write(buf)
		s.sent.Add(int64(n))
		if err != nil {
			return fmt.Errorf("tcp probe: %w", err)
		}
	}
	return s.client.CloseWrite()
}

func (s *Stream) receive() error {
	conn, err := s.listener.AcceptTCP()
	if err != nil {
		return fmt.Errorf("tcp probe: %w", err)
	}
	defer conn.Close()
	buf := make([]byte, 64<<10)
	for last := time.Now(); ; {
		n, err := conn.Read(buf)
		now := time.Now()
		s.received.Add(int64(n))
		s.stall.Store(max(s.stall.Load(), int64(now.Sub(last))))
		last = now
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("tcp probe: %w", err)
		}
	}
}

// Received is the number of bytes that have arrived so far.
func (s *Stream) Received() int64 { return s.received.Load() }

// Stop ends the stream in order, waits at most 10 s for the rest of the data
// to arrive, and reports.
func (s *Stream) Stop() (TCPReport, error) {
	s.stop()
	_ = s.client.SetDeadline(time.Now().Add(10 * time.Second))
	rescue := time.AfterFunc(10*time.Second, func() { s.client.Close(); s.listener.Close() })
	err := s.group.Wait()
	rescue.Stop()
	r := TCPReport{Sent: s.sent.Load(), Received: s.received.Load(), LongestStall: time.Duration(s.stall.Load())}
	if info, e := s.info(); e == nil {
		r.Retransmits, r.Spurious, r.PathMTU = info.Total_retrans, info.Dsack_dups, info.Pmtu
	} else {
		err = errors.Join(err, e)
	}
	return r, errors.Join(err, s.client.Close(), s.listener.Close())
}

func (s *Stream) info() (info *unix.TCPInfo, err error) {
	raw, err := s.client.SyscallConn()
	if err != nil {
		return nil, err
	}
	e := raw.Control(func(fd uintptr) { info, err = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) })
	return info, errors.Join(e, err)
}
