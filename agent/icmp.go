package agent

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
)

// echo is the pinger on raw ICMP sockets, one per family that the host has.
type echo struct {
	id    int
	seq   atomic.Uint32
	v4    *icmp.PacketConn // nil: the host has no such sockets
	v6    *icmp.PacketConn
	heard chan netip.Addr
}

// newEcho opens the sockets. It fails only where neither can be had.
func newEcho() (*echo, error) {
	e := &echo{id: os.Getpid() & 0xffff, heard: make(chan netip.Addr, 64)}
	var err4, err6 error
	e.v4, err4 = icmp.ListenPacket("ip4:icmp", "0.0.0.0")
	e.v6, err6 = icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err4 != nil && err6 != nil {
		return nil, fmt.Errorf("raw ICMP socket: %w", errors.Join(err4, err6))
	}
	if err6 == nil {
		var only ipv6.ICMPFilter // a host hears a lot of neighbour discovery
		only.SetAll(true)
		only.Accept(ipv6.ICMPTypeEchoReply)
		if err := e.v6.IPv6PacketConn().SetICMPFilter(&only); err != nil {
			return nil, fmt.Errorf("ICMPv6 filter: %w", err)
		}
	}
	return e, nil
}

func (e *echo) answers() <-chan netip.Addr { return e.heard }

func (e *echo) send(to netip.Addr) error {
	conn, typ := e.v4, icmp.Type(ipv4.ICMPTypeEcho)
	if to.Is6() {
		conn, typ = e.v6, ipv6.ICMPTypeEchoRequest
	}
	if conn == nil {
		return errors.ErrUnsupported
	}
	m := icmp.Message{Type: typ, Body: &icmp.Echo{ID: e.id, Seq: int(e.seq.Add(1) & 0xffff), Data: []byte("weft liveness")}}
	packet, err := m.Marshal(nil)
	if err != nil {
		return err
	}
	_, err = conn.WriteTo(packet, &net.IPAddr{IP: to.AsSlice()})
	return err
}

// run reads answers until ctx ends and closes the sockets.
func (e *echo) run(ctx context.Context) error {
	done := make(chan struct{}, 2)
	n := 0
	for _, c := range []*icmp.PacketConn{e.v4, e.v6} {
		if c == nil {
			continue
		}
		n++
		stop := context.AfterFunc(ctx, func() { c.Close() })
		go func() {
			defer stop()
			e.read(ctx, c)
			done <- struct{}{}
		}()
	}
	for range n {
		<-done
	}
	return nil
}

func (e *echo) read(ctx context.Context, c *icmp.PacketConn) {
	protocol := 1 // ICMP
	if c == e.v6 {
		protocol = 58
	}
	buf := make([]byte, 1500)
	for ctx.Err() == nil {
		n, from, err := c.ReadFrom(buf)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			continue // an ICMP error to some probe
		}
		m, err := icmp.ParseMessage(protocol, buf[:n])
		if err != nil {
			continue
		}
		body, ok := m.Body.(*icmp.Echo)
		reply := m.Type == ipv4.ICMPTypeEchoReply || m.Type == ipv6.ICMPTypeEchoReply
		addr, valid := netip.AddrFromSlice(from.(*net.IPAddr).IP)
		if !ok || !reply || !valid || body.ID != e.id {
			continue
		}
		select {
		case e.heard <- addr.Unmap():
		case <-ctx.Done():
		}
	}
}
