package bgp

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"testing"

	"github.com/weft-net/weft/kernel"
)

// many are n prefixes with the same next hops.
func many(n int, hops ...netip.Addr) []Change {
	out := make([]Change, n)
	for i := range out {
		var a [4]byte
		binary.BigEndian.PutUint32(a[:], 10<<24|uint32(i)<<6)
		out[i] = Change{Prefix: netip.PrefixFrom(netip.AddrFrom4(a), 26), NextHops: hops}
	}
	return out
}

func twoSwitches() map[netip.Addr][]kernel.Hop { return onLink("198.18.0.1 eth0", "198.18.1.1 eth1") }

// BenchmarkFIBBulk learns many routes at once and takes them all.
func BenchmarkFIBBulk(b *testing.B) {
	for _, n := range []int{10000, 100000} {
		changes := many(n, addr("198.18.0.1"), addr("198.18.1.1"))
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				f := NewFIB()
				f.Learn(changes)
				f.Resolve(twoSwitches())
				if _, add, _ := f.Take(); len(add.Routes) != n {
					b.Fatal(len(add.Routes))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/route")
		})
	}
}

// BenchmarkFIBOneChange is one prefix of many that moves, to the Take.
func BenchmarkFIBOneChange(b *testing.B) {
	for _, n := range []int{1000, 100000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := NewFIB()
			changes := many(n, addr("198.18.0.1"), addr("198.18.1.1"))
			f.Learn(changes)
			f.Resolve(twoSwitches())
			f.Take()
			sets := [][]netip.Addr{{addr("198.18.0.1")}, changes[0].NextHops}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				f.Learn([]Change{{Prefix: changes[n/2].Prefix, NextHops: sets[i%2]}})
				if _, add, _ := f.Take(); len(add.Routes) != 1 {
					b.Fatal(add)
				}
			}
		})
	}
}

// BenchmarkFIBLostNextHop is the loss of one of two next hops of many routes.
func BenchmarkFIBLostNextHop(b *testing.B) {
	f := NewFIB()
	f.Learn(many(100000, addr("198.18.0.1"), addr("198.18.1.1")))
	f.Resolve(twoSwitches())
	f.Take()
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%2 == 0 {
			f.Resolve(onLink("198.18.1.1"))
		} else {
			f.Resolve(onLink("198.18.1.1 eth1"))
		}
		if _, add, _ := f.Take(); len(add.Routes) != 0 || len(add.Nexthops) == 0 {
			b.Fatal(add)
		}
	}
}

// heap is what is in use after a collection.
func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// A route costs under 300 bytes of the FIB's own memory, and one that is not
// touched costs no allocation.
func TestFIBIsSmall(t *testing.T) {
	const n = 100000
	changes := many(n, addr("198.18.0.1"), addr("198.18.1.1"))
	before := heap()
	f := NewFIB()
	f.Learn(changes)
	f.Resolve(twoSwitches())
	f.Take()
	used := heap() - before
	t.Logf("%d bytes per route", used/n)
	if used > 300*n {
		t.Errorf("%d bytes per route, want 300 at most", used/n)
	}
	same := changes[:1000]
	if allocs := testing.AllocsPerRun(10, func() { f.Learn(same); f.Take() }); allocs != 0 {
		t.Errorf("1000 routes that are learnt again cost %v allocations", allocs)
	}
	if allocs := testing.AllocsPerRun(10, func() {
		f.Resolve(onLink("198.18.1.1"))
		f.Take()
		f.Resolve(onLink("198.18.1.1 eth1"))
		f.Take()
	}); allocs > 100 {
		t.Errorf("a next hop that goes and comes back under %d routes costs %v allocations", n, allocs)
	}
	runtime.KeepAlive(changes)
}
