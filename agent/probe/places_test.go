package probe

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

// place is a network namespace of a test's underlay.
type place struct{ ns *os.File }

func newPlace(t testing.TB) place {
	t.Helper()
	testns.New(t)
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return place{f}
}

// enter moves the calling goroutine's thread there, which must be locked.
func (p place) enter() error { return unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET) }

// do runs commands there, separated by semicolons.
func (p place) do(t testing.TB, commands string) {
	t.Helper()
	if err := p.enter(); err != nil {
		t.Fatal(err)
	}
	for c := range strings.SplitSeq(commands, ";") {
		words := strings.Fields(c)
		testns.Run(t, words[0], words[1:]...)
	}
}

// path names the namespace for ip(8).
func (p place) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.ns.Fd()) }

// underlay is two hosts with a router between them, and an overlay over each
// family. Host i has the addresses 10.1.i.1 and fd00:1:i::1 for its pods' network.
type underlay struct{ one, two, router place }

func newUnderlay(t *testing.T) *underlay {
	t.Helper()
	u := &underlay{one: newPlace(t), two: newPlace(t), router: newPlace(t)}
	sysctls := "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0;"
	for i, p := range []place{u.one, u.two} {
		n := i + 1
		u.router.do(t, fmt.Sprintf("ip link add h%d type veth peer name up0 netns %s", n, p.path()))
		u.router.do(t, fmt.Sprintf("%[1]s ip link set h%[2]d up; ip addr add 198.18.%[2]d.254/24 dev h%[2]d; ip addr add fd18:%[2]d::254/64 dev h%[2]d nodad;"+
			"ip route add 10.1.%[2]d.0/24 via 198.18.%[2]d.1; ip -6 route add fd00:1:%[2]d::/64 via fd18:%[2]d::1", sysctls, n))
		p.do(t, fmt.Sprintf("%[1]s ip link set up0 up; ip addr add 198.18.%[2]d.1/24 dev up0; ip addr add fd18:%[2]d::1/64 dev up0 nodad;"+
			"ip route add default via 198.18.%[2]d.254; ip -6 route add default via fd18:%[2]d::254;"+
			"ip addr add 10.1.%[2]d.1/32 dev lo; ip addr add fd00:1:%[2]d::1/128 dev lo", sysctls, n))
		for _, over := range fabric.Families {
			p.do(t, fmt.Sprintf("ip link add %[1]s type vxlan id %[2]d dstport 4789 local %[3]s dev up0 nolearning df set;"+
				"ip link set %[1]s address %[4]s up; bridge fdb append %[5]s dev %[1]s dst %[6]s",
				tunnel(over), over, outside(over, n), vtep(n), vtep(3-n), outside(over, 3-n)))
		}
	}
	return u
}

// tunnel is the name of the overlay's device over a family.
func tunnel(over fabric.Family) string { return fmt.Sprintf("weft.%d", over) }

func vtep(n int) fabric.MAC { return fabric.MAC{2, 0, 0, 0, 0, byte(n)} }

// outside is host n's address in the underlay, inside that for its pods.
func outside(f fabric.Family, n int) netip.Addr {
	if f == fabric.IPv4 {
		return netip.AddrFrom4([4]byte{198, 18, byte(n), 1})
	}
	return netip.MustParseAddr(fmt.Sprintf("fd18:%d::1", n))
}

func inside(f fabric.Family, n int) netip.Addr {
	if f == fabric.IPv4 {
		return netip.AddrFrom4([4]byte{10, 1, byte(n), 1})
	}
	return netip.MustParseAddr(fmt.Sprintf("fd00:1:%d::1", n))
}

// tunnelled is the path to host two by the overlay over a family; routed the
// one by the router.
func tunnelled(f, over fabric.Family) Target {
	full := 1450
	if over == fabric.IPv6 {
		full = 1430
	}
	return Target{
		Key:  Key{"two", f, fabric.Path{Kind: fabric.PathVXLAN, Generation: int(over)}},
		From: inside(f, 1), To: inside(f, 2), Underlay: outside(over, 2), MAC: vtep(2), Full: full,
		Hops: []kernel.Hop{{Link: tunnel(over), Gateway: inside(f, 2)}},
	}
}

func routed(f fabric.Family) Target {
	via := map[fabric.Family]string{fabric.IPv4: "198.18.1.254", fabric.IPv6: "fd18:1::254"}[f]
	return Target{
		Key:  Key{"two", f, fabric.Path{Kind: fabric.PathBGP}},
		From: inside(f, 1), To: inside(f, 2), Underlay: outside(f, 2), Full: 1500,
		Hops: []kernel.Hop{{Link: "up0", Gateway: netip.MustParseAddr(via)}},
	}
}

// allPaths are all there are between the hosts.
func allPaths() (all []Target) {
	for _, f := range fabric.Families {
		all = append(all, routed(f))
		for _, over := range fabric.Families {
			all = append(all, tunnelled(f, over))
		}
	}
	return all
}

// agent runs a prober on a host until it is stopped.
type agent struct {
	*Prober
	port atomic.Uint32
	stop func()
}

// agent starts one. It knows the other host's addresses and no others.
func (u *underlay) agent(t *testing.T, p place, change ...func(*Options)) *agent {
	t.Helper()
	if err := p.enter(); err != nil {
		t.Fatal(err)
	}
	neighbours, err := kernel.NewNeighbours()
	if err != nil {
		t.Fatal(err)
	}
	a := &agent{}
	o := Options{
		Log: quiet(), Neighbours: neighbours, Port: func() uint16 { return uint16(a.port.Load()) },
		Known: func(a netip.Addr) bool {
			for _, f := range fabric.Families {
				if a == inside(f, 1) || a == inside(f, 2) {
					return true
				}
			}
			return false
		},
	}
	for _, c := range change {
		c(&o)
	}
	a.Prober = New(o)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and the thread ends with the goroutine
		if err := p.enter(); err != nil {
			done <- err
			return
		}
		done <- a.Run(ctx)
	}()
	stopped := false
	a.stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		neighbours.Close()
	}
	t.Cleanup(a.stop)
	return a
}

// until polls until a path's verdict is as wanted.
func (a *agent) until(t *testing.T, g Target, state State, mtu int) {
	t.Helper()
	a.eventually(t, func() string {
		v := a.Verdict(g.Key)
		if v.State == state && v.MTU == mtu {
			return ""
		}
		return fmt.Sprintf("%s %v %d: got %+v, want state %d, MTU %d", g.Family, g.Path.Kind, g.Path.Generation, v, state, mtu)
	})
}

// eventually polls until nothing is wrong.
func (a *agent) eventually(t *testing.T, wrong func() string) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	late := time.After(time.Minute)
	for {
		what := wrong()
		if what == "" {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("not in a minute: %s; %+v", what, a.Stats())
		}
	}
}

// again makes a path be asked at once, and for more than is in force.
func (a *agent) again(g Target) {
	a.mu.Lock()
	if at, ok := a.table.find(g.Key); ok {
		i := a.table.order[at]
		a.table.paths[i].raise = 0
		if a.table.paths[i].resting {
			a.table.put(i, 0, false)
		}
	}
	a.mu.Unlock()
	a.wake()
}
