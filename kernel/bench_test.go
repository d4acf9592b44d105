package kernel

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// BenchmarkProgram compares a Host with a bare program that writes the same
// objects in batches and looks at nothing. The figure to watch is the ratio of
// the two within one run.
func BenchmarkProgram(b *testing.B) {
	for _, n := range []int{1000, 10000} {
		w := join2(base("198.18.0.1"), peers(n))
		b.Run(fmt.Sprintf("peers=%d/bare", n), func(b *testing.B) {
			measure(b, func() { bare(b, w) })
		})
		b.Run(fmt.Sprintf("peers=%d/host", n), func(b *testing.B) {
			measure(b, func() {
				h := open(b, w)
				inSync(b, h)
			})
		})
		b.Run(fmt.Sprintf("peers=%d/restart", n), func(b *testing.B) {
			namespace(b)
			inSync(b, open(b, w))
			for b.Loop() {
				idle(b, open(b, w))
			}
		})
		b.Run(fmt.Sprintf("peers=%d/add-one", n), func(b *testing.B) {
			namespace(b)
			h := open(b, w)
			inSync(b, h)
			one := peer(n+1, fabric.IPv4, fabric.IPv6)
			for b.Loop() {
				h.Update(Objects{}, one)
				inSync(b, h)
				h.Update(one, Objects{})
				inSync(b, h)
			}
		})
	}
}

// measure runs f in a new namespace each time, which is not timed, and reports
// the CPU time it takes.
func measure(b *testing.B, f func()) {
	var cpu float64
	for range b.N {
		b.StopTimer()
		namespace(b)
		runtime.GC()
		before := cpuTime()
		b.StartTimer()
		f()
		b.StopTimer()
		cpu += cpuTime() - before
	}
	b.ReportMetric(cpu*1000/float64(b.N), "cpu-ms/op")
}

func cpuTime() float64 {
	var u unix.Rusage
	_ = unix.Getrusage(unix.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// namespace moves the benchmark into a new network namespace with an uplink.
func namespace(b *testing.B) {
	b.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		b.Fatal(err)
	}
	// Taking a namespace down stops all others for a while: it waits.
	kept, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { kept.Close() })
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: uplink}, PeerName: "up1"}
	if err := netlink.LinkAdd(veth); err != nil {
		b.Fatal(err)
	}
	for _, name := range []string{"lo", uplink, "up1"} {
		link, err := netlink.LinkByName(name)
		if err == nil {
			err = netlink.LinkSetUp(link)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
}

// bare is the floor: the devices, then everything else in batches.
func bare(b *testing.B, w Objects) {
	up, err := netlink.LinkByName(uplink)
	if err != nil {
		b.Fatal(err)
	}
	mac := vtep(0xff00)
	dev := &netlink.Vxlan{
		LinkAttrs: netlink.LinkAttrs{Name: overlay, HardwareAddr: mac[:], MTU: 1430}, VxlanId: 1, Port: 4789,
		VtepDevIndex: up.Attrs().Index, SrcAddr: net.IPv4(198, 18, 0, 1),
	}
	if err := netlink.LinkAdd(dev); err != nil {
		b.Fatal(err)
	}
	if err := netlink.LinkSetUp(dev); err != nil {
		b.Fatal(err)
	}
	f := newIfaces()
	f.set(int32(dev.Attrs().Index), iface{name: overlay, own: VXLAN})
	var batch rtnl.Batch
	for _, o := range w.FDB {
		_ = encodeFDB(&batch, &f, create, &entry[FDBKey, netip.Addr]{key: o.FDBKey, want: o.Dst})
	}
	for _, o := range w.Neighs {
		_ = encodeNeigh(&batch, &f, create, &entry[NeighKey, fabric.MAC]{key: o.NeighKey, want: o.MAC})
	}
	for _, o := range w.Nexthops {
		_ = encodeNexthop(&batch, &f, create, &entry[uint32, gateway]{key: o.ID, want: wantedGateway(o)})
	}
	for _, o := range w.Routes {
		encodeRoute(&batch, create, &entry[RouteKey, path]{key: o.RouteKey, want: wantedPath(o)})
	}
	writeAll(b, &batch)
}

func writeAll(b *testing.B, batch *rtnl.Batch) {
	b.Helper()
	c, err := rtnl.Dial()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	errs, err := c.Execute(batch)
	if err != nil {
		b.Fatal(err)
	}
	for _, err := range errs {
		if err != nil {
			b.Fatal(err)
		}
	}
}
