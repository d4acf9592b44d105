package speaker

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"golang.org/x/net/icmp"
	"golang.org/x/net/ipv6"
)

// links finds the neighbours of sessions that are given by interface: the one
// other IPv6 link-local address there (RFC 5549's unnumbered sessions). It asks
// with an echo request to all nodes, and sends a router advertisement with it:
// FRR learns its own neighbour from that alone. The advertisement has a
// lifetime of zero, so nobody takes us for a router (RFC 4861, 6.2.3).
type links struct {
	wake  func()
	mu    sync.Mutex // guards all below
	tasks map[string]context.CancelFunc
	found map[string]netip.Addr
	why   map[string]string // why there is none
	wg    sync.WaitGroup
}

// How often an interface is asked: while nobody is known there, and later.
const (
	askAgain = time.Second
	askStill = 10 * time.Second
	answerIn = 500 * time.Millisecond
)

func newLinks(wake func()) *links {
	return &links{wake: wake, tasks: map[string]context.CancelFunc{}, found: map[string]netip.Addr{}, why: map[string]string{}}
}

// keep watches these interfaces and no others.
func (l *links) keep(names []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, stop := range l.tasks {
		if !slices.Contains(names, name) {
			stop()
			delete(l.tasks, name)
			delete(l.found, name)
			delete(l.why, name)
		}
	}
	for _, name := range names {
		if l.tasks[name] != nil {
			continue
		}
		ctx, stop := context.WithCancel(context.Background())
		l.tasks[name] = stop
		l.wg.Add(1)
		go func() {
			defer l.wg.Done()
			l.watch(ctx, name)
		}()
	}
}

// stop ends all watches and waits for them.
func (l *links) stop() {
	l.keep(nil)
	l.wg.Wait()
}

// neighbour is who is on an interface; invalid with the reason if nobody is.
func (l *links) neighbour(name string) (netip.Addr, string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if addr := l.found[name]; addr.IsValid() {
		return addr, ""
	}
	if why := l.why[name]; why != "" {
		return netip.Addr{}, why
	}
	return netip.Addr{}, fmt.Sprintf("no IPv6 link-local neighbour is known on %s yet", name)
}

func (l *links) watch(ctx context.Context, name string) {
	for ctx.Err() == nil {
		addr, err := solicit(ctx, name)
		pause := askStill
		l.mu.Lock()
		news := false
		if l.tasks[name] != nil && ctx.Err() == nil {
			switch {
			case err != nil:
				// Whoever is known stays: silence is no proof of absence.
				news, l.why[name] = l.why[name] != err.Error(), err.Error()
				pause = askAgain
			default:
				news, l.found[name] = l.found[name] != addr, addr
				delete(l.why, name)
			}
		}
		l.mu.Unlock()
		if news {
			l.wake()
		}
		select {
		case <-ctx.Done():
		case <-time.After(pause):
		}
	}
}

// solicit asks once who is on the link. An error says why there is no answer
// to use.
func solicit(ctx context.Context, name string) (netip.Addr, error) {
	ifi, err := net.InterfaceByName(name)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", name, err)
	}
	own, err := ifi.Addrs()
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: %w", name, err)
	}
	conn, err := icmp.ListenPacket("ip6:ipv6-icmp", "::")
	if err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: ICMPv6 socket: %w", name, err)
	}
	defer conn.Close()
	p := conn.IPv6PacketConn()
	if err := ask(p, ifi); err != nil {
		return netip.Addr{}, fmt.Errorf("interface %s: ask for the link-local neighbour: %w", name, err)
	}
	if err := conn.SetReadDeadline(time.Now().Add(answerIn)); err != nil {
		return netip.Addr{}, err
	}
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	answers := listen(p, ifi, own)
	switch len(answers) {
	case 0:
		return netip.Addr{}, fmt.Errorf("no IPv6 link-local neighbour answers on %s: is the far end up, with IPv6 on the link?", name)
	case 1:
		return answers[0], nil
	}
	return netip.Addr{}, fmt.Errorf("%d IPv6 link-local neighbours answer on %s: a session by interface needs a link with one", len(answers), name)
}

// ask sends an echo request and a router advertisement to all nodes. The
// advertisement: hop limit 0 (unspecified), no flags, lifetime 0.
func ask(p *ipv6.PacketConn, ifi *net.Interface) error {
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeEchoReply)
	filter.Accept(ipv6.ICMPTypeRouterAdvertisement)
	if err := p.SetICMPFilter(&filter); err != nil {
		return err
	}
	if err := p.SetControlMessage(ipv6.FlagInterface, true); err != nil {
		return err
	}
	if err := p.SetMulticastHopLimit(255); err != nil {
		return err
	}
	if err := p.SetMulticastInterface(ifi); err != nil {
		return err
	}
	all := &net.IPAddr{IP: net.IPv6linklocalallnodes, Zone: ifi.Name}
	for _, m := range []icmp.Message{
		{Type: ipv6.ICMPTypeRouterAdvertisement, Body: &icmp.RawBody{Data: make([]byte, 12)}},
		{Type: ipv6.ICMPTypeEchoRequest, Body: &icmp.Echo{ID: ifi.Index & 0xffff, Seq: 1}},
	} {
		data, err := m.Marshal(nil) // the kernel puts the checksum in
		if err != nil {
			return err
		}
		if _, err := p.WriteTo(data, nil, all); err != nil {
			return err
		}
	}
	return nil
}

// listen gathers who answers until the deadline: the routers if there are any,
// as those are what sessions go to, else everybody.
func listen(p *ipv6.PacketConn, ifi *net.Interface, own []net.Addr) []netip.Addr {
	var routers, others []netip.Addr
	buf := make([]byte, 1500)
	for {
		n, cm, from, err := p.ReadFrom(buf)
		if err != nil {
			break
		}
		ip, ok := from.(*net.IPAddr)
		if !ok || n == 0 || cm == nil || cm.IfIndex != ifi.Index || !ip.IP.IsLinkLocalUnicast() || isOwn(own, ip.IP) {
			continue
		}
		addr, _ := netip.AddrFromSlice(ip.IP)
		addr = addr.WithZone(ifi.Name)
		if ipv6.ICMPType(buf[0]) == ipv6.ICMPTypeRouterAdvertisement {
			routers = append(routers, addr)
		} else {
			others = append(others, addr)
		}
	}
	if len(routers) > 0 {
		others = routers
	}
	slices.SortFunc(others, netip.Addr.Compare)
	return slices.Compact(others)
}

func isOwn(own []net.Addr, ip net.IP) bool {
	return slices.ContainsFunc(own, func(a net.Addr) bool {
		n, ok := a.(*net.IPNet)
		return ok && n.IP.Equal(ip)
	})
}
