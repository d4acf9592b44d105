package kernel

import (
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// reach is what Reach says of one address, in words.
func reach(t testing.TB, h *Host, a string) string {
	t.Helper()
	if err := h.Observe(); err != nil {
		t.Fatal(err)
	}
	reached, err := h.Reach([]netip.Addr{addr(a)})
	if err != nil {
		t.Fatal(err)
	}
	hops, asked := reached[addr(a)]
	if len(reached) != 1 || len(hops) > 0 && !asked {
		t.Errorf("asked for %s, got %v", a, reached)
	}
	var texts []string
	for _, hop := range hops {
		texts = append(texts, hop.Link+" "+hop.Gateway.String())
	}
	return strings.Join(texts, ", ")
}

func TestReach(t *testing.T) {
	const own = "ip nexthop add id 0x56000001 via 198.18.0.254 dev up0 protocol 158; "
	tests := []struct{ name, setup, ask, want string }{
		{"on the segment", "", "198.18.0.9", "up0 198.18.0.9"},
		{"on the segment, IPv6", "", "fd18::9", "up0 fd18::9"},
		{"link-local", "", "fe80::1%eth1", "eth1 fe80::1"},
		{"link-local without a zone", "", "fe80::1", ""},
		{"link-local on a device that is not there", "", "fe80::1%eth9", ""},
		{"link-local on a device without carrier", "ip link set far2 down", "fe80::1%eth1", ""},
		{"link-local on loopback", "", "fe80::1%lo", ""},
		{"no route", "", "203.0.113.1", ""},
		{"no route, IPv6", "", "2001:2::1", ""},
		{"our own", "", "198.18.0.1", ""},
		{"our own, IPv6", "", "fd18:1::1", ""},
		{"loopback", "", "127.0.0.1", ""},
		{"broadcast", "", "198.18.0.255", ""},
		{"multicast", "", "224.0.0.5", ""},
		{"unspecified", "ip route add default via 198.18.0.9", "0.0.0.0", ""},
		{"routed", "ip route add 198.19.0.0/16 via 198.18.1.254", "198.19.7.7", "eth1 198.18.1.254"},
		{"routed, IPv6", "ip -6 route add fd19::/16 via fe80::9 dev up0", "fd19::1", "up0 fe80::9"},
		{"IPv4 over an IPv6 gateway", "ip route add 198.19.0.0/16 via inet6 fe80::9 dev eth1", "198.19.7.7", "eth1 fe80::9"},
		{"multipath", "ip route add default nexthop via 198.18.0.254 nexthop via 198.18.1.254", "203.0.113.1", "eth1 198.18.1.254, up0 198.18.0.254"},
		{"multipath, IPv6", "ip -6 route add default nexthop via fd18::fe nexthop via fd18:1::fe", "2001:2::1", "eth1 fd18:1::fe, up0 fd18::fe"},
		{"multipath, one link down", "ip route add default nexthop via 198.18.0.254 nexthop via 198.18.1.254; ip link set far2 down", "203.0.113.1", "up0 198.18.0.254"},
		{"an administrator's group", "ip nexthop add id 1 via 198.18.0.254 dev up0; ip nexthop add id 2 via 198.18.1.254 dev eth1; ip nexthop add id 3 group 1/2; ip route add 198.19.0.0/16 nhid 3",
			"198.19.7.7", "eth1 198.18.1.254, up0 198.18.0.254"},
		{"blackhole", "ip route add blackhole 198.19.0.0/16", "198.19.7.7", ""},
		{"unreachable", "ip route add unreachable 198.19.0.0/16; ip -6 route add unreachable fd19::/16", "198.19.7.7", ""},
		{"blackhole, IPv6", "ip -6 route add blackhole fd19::/16", "fd19::1", ""},
		{"prohibit", "ip route add prohibit 198.19.0.0/16", "198.19.7.7", ""},
		{"throw", "ip route add throw 198.19.0.0/16", "198.19.7.7", ""},
		{"a route of weft's own", own + "ip route add 198.19.0.0/16 nhid 0x56000001 proto 158", "198.19.7.7", ""},
		{"a route of weft's own, IPv6", "ip -6 route add fd19::/16 via fd18::9 proto 158", "fd19::1", ""},
		{"a device of weft's own", "ip link add weft9 type veth peer name far9; ip link set far9 up; ip link set weft9 up; ip addr add 10.0.9.1/24 dev weft9", "10.0.9.7", ""},
		{"down", "ip link set eth1 down", "198.18.1.9", ""},
		{"without carrier", "ip link set far2 down", "198.18.1.9", ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			twoToRs(t)
			h := open(t, Objects{})
			if err := h.Observe(); err != nil {
				t.Fatal(err)
			}
			commands(t, tt.setup)
			// A veth's carrier goes a moment after its far end does.
			late := time.Now().Add(time.Minute)
			got := reach(t, h, tt.ask)
			waits := func() bool {
				_, made := h.state.ifaces.byName["weft9"]
				return got != tt.want && strings.Contains(tt.setup, "down") || made && !h.state.ifaces.byIndex[h.state.ifaces.byName["weft9"]].carrier
			}
			for waits() && time.Now().Before(late) {
				if _, err := h.events.Wait(100); err != nil {
					t.Fatal(err)
				}
				got = reach(t, h, tt.ask)
			}
			if got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
		})
	}
}

