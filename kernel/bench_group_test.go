package kernel

import (
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/kernel/rtnl"
)

// routesOver are n IPv4 routes over a group of two gateways on the uplink.
func routesOver(n int) Objects {
	o := Objects{Nexthops: []Nexthop{
		Hop{uplink, addr("198.18.0.253")}.Nexthop(tor4[0]), Hop{uplink, addr("198.18.0.254")}.Nexthop(tor4[1]),
		{ID: both4, Group: GroupOf(tor4[:]...)},
	}}
	for i := range n {
		dst := netip.PrefixFrom(netip.AddrFrom4([4]byte{10 + byte(i>>16), byte(i >> 8), byte(i), 0}), 24)
		o.Routes = append(o.Routes, Route{RouteKey: RouteKey{dst, Metric}, Nexthop: both4})
	}
	return o
}

// BenchmarkRoutes compares a Host that takes routes from peers into the kernel
// with a bare program that writes the same messages in batches, and measures a
// restart with all in place and the loss of one of two gateways.
func BenchmarkRoutes(b *testing.B) {
	for _, n := range []int{10000, 100000} {
		w := routesOver(n)
		b.Run(fmt.Sprintf("routes=%d/bare", n), func(b *testing.B) {
			measure(b, func() { bareRoutes(b, w) })
		})
		b.Run(fmt.Sprintf("routes=%d/host", n), func(b *testing.B) {
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			var h *Host
			measure(b, func() {
				h = open(b, Objects{})
				h.Update(Objects{}, w)
				inSync(b, h)
			})
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(b.N)/float64(n), "bytes/route")
			runtime.KeepAlive(h)
		})
		b.Run(fmt.Sprintf("routes=%d/restart", n), func(b *testing.B) {
			namespace(b)
			inSync(b, open(b, w))
			for b.Loop() {
				idle(b, open(b, w))
			}
		})
		b.Run(fmt.Sprintf("routes=%d/audit", n), func(b *testing.B) {
			namespace(b)
			h := open(b, w)
			inSync(b, h)
			for b.Loop() {
				h.Audit()
				idle(b, h)
			}
		})
		b.Run(fmt.Sprintf("routes=%d/gateway-lost", n), func(b *testing.B) {
			namespace(b)
			h := open(b, w)
			inSync(b, h)
			both, one := w.Nexthops[2:], []Nexthop{{ID: both4, Group: GroupOf(tor4[1])}}
			for b.Loop() {
				h.Update(Objects{Nexthops: both}, Objects{Nexthops: one})
				if r := inSync(b, h); r.Writes != 1 {
					b.Fatalf("%d writes", r.Writes)
				}
				h.Update(Objects{Nexthops: one}, Objects{Nexthops: both})
				inSync(b, h)
			}
		})
		b.Run(fmt.Sprintf("routes=%d/one-changed", n), func(b *testing.B) {
			namespace(b)
			h := open(b, w)
			inSync(b, h)
			one := Objects{Routes: []Route{{RouteKey: RouteKey{netip.MustParsePrefix("192.0.2.0/24"), Metric}, Nexthop: both4}}}
			for b.Loop() {
				h.Update(Objects{}, one)
				inSync(b, h)
				h.Update(one, Objects{})
				inSync(b, h)
			}
		})
	}
}

// bareRoutes is the floor.
func bareRoutes(b *testing.B, w Objects) {
	up, err := netlink.LinkByName(uplink)
	if err != nil {
		b.Fatal(err)
	}
	s := newState()
	s.ifaces.set(int32(up.Attrs().Index), iface{name: uplink})
	var batch rtnl.Batch
	for _, o := range w.Nexthops[:2] {
		_ = encodeNexthop(&batch, &s.ifaces, create, &entry[uint32, gateway]{key: o.ID, want: wantedGateway(o)})
		s.nexthops.setActual(o.ID, wantedGateway(o))
	}
	_ = s.encodeGroup(&batch, create, &entry[uint32, Group]{key: both4, want: w.Nexthops[2].Group})
	for _, o := range w.Routes {
		encodeRoute(&batch, create, &entry[RouteKey, path]{key: o.RouteKey, want: wantedPath(o)})
	}
	writeAll(b, &batch)
}
