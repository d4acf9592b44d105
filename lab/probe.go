package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// probePort is the UDP port of probes.
const probePort = 7117

// ProbeOptions say how a mesh sends.
type ProbeOptions struct {
	// Rate is requests per second from each endpoint to each other, default 20.
	Rate float64
	// Size is bytes of UDP payload, default and at least 40.
	Size int
	// Packet, where set, is instead the size of the whole packet in both families,
	// bytes, its IP header included.
	Packet int
	// Late is the round-trip time from which an answer counts as late,
	// default 1 s.
	Late time.Duration
	// Drain is how long to wait for the last packets, default 2 s; it ends as
	// soon as nothing is missing.
	Drain time.Duration
	// From, where set, names the only endpoint that sends requests.
	From string
	// To, where set, names the only endpoint that requests are sent to.
	To string
}

// sends reports whether requests go from one endpoint to the other.
func (o *ProbeOptions) sends(from, to Endpoint) bool {
	return from.Name != to.Name && len(from.Also) == 0 &&
		(o.From == "" || o.From == from.Name) && (o.To == "" || o.To == to.Name)
}

// payload is the size of the UDP payload in a family, bytes: IPv4's header has
// 20, IPv6's 40, UDP's 8.
func (o *ProbeOptions) payload(f fabric.Family) int {
	switch {
	case o.Packet == 0:
		return o.Size
	case f == fabric.IPv6:
		return o.Packet - 48
	}
	return o.Packet - 28
}

func (o *ProbeOptions) complete() {
	if o.Rate <= 0 {
		o.Rate = 20
	}
	o.Size = max(o.Size, headerSize)
	if o.Late <= 0 {
		o.Late = time.Second
	}
	if o.Drain <= 0 {
		o.Drain = 2 * time.Second
	}
}

// Mesh sends numbered requests from every endpoint to every other in both
// families; each arrival is noted and answered.
type Mesh struct {
	opts    ProbeOptions
	start   time.Time
	run     uint64 // tells this run's packets from an earlier one's
	sockets []*socket
	flows   []*flow // the index is the number in the packets
	senders errgroup.Group
	readers errgroup.Group
	stop    context.CancelFunc
}

// socket is one endpoint in one family.
type socket struct {
	conn  *net.UDPConn
	flows []*flow // that send from it
	ids   []uint32

	place    *Namespace
	end      *socket       // itself, or for one of Also the endpoint's first
	requests atomic.Uint64 // that arrived
}

// packet header: run (8), flow (4), kind (4), sequence (8), time sent (8).
const headerSize = 40

const (
	kindRequest = 1
	kindReply   = 2
)

// StartMesh opens the sockets and starts to send. Stop it.
func StartMesh(ctx context.Context, ends []Endpoint, o ProbeOptions) (*Mesh, error) {
	o.complete()
	now := time.Now()
	m := &Mesh{opts: o, start: now, run: uint64(now.UnixNano())}
	for _, f := range fabric.Families {
		if err := m.openFamily(ends, f); err != nil {
			m.close()
			return nil, err
		}
	}
	if len(m.flows) == 0 {
		m.close()
		return nil, errors.New("probe: no two endpoints have an address of the same family")
	}
	ctx, m.stop = context.WithCancel(ctx)
	for _, s := range m.sockets {
		m.readers.Go(func() error { return m.read(s) })
		m.senders.Go(func() error { m.send(ctx, s); return nil })
	}
	return m, nil
}

// openFamily opens a socket for each endpoint that has an address in the
// family, and makes a flow for each ordered pair.
func (m *Mesh) openFamily(ends []Endpoint, f fabric.Family) error {
	sockets := map[string]*socket{}
	for _, e := range ends {
		if !e.Addrs.Get(f).IsValid() {
			continue
		}
		for _, place := range append([]*Namespace{e.Space}, e.Also...) {
			conn, err := listenUDP(place, netip.AddrPortFrom(e.Addrs.Get(f), probePort))
			if err != nil {
				return fmt.Errorf("probe at %s: %w", e.Name, err)
			}
			s := &socket{conn: conn, place: place, end: sockets[e.Name]}
			if s.end == nil {
				s.end = s
				sockets[e.Name] = s
			}
			m.sockets = append(m.sockets, s)
		}
	}
	for _, from := range ends {
		for _, to := range ends {
			out, in := sockets[from.Name], sockets[to.Name]
			if out == nil || in == nil || !m.opts.sends(from, to) {
				continue
			}
			fl := &flow{from: from.Name, to: to.Name, dst: netip.AddrPortFrom(to.Addrs.Get(f), probePort), in: in, out: out}
			out.flows = append(out.flows, fl)
			out.ids = append(out.ids, uint32(len(m.flows)))
			m.flows = append(m.flows, fl)
		}
	}
	return nil
}

