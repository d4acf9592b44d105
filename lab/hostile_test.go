package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/lab/hostile"
)

// Where the hostile peer is: it is the ToR of the only host's rack.
const hostileASN = 64666

// besieged is a host whose only peer is hostile.
type besieged struct {
	*Host
	ctx    context.Context
	ln     net.Listener
	tor    netip.Addr // the hostile peer
	before []string
	pid    int
}

// besiege brings up one host that peers with its ToR, where nobody decent
// answers. The spec is that of the BGPPeer object.
func besiege(t *testing.T, more map[string]any) *besieged {
	t.Helper()
	spec := map[string]any{
		"nodes": map[string]any{}, "peer": map[string]any{"address": torSegment(1, fabric.IPv4).gateway}, "asn": "external",
		"families": []string{"ipv4", "ipv6"}, // on one session
	}
	for k, v := range more {
		spec[k] = v
	}
	bin, err := binaries()
	must(t, err)
	l := makeLab(t, Options{Binaries: bin, Topology: Topology{
		Hosts:  []HostSpec{{Name: "h1", Rack: "r1"}},
		Fabric: map[string]any{"backend": "bgp", "paths": []string{"bgp"}, "bgp": map[string]any{"asn": "perNode"}},
		BGP:    []map[string]any{{"apiVersion": "weft/v1", "kind": "BGPPeer", "metadata": map[string]any{"name": "tor"}, "spec": spec}},
	}})
	b := &besieged{Host: l.Hosts[0], ctx: testContext(t)}
	b.tor = torSegment(1, fabric.IPv4).gateway
	b.ln, err = l.Switch("r1").ListenTCP(netip.AddrPortFrom(b.tor, 179))
	must(t, err)
	t.Cleanup(func() { b.ln.Close() })
	must(t, l.Etcd.Start(b.ctx))
	must(t, l.Apply(b.ctx, l.Topo.Fabric))
	must(t, b.Agent.Start())
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
	})
	must(t, b.Agent.WaitStatus(b.ctx, "a lease", func(s *api.Status) error {
		if s.Lease.State != "leased" {
			return errors.New(s.Lease.State)
		}
		return nil
	}))
	b.before, b.pid = b.foreign(b.ctx, t), b.Agent.PID()
	return b
}

// accept takes the agent's next session.
func (b *besieged) accept(t *testing.T) *hostile.Session {
	t.Helper()
	must(t, b.ln.(*net.TCPListener).SetDeadline(time.Now().Add(time.Minute)))
	for {
		conn, err := b.ln.Accept()
		must(t, err)
		if s, err := hostile.Open(conn, hostile.Config{ASN: hostileASN, RouterID: b.tor, Restart: true}); err == nil {
			t.Cleanup(s.Close)
			return s
		}
	}
}

// send sends true messages.
func (b *besieged) send(t *testing.T, s *hostile.Session, updates ...hostile.Update) {
	t.Helper()
	for _, u := range updates {
		must(t, s.Send(u.Bytes()))
	}
}

// route is a route with the peer as its next hop.
func (b *besieged) route(prefixes ...string) hostile.Update {
	return b.routeVia(b.tor, prefixes...)
}

func (b *besieged) routeVia(hop netip.Addr, prefixes ...string) hostile.Update {
	var list []netip.Prefix
	for _, p := range prefixes {
		list = append(list, netip.MustParsePrefix(p))
	}
	return hostile.Route(hop, []uint32{hostileASN, 4200000999}, list)
}

// waitLearnt waits until the kernel has exactly these routes from the speaker.
func (b *besieged) waitLearnt(t *testing.T, want ...string) {
	t.Helper()
	must(t, b.Agent.WaitStatus(b.ctx, fmt.Sprintf("the routes %q", want), func(*api.Status) error {
		if got := b.learnt(t); !slices.Equal(got, want) {
			return fmt.Errorf("got %q", got)
		}
		return nil
	}))
}

