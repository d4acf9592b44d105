package kernel

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// A live flow loses nothing while its route is moved between tunnel, single
// next hop and group, whatever comes and goes in the same Update: a group is
// there before the route leads to it, and goes after the route has left.
func TestMoveLosesNothing(t *testing.T) {
	w := newWorld(t)
	armed := w.armed(t, fabric.IPv4, true)
	learnt := Objects{Nexthops: slices.DeleteFunc(slices.Clone(armed.Nexthops), func(n Nexthop) bool { return n.ID&0xff000000 != sharedBase })}
	h := open(t, join(armed, routesTo(0, byTunnel)))
	inSync(t, h)
	for _, f := range fabric.Families { // neighbours are resolved, addresses usable
		for _, way := range []func(ways) uint32{bySingle, byGroup, byTunnel} {
			h.Update(Objects{}, routesTo(0, way))
			inSync(t, h)
			if got := w.pinger(t, f).ask(t, full); got != "arrives" {
				t.Fatal(got)
			}
		}
	}
	before := sentBy(t, w, "up2")
	flows := []*flow{w.startFlow(t, fabric.IPv4), w.startFlow(t, fabric.IPv6)}
	on := func() {
		t.Helper()
		for _, fl := range flows {
			fl.goesOn(t, 3*streams)
		}
	}
	on()
	for range 10 {
		for _, mtu := range []int{0, 1400} {
			for _, way := range []func(ways) uint32{bySingle, byGroup, byTunnel, byGroup, bySingle, byTunnel} {
				h.Update(Objects{}, routesTo(mtu, way))
				if r := inSync(t, h); r.Writes != 2 {
					t.Fatalf("%d writes", r.Writes)
				}
				on()
			}
		}
		h.Update(learnt, Objects{}) // the sessions are gone
		inSync(t, h)
		on()
		h.Update(Objects{}, join(learnt, routesTo(0, byGroup))) // and back
		inSync(t, h)
		on()
		h.Update(learnt, routesTo(0, byTunnel)) // gone again, with their routes
		if r := inSync(t, h); r.Writes != 2+len(learnt.Nexthops) {
			t.Fatalf("%d writes", r.Writes)
		}
		on()
		h.Update(Objects{}, learnt)
		inSync(t, h)
	}
	for _, fl := range flows {
		if sent, lost := fl.end(t); lost != 0 {
			t.Errorf("%d of %d packets lost", lost, sent)
		}
	}
	if sentBy(t, w, "up2") == before {
		t.Error("the second member of the group had nothing to carry")
	}
}

// sentBy is how many packets the host has sent by a link.
func sentBy(t *testing.T, w world, link string) int {
	t.Helper()
	w.host.enter(t)
	return counter(t, "dev", link+":", 10)
}

// TCP with segments made by the device goes on when the MTU of its route shrinks
// and grows under it, and when the tunnel takes over.
func TestStreamSurvivesMTU(t *testing.T) {
	w := newWorld(t)
	h := open(t, join(w.armed(t, fabric.IPv4, true), routesTo(0, bySingle)))
	inSync(t, h)
	for _, f := range fabric.Families {
		w.pinger(t, f).becomes(t, full, "arrives")
		client, server := w.dial(t, f)
		const part = 1 << 20
		for i, way := range []func(ways) uint32{bySingle, byGroup, byTunnel, byTunnel, bySingle} {
			mtu := []int{0, 1300, 1300, 1400, 0}[i]
			h.Update(Objects{}, routesTo(mtu, way))
			inSync(t, h)
			failed := make(chan error, 1)
			go func() { _, err := client.Write(make([]byte, part)); failed <- err }()
			if n, err := io.CopyN(io.Discard, server, part); err != nil {
				t.Errorf("%v, step %d: %d bytes, %v", f, i, n, err)
			}
			if err := <-failed; err != nil {
				t.Errorf("%v, step %d: %v", f, i, err)
			}
		}
	}
}

// dial connects the pod with the peer.
func (w world) dial(t *testing.T, f fabric.Family) (client, server net.Conn) {
	t.Helper()
	w.peer.enter(t)
	to := net.TCPAddrFromAddrPort(netip.AddrPortFrom(far(f), 7001))
	l, err := net.ListenTCP("tcp", to)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	w.pod.enter(t)
	if client, err = net.DialTCP("tcp", nil, to); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	w.host.enter(t)
	if server, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	return client, server
}

// manyWays are n peers with three armed ways each, IPv4: the tunnel, a next hop of
// their own on the segment, and one of two groups that all share.
func manyWays(n int) (armed Objects, routes [3]Objects) {
	armed = join(base("198.18.0.1"), routesOver(0))
	for i := 1; i <= n; i++ {
		p := peer(i, fabric.IPv4)
		direct := NexthopID(uint32(i), fabric.IPv4, 1)
		segment := netip.AddrFrom4([4]byte{198, 18, 0, byte(2 + i%250)})
		key, tunnel := p.Routes[0].RouteKey, p.Nexthops[0].ID
		p.Nexthops = append(p.Nexthops, Hop{uplink, segment}.Nexthop(direct))
		p.Routes = nil
		armed = join2(armed, p)
		for way, id := range [3]uint32{tunnel, direct, both4} {
			routes[way].Routes = append(routes[way].Routes, Route{RouteKey: key, Nexthop: id})
		}
	}
	return armed, routes
}

// To change how a thousand peers are reached is a thousand messages, one for
// each route, and the kernel sees as many changes and nothing else.
func TestSwitchIsOneMessage(t *testing.T) {
	underlay(t)
	const n = 1000
	armed, ways := manyWays(n)
	h := open(t, join(armed, ways[0]))
	inSync(t, h)
	watch, err := rtnl.Listen(8<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_NEIGH)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	for _, way := range []int{1, 2, 0, 2, 1, 0} {
		h.Update(Objects{}, ways[way])
		r := inSync(t, h)
		if r.Writes != n || r.Dumped || len(r.Repaired) != 0 {
			t.Errorf("%d writes, dumped %v, repaired %v", r.Writes, r.Dumped, r.Repaired)
		}
		changes := map[string]int{}
		if err := watch.Drain(func(m rtnl.Message) {
			switch {
			case m.Type == unix.RTM_NEWROUTE && m.Flags&unix.NLM_F_REPLACE != 0:
				changes["replaced"]++
			case m.Type == unix.RTM_NEWNEIGH || m.Type == unix.RTM_DELNEIGH: // of the uplink, by themselves
			default:
				changes[fmt.Sprintf("message %d", m.Type)]++
			}
		}); err != nil {
			t.Fatal(err)
		}
		if len(changes) != 1 || changes["replaced"] != n {
			t.Errorf("the kernel saw %v", changes)
		}
	}
	idle(t, h)
}

// BenchmarkSwitch moves a thousand peers from one armed way to another.
func BenchmarkSwitch(b *testing.B) {
	namespace(b)
	armed, ways := manyWays(1000)
	h := open(b, join(armed, ways[0]))
	inSync(b, h)
	way := 0
	for b.Loop() {
		way = (way + 1) % len(ways)
		h.Update(Objects{}, ways[way])
		inSync(b, h)
	}
}