// listenUDP opens a socket with room for bursts: what is lost in the probe
// itself would be blamed on the fabric.
func listenUDP(n *Namespace, at netip.AddrPort) (*net.UDPConn, error) {
	conn, err := n.ListenUDP(at)
	if err != nil {
		return nil, err
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, raw.Control(func(fd uintptr) {
		const room = 4 << 20
		if unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, room) != nil {
			_ = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_RCVBUF, room)
		}
	})
}

// send sends each flow's requests at the rate until ctx ends, the flows
// spread over the interval, so that round trips are not those of a burst. A
// tick that came late is made up for: the number sent follows the clock.
func (m *Mesh) send(ctx context.Context, s *socket) {
	if len(s.flows) == 0 {
		return
	}
	interval := time.Duration(float64(time.Second) / m.opts.Rate / float64(len(s.flows)))
	tick := time.NewTicker(max(interval, time.Microsecond))
	defer tick.Stop()
	buf := make([]byte, m.opts.payload(s.flows[0].family()))
	begin := time.Now()
	for sent := 0; ; {
		for ; time.Duration(sent)*interval <= time.Since(begin) && ctx.Err() == nil; sent++ {
			i := sent % len(s.flows)
			m.request(buf, s.ids[i], s.flows[i])
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (m *Mesh) request(buf []byte, id uint32, f *flow) {
	order := binary.BigEndian
	order.PutUint64(buf, m.run)
	order.PutUint32(buf[8:], id)
	order.PutUint32(buf[12:], kindRequest)
	order.PutUint64(buf[16:], f.number())
	order.PutUint64(buf[24:], uint64(time.Since(m.start)))
	if _, err := f.out.conn.WriteToUDPAddrPort(buf, f.dst); err != nil {
		f.failed(err)
	}
}

// read handles what arrives at a socket until it is closed.
func (m *Mesh) read(s *socket) error {
	buf := make([]byte, 64<<10)
	for {
		n, from, err := s.conn.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed) || errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case err != nil && isRemote(err):
			continue
		case err != nil:
			return fmt.Errorf("probe: %w", err)
		}
		m.handle(s, buf[:n], from)
	}
}

// isRemote reports whether a receive error is the echo of an ICMP message
// about something sent before, which says nothing about this socket.
func isRemote(err error) bool {
	for _, e := range []syscall.Errno{unix.ECONNREFUSED, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EMSGSIZE, unix.ENETDOWN} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (m *Mesh) handle(s *socket, p []byte, from netip.AddrPort) {
	order := binary.BigEndian
	if len(p) < headerSize || order.Uint64(p) != m.run || order.Uint32(p[8:]) >= uint32(len(m.flows)) {
		return
	}
	f, seq := m.flows[order.Uint32(p[8:])], order.Uint64(p[16:])
	switch order.Uint32(p[12:]) {
	case kindRequest:
		if f.in != s.end { // went astray: not an arrival
			return
		}
		s.requests.Add(1)
		f.request(seq, from.Addr().Unmap())
		order.PutUint32(p[12:], kindReply)
		_, _ = s.conn.WriteToUDPAddrPort(p, from) // a lost answer is counted at the other end
	case kindReply:
		if f.out == s {
			f.reply(seq, time.Since(m.start)-time.Duration(order.Uint64(p[24:])), m.opts.Late)
		}
	}
}

// Requests is the number of requests that arrived in a namespace so far.
func (m *Mesh) Requests(at *Namespace) (n uint64) {
	for _, s := range m.sockets {
		if s.place == at {
			n += s.requests.Load()
		}
	}
	return n
}

// Stop ends sending, waits for what is on its way and reports.
func (m *Mesh) Stop(ctx context.Context) (Report, error) {
	m.stop()
	_ = m.senders.Wait()
	drain, cancel := context.WithTimeout(ctx, m.opts.Drain)
	defer cancel()
	_ = await(drain, "the last packets", func() error {
		for _, f := range m.flows {
			if !f.settled() {
				return errors.New("some are missing")
			}
		}
		return nil
	}) // what did not come is in the report
	m.close()
	err := m.readers.Wait()
	r := Report{Duration: time.Since(m.start)}
	for _, f := range m.flows {
		r.Flows = append(r.Flows, f.report())
	}
	return r, err
}

func (m *Mesh) close() {
	for _, s := range m.sockets {
		s.conn.Close()
	}
}

// Probe runs a mesh for a while.
func Probe(ctx context.Context, ends []Endpoint, o ProbeOptions, d time.Duration) (Report, error) {
	m, err := StartMesh(ctx, ends, o)
	if err != nil {
		return Report{}, err
	}
	_ = Pause(ctx, d) // cut short, what there is is reported
	return m.Stop(ctx)
}

// Pause lets traffic run for a while; an error is ctx's.
func Pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