// learnt are the destinations of the host's unicast routes of weft's protocol.
func (b *besieged) learnt(t *testing.T) []string {
	t.Helper()
	var out []string
	for _, family := range []string{"-4", "-6"} {
		text, err := b.Run(b.ctx, "ip", family, "route", "show", "proto", fmt.Sprint(kernel.Protocol))
		must(t, err)
		for line := range strings.Lines(text) {
			if words := strings.Fields(line); len(words) > 0 && strings.Contains(line, "nhid") {
				out = append(out, words[0])
			}
		}
	}
	slices.Sort(out)
	return out
}

// wantUnmoved: the agent is the process that it was, and nothing of the host
// changed that is not weft's.
func (b *besieged) wantUnmoved(t *testing.T) {
	t.Helper()
	if pid := b.Agent.PID(); pid != b.pid {
		t.Errorf("the agent is process %d, was %d", pid, b.pid)
	}
	wantForeign(t, "under a hostile peer", b.before, b.foreign(b.ctx, t))
}

// TestHostileRoutes: of everything that a peer may claim, only what lies in
// the fabric's network, is not ours and leads somewhere else is believed.
func TestHostileRoutes(t *testing.T) {
	t.Parallel()
	b := besiege(t, nil)
	own := b.lease(t, fabric.IPv4)
	s := b.accept(t)
	other := "10.244.250.0/24"
	if own.Contains(netip.MustParseAddr("10.244.250.1")) {
		other = "10.244.251.0/24"
	}
	half := netip.PrefixFrom(own.Addr(), own.Bits()+1).String()
	long := []uint32{hostileASN}
	for range 200 {
		long = append(long, 65000)
	}
	b.send(t, s,
		b.route("0.0.0.0/0"), b.route("198.18.0.0/16"), b.route("198.18.1.0/24"), b.route("127.0.0.0/8"), b.route("224.0.0.0/4"),
		b.route(own.String()), b.route(half), // our own, and a half of it
		b.route("10.0.0.0/8"),                                              // more than the network
		b.route("10.244.252.0/25"),                                         // longer than a lease
		b.routeVia(b.Underlay.IPv4, "10.244.253.0/24"),                     // we ourselves
		b.routeVia(netip.MustParseAddr("10.244.254.1"), "10.244.254.0/24"), // a pod
		b.routeVia(netip.MustParseAddr("127.0.0.1"), "10.244.249.0/24"),
		hostile.Route(b.tor, []uint32{hostileASN, fabric.ASNBase + 1}, []netip.Prefix{netip.MustParsePrefix("10.244.248.0/24")}), // through our own AS
		hostile.Route(netip.MustParseAddr("2001:2:0:1::1"), []uint32{hostileASN}, []netip.Prefix{netip.MustParsePrefix("::/0"), netip.MustParsePrefix("2001:2::/32")}),
		b.route("10.244.0.0/16"), b.route(other), // the only true ones come last: a switch may aggregate
	)
	b.send(t, s, hostile.EndOfRIB()...)
	b.waitLearnt(t, "10.244.0.0/16", other)
	b.wantUnmoved(t)
	must(t, b.Agent.WaitBGP(b.ctx, "an established session with rejected routes", func(s *api.BGP) error {
		if st := s.Sessions[0]; st.State != "established" || st.Families.IPv4.Rejected == 0 { // counted once a second
			return fmt.Errorf("the session: %+v", st)
		}
		return nil
	}))
	b.send(t, s, hostile.Route(b.tor, long, []netip.Prefix{netip.MustParsePrefix("10.244.247.0/24")}))
	b.waitLearnt(t, slices.Sorted(slices.Values([]string{"10.244.0.0/16", other, "10.244.247.0/24"}))...)
	b.send(t, s, hostile.Withdraw([]netip.Prefix{netip.MustParsePrefix("10.244.0.0/16"), netip.MustParsePrefix(other), netip.MustParsePrefix("10.244.247.0/24")}))
	b.waitLearnt(t)
	b.wantUnmoved(t)
}

// lease is the host's subnet of a family.
func (b *besieged) lease(t *testing.T, f fabric.Family) netip.Prefix {
	t.Helper()
	for _, p := range b.status(b.ctx, t).Lease.Subnets {
		if fabric.FamilyOf(p.Addr()) == f {
			return p
		}
	}
	t.Fatalf("no %s subnet is leased", f)
	return netip.Prefix{}
}