// Many addresses are asked for at once; each has its own answer, errors too.
func TestReachMany(t *testing.T) {
	underlay(t)
	h := open(t, Objects{})
	if err := h.Observe(); err != nil {
		t.Fatal(err)
	}
	var all []netip.Addr
	for i := range 200 {
		all = append(all, netip.AddrFrom4([4]byte{198, 18, byte(i % 2), byte(i + 2)}), netip.MustParseAddr(fmt.Sprintf("fd18::%x", i+2)))
	}
	reached, err := h.Reach(all)
	if err != nil || len(reached) != 400 {
		t.Fatalf("%d answers: %v", len(reached), err)
	}
	for _, a := range all {
		var want []Hop
		if b := a.As16(); a.Is6() || b[14] == 0 {
			want = []Hop{{uplink, a}}
		}
		if diff := cmp.Diff(want, reached[a], cmp.Comparer(func(a, b Hop) bool { return a == b })); diff != "" {
			t.Errorf("%s (-want +got):\n%s", a, diff)
		}
	}
	if reached, err = h.Reach(nil); err != nil || len(reached) != 0 {
		t.Errorf("nothing asked: %v, %v", reached, err)
	}
}

// The version grows with everything that may change an answer, and with nothing
// that is weft's own.
func TestReachVersion(t *testing.T) {
	underlay(t)
	twoToRs(t)
	h := open(t, join(base("198.18.0.1"), peers(3), ecmp(3)))
	inSync(t, h)
	grew := func(what string) bool {
		t.Helper()
		before := h.ReachVersion()
		commands(t, what)
		if err := h.Observe(); err != nil {
			t.Fatal(err)
		}
		return h.ReachVersion() > before
	}
	carriers(t, h)
	inPod := elsewhere(t)
	before := h.ReachVersion()
	for _, quiet := range []string{
		"ip route add blackhole 10.77.0.0/16 proto 158", "ip route del 10.0.1.0/24", "ip nexthop del id 0x57000020", "ip addr add 10.99.0.1/24 dev weft0", "ip link del weft.1",
		// The other end of a pod's interface is born in the pod's namespace.
		"ip link add weft0123456789a type veth peer name pod0 netns " + inPod, "ip link set weft0123456789a master weft0 up", "ip addr add 10.98.0.1/24 dev weft0123456789a", "ip link del weft0123456789a",
		"ip neigh add 198.18.0.7 lladdr 02:00:00:00:00:07 dev up0",
	} {
		if grew(quiet) {
			t.Errorf("%s: the version grew", quiet)
		}
		doSync(t, h)
	}
	h.Audit()
	doSync(t, h)
	if h.ReachVersion() != before {
		t.Error("the version grew without a reason")
	}
	for _, what := range []string{
		"ip addr add 198.18.1.77/24 dev eth1", "ip addr del 198.18.1.77/24 dev eth1", "ip addr add fd18:7::1/64 dev lo",
		"ip route add 198.19.0.0/16 via 198.18.0.254", "ip route replace 198.19.0.0/16 via 198.18.1.254", "ip route del 198.19.0.0/16",
		"ip route add blackhole 198.19.0.0/16", "ip route add 198.19.0.0/16 via 198.18.0.254 table 100", "ip rule add to 198.19.0.0/16 table 100",
		"ip nexthop add id 7 via 198.18.0.254 dev up0", "ip nexthop replace id 7 via 198.18.1.254 dev eth1",
		"ip -6 route add default via fd18::fe", "ip link set eth1 down", "ip link set eth1 up", "ip link del eth1",
	} {
		if !grew(what) {
			t.Errorf("%s: the version did not grow", what)
		}
	}
}