// TestHostileUpdates sends 600 damaged messages. The agent survives them, says
// why it closed where it did (RFC 7606 asks it to do so seldom), and routes by
// a true peer afterwards.
func TestHostileUpdates(t *testing.T) {
	t.Parallel()
	b := besiege(t, nil)
	s := b.accept(t)
	kept := 0
	for i, m := range hostile.Corpus(7, 600, b.tor) {
		err := s.Send(m)
		if i%8 == 0 || err != nil {
			// A route after the damage shows that all before it was read.
			select {
			case <-s.Done():
			default:
				err = errors.Join(err, s.Send(b.route("10.244.99.0/24").Bytes()))
			}
		}
		select {
		case <-s.Done():
			s = b.accept(t)
		default:
			kept++
			if err != nil {
				<-s.Done()
				s = b.accept(t)
			}
		}
		if b.Agent.PID() != b.pid {
			t.Fatalf("message %d killed the agent: % x", i, m)
		}
	}
	t.Logf("the session outlived %d of 600 messages", kept)
	s.Close()
	s = b.accept(t)
	b.send(t, s, b.route("10.244.98.0/24"))
	b.send(t, s, hostile.EndOfRIB()...)
	must(t, b.Agent.WaitStatus(b.ctx, "a true route after the storm", func(*api.Status) error {
		if got := b.learnt(t); !slices.Contains(got, "10.244.98.0/24") {
			return fmt.Errorf("got %q", got)
		}
		return nil
	}))
	b.wantUnmoved(t)
}

// TestTooManyPrefixes: the limit ends the session, and says so; without one a
// flood of routes outside the fabric costs bounded memory and no route.
func TestTooManyPrefixes(t *testing.T) {
	t.Parallel()
	b := besiege(t, map[string]any{"maxPrefixes": 1000})
	s := b.accept(t)
	for i := range 1100 {
		if s.Send(b.route(fmt.Sprintf("10.%d.%d.0/24", 1+i/256, i%256)).Bytes()) != nil {
			break // it has had enough
		}
	}
	must(t, b.Agent.WaitBGP(b.ctx, "the limit's word", func(st *api.BGP) error {
		if len(st.Sessions) == 1 && st.Sessions[0].State != "established" && strings.Contains(st.Sessions[0].Reason, "prefix") {
			return nil
		}
		return fmt.Errorf("%+v", st.Sessions)
	}))
	b.wantUnmoved(t)
}

// TestFlood: 100 000 routes that are none of the fabric's, and 1000 flaps of
// one that is.
func TestFlood(t *testing.T) {
	t.Parallel()
	b := besiege(t, nil)
	s := b.accept(t)
	small := b.rss(t)
	for i := 0; i < 100000; i += 250 {
		var list []netip.Prefix
		for j := range 250 {
			n := i + j
			list = append(list, netip.PrefixFrom(netip.AddrFrom4([4]byte{11, byte(n >> 16), byte(n >> 8), byte(n)}), 32))
		}
		b.send(t, s, hostile.Route(b.tor, []uint32{hostileASN}, list))
	}
	flapping := []netip.Prefix{netip.MustParsePrefix("10.244.77.0/24")}
	for range 1000 {
		b.send(t, s, b.route("10.244.77.0/24"), hostile.Withdraw(flapping))
	}
	b.send(t, s, b.route("10.244.78.0/24"))
	b.send(t, s, hostile.EndOfRIB()...)
	b.waitLearnt(t, "10.244.78.0/24")
	if grown := b.rss(t) - small; grown > 300<<20 {
		t.Errorf("the flood cost %d MB", grown>>20)
	}
	b.wantUnmoved(t)
}

// rss is the agent's memory in bytes.
func (b *besieged) rss(t *testing.T) int {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", b.Agent.PID()))
	must(t, err)
	var size, resident int
	_, err = fmt.Sscan(string(data), &size, &resident)
	must(t, err)
	return resident * os.Getpagesize()
}