// elsewhere is another namespace, by the id of a thread that is in it.
func elsewhere(t testing.TB) string {
	t.Helper()
	tid, done := make(chan int), make(chan struct{})
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			close(tid)
			return
		}
		tid <- unix.Gettid()
		<-done
	}()
	id, ok := <-tid
	if !ok {
		t.Fatal("no second namespace")
	}
	t.Cleanup(func() { close(done) })
	return strconv.Itoa(id)
}

// carriers waits until the kernel has told that all uplinks have a carrier, at
// both ends.
func carriers(t testing.TB, h *Host) {
	t.Helper()
	late := time.Now().Add(time.Minute)
	for up := false; !up; {
		if time.Now().After(late) {
			t.Fatal("an uplink never had a carrier")
		}
		if _, err := h.events.Wait(100); err != nil {
			t.Fatal(err)
		}
		if err := h.Observe(); err != nil {
			t.Fatal(err)
		}
		up = true
		for _, name := range []string{uplink, "up1", second, "far2"} {
			up = up && h.state.ifaces.byIndex[h.state.ifaces.byName[name]].carrier
		}
	}
}

// Lost notifications are news, and cost nothing but a dump of the host.
func TestReachAfterOverrun(t *testing.T) {
	underlay(t)
	twoToRs(t)
	h, err := Open(Options{Buffer: 4096})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if err := h.Observe(); err != nil {
		t.Fatal(err)
	}
	before := h.ReachVersion()
	for i := range 40 {
		run(t, "ip", "addr", "add", fmt.Sprintf("198.18.1.%d/24", i+2), "dev", second)
	}
	run(t, "ip", "link", "del", second)
	if got := reach(t, h, "198.18.1.99"); got != "" || h.ReachVersion() == before {
		t.Errorf("got %q, version %d after %d", got, h.ReachVersion(), before)
	}
	if slices.Contains(h.Addrs(), addr("198.18.1.1")) {
		t.Error("an address that is gone is known still")
	}
}

// All addresses count, whoever set them, as long as they are there.
func TestAddrs(t *testing.T) {
	underlay(t)
	w := base("198.18.0.1")
	h := open(t, w)
	inSync(t, h)
	want := []netip.Addr{
		addr("10.255.0.0"), addr("10.255.0.1"), addr("127.0.0.1"), addr("198.18.0.1"), addr("::1"),
		addr("fd00:1:0:ff00::"), addr("fd00:1:0:ff00::1"), addr("fd18::1"),
	}
	have := func() []netip.Addr { // less those of the kernel's own making
		if err := h.Observe(); err != nil {
			t.Fatal(err)
		}
		return slices.DeleteFunc(h.Addrs(), func(a netip.Addr) bool { return a.IsLinkLocalUnicast() })
	}
	cmpAddr := cmp.Comparer(func(a, b netip.Addr) bool { return a == b })
	if diff := cmp.Diff(want, have(), cmpAddr); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	commands(t, "ip link add eth7 type veth peer name far7; ip addr add 198.18.7.1/24 dev eth7; ip addr add 198.18.7.2/24 dev eth7; ip addr add 198.18.7.3/24 dev lo")
	if got := len(have()); got != len(want)+3 {
		t.Errorf("%d addresses, want %d", got, len(want)+3)
	}
	commands(t, "ip link del eth7; ip addr del 198.18.7.3/24 dev lo")
	if diff := cmp.Diff(want, have(), cmpAddr); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// BenchmarkReach asks for the gateways of a node with many peers in a mesh.
func BenchmarkReach(b *testing.B) {
	namespace(b)
	h := open(b, Objects{})
	if err := h.Observe(); err != nil {
		b.Fatal(err)
	}
	c, err := rtnl.Dial()
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	var batch rtnl.Batch
	header := [unix.SizeofIfAddrmsg]byte{0: unix.AF_INET, 1: 16}
	native.PutUint32(header[4:], uint32(h.state.ifaces.byName[uplink]))
	batch.Message(unix.RTM_NEWADDR, unix.NLM_F_CREATE, header[:])
	batch.Addr(unix.IFA_LOCAL, addr("198.18.0.1"))
	if errs, err := c.Execute(&batch); err != nil || errs[0] != nil {
		b.Fatal(err, errs)
	}
	var all []netip.Addr
	for i := range 1000 {
		all = append(all, netip.AddrFrom4([4]byte{198, 18, byte(i>>8) + 1, byte(i)}))
	}
	for b.Loop() {
		if reached, err := h.Reach(all); err != nil || len(reached[all[7]]) != 1 {
			b.Fatal(err, reached[all[7]])
		}
	}
}
