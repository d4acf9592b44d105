package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// place is a network namespace of a test's world.
type place struct{ ns *os.File }

// newPlace makes one; it goes with the test.
func newPlace(t testing.TB) place {
	t.Helper()
	testns.New(t)
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	p := place{f}
	p.enter(t)
	return p
}

// enter moves the test's thread there; sockets and programs follow.
func (p place) enter(t testing.TB) {
	t.Helper()
	if err := unix.Setns(int(p.ns.Fd()), unix.CLONE_NEWNET); err != nil {
		t.Fatal(err)
	}
}

// path names the namespace for ip(8).
func (p place) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), p.ns.Fd()) }

// world is a pod on the host, whose kernel is under test, with two uplinks to
// one router, and a peer behind that. The peer is host and pod in one: it has
// the address number 7 of subnet 1 and sends all answers by the router.
type world struct{ pod, host, router, peer place }

const full = 1430 // what pods send at most: it fits with any overhead

func newWorld(t *testing.T) world {
	t.Helper()
	w := world{pod: newPlace(t), host: newPlace(t), router: newPlace(t), peer: newPlace(t)}
	w.peer.enter(t)
	wire := func(from place, a string, to place, b string) {
		run(t, "ip", "link", "add", a, "netns", from.path(), "type", "veth", "peer", "name", b, "netns", to.path())
	}
	wire(w.pod, "eth0", w.host, "pod0")
	wire(w.host, uplink, w.router, "h1")
	wire(w.host, "up2", w.router, "h2")
	wire(w.router, "p1", w.peer, "eth0")
	forward := "sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1 net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0; "
	w.pod.enter(t)
	commands(t, "ip link set eth0 up; ip addr add 10.255.0.7/24 dev eth0; ip addr add fd00:1:0:ff00::7/64 dev eth0 nodad; "+
		"ip route add default via 10.255.0.1; ip -6 route add default via fd00:1:0:ff00::1")
	w.router.enter(t)
	commands(t, forward+"ip link set h1 up; ip link set h2 up; ip link set p1 up; "+
		"ip addr add 198.18.0.254/24 dev h1; ip addr add 198.18.2.254/24 dev h2; ip addr add 198.18.1.254/24 dev p1; "+
		"ip addr add fd18::254/64 dev h1 nodad; ip addr add fd18:2::254/64 dev h2 nodad; ip addr add fd18:1::254/64 dev p1 nodad; "+
		"ip route add 10.0.1.0/24 via 198.18.1.1; ip -6 route add fd00:1:0:1::/64 via fd18:1::1; "+
		"ip route add 10.255.0.0/24 via 198.18.0.1; ip -6 route add fd00:1:0:ff00::/64 via fd18::1")
	w.peer.enter(t)
	commands(t, forward+"ip link set eth0 up; ip addr add 198.18.1.1/24 dev eth0; ip addr add fd18:1::1/64 dev eth0 nodad; "+
		"ip route add default via 198.18.1.254; ip -6 route add default via fd18:1::254; "+
		"ip addr add 10.0.1.7/32 dev lo; ip addr add fd00:1:0:1::7/128 dev lo")
	w.host.enter(t)
	commands(t, forward+"ip link set pod0 up; ip link set up0 up; ip link set up2 up; "+
		"ip addr add 10.255.0.1/24 dev pod0; ip addr add fd00:1:0:ff00::1/64 dev pod0 nodad; "+
		"ip addr add 198.18.0.1/24 dev up0; ip addr add 198.18.2.1/24 dev up2; ip addr add fd18::1/64 dev up0 nodad; ip addr add fd18:2::1/64 dev up2 nodad; "+
		"ip route add default via 198.18.0.254; ip -6 route add default via fd18::254")
	return w
}

// outer are the underlay addresses of the host and the peer.
func outer(f fabric.Family) (host, peer netip.Addr) {
	if f == fabric.IPv4 {
		return addr("198.18.0.1"), addr("198.18.1.1")
	}
	return addr("fd18::1"), addr("fd18:1::1")
}

// The ways to the peer, as ids of nexthop objects.
type ways struct{ tunnel, single, group uint32 }

func waysOf(f fabric.Family) ways {
	n := uint32(0x100)
	if f == fabric.IPv6 {
		n = 0x200
	}
	return ways{NexthopID(1, f, 0), SharedNexthop(n), SharedNexthop(n + 2)}
}

// armed is what the host needs for all ways to the peer with a tunnel over a
// family, without routes; the peer is made to receive by the tunnel.
func (w world) armed(t *testing.T, over fabric.Family, df bool) Objects {
	t.Helper()
	local, far := outer(over)
	w.peer.enter(t)
	commands(t, fmt.Sprintf("ip link add %s type vxlan id 1 dstport 4789 local %s dev eth0 nolearning; ip link set %s address %s up", overlay, far, overlay, vtep(1)))
	w.host.enter(t)
	o := peer(1, fabric.IPv4, fabric.IPv6)
	o.FDB[0].Dst, o.Routes = far, nil
	o.Links = []Link{{Name: overlay, Kind: VXLAN, MAC: vtep(0xff00), MTU: full, VXLAN: VXLANConfig{VNI: 1, Port: 4789, Uplink: uplink, Local: local, DF: df}}}
	o.Sysctls = []Sysctl{{"net/ipv4/ip_forward_use_pmtu", "1"}}
	gateways := fabric.PerFamily[[2]netip.Addr]{
		IPv4: [2]netip.Addr{addr("198.18.0.254"), addr("198.18.2.254")}, IPv6: [2]netip.Addr{addr("fd18::254"), addr("fd18:2::254")},
	}
	for _, f := range fabric.Families {
		id, via := waysOf(f), gateways.Get(f)
		o.Nexthops = append(o.Nexthops, Hop{uplink, via[0]}.Nexthop(id.single), Hop{"up2", via[1]}.Nexthop(id.single+1),
			Nexthop{ID: id.group, Group: GroupOf(id.single, id.single+1)})
	}
	return o
}

// routesTo are those to the peer, by the way that pick names.
func routesTo(mtu int, pick func(ways) uint32) (o Objects) {
	for _, f := range fabric.Families {
		o.Routes = append(o.Routes, Route{RouteKey: RouteKey{subnet(f, 1), Metric}, Nexthop: pick(waysOf(f)), MTU: mtu})
	}
	return o
}

func byTunnel(w ways) uint32 { return w.tunnel }
func bySingle(w ways) uint32 { return w.single }
func byGroup(w ways) uint32  { return w.group }

// far is the peer's address in the pods' network, and gatewayOf the pod's gateway.
func far(f fabric.Family) netip.Addr {
	return fabric.PerFamily[netip.Addr]{IPv4: addr("10.0.1.7"), IPv6: addr("fd00:1:0:1::7")}.Get(f)
}

func gatewayOf(f fabric.Family) netip.Addr {
	return fabric.PerFamily[netip.Addr]{IPv4: addr("10.255.0.1"), IPv6: addr("fd00:1:0:ff00::1")}.Get(f)
}

// shrink gives the link between router and peer an MTU. A mute router says
// nothing of what it drops.
func (w world) shrink(t *testing.T, mtu int, mute bool) {
	t.Helper()
	w.router.enter(t)
	commands(t, fmt.Sprintf("ip link set p1 mtu %d", mtu))
	if mute {
		run(t, "nft", "-f", "testdata/mute.nft")
	}
	w.peer.enter(t)
	commands(t, fmt.Sprintf("ip link set eth0 mtu %d", mtu))
	w.host.enter(t)
}

// pinger sends ICMP echoes from the pod that the pod's own kernel lets pass
// whatever it has learnt.
type pinger struct {
	fd  int
	f   fabric.Family
	seq uint16
}

func (w world) pinger(t *testing.T, f fabric.Family) *pinger {
	t.Helper()
	w.pod.enter(t)
	domain, proto, level, option := unix.AF_INET, unix.IPPROTO_ICMP, unix.IPPROTO_IP, unix.IP_MTU_DISCOVER
	if f == fabric.IPv6 {
		domain, proto, level, option = unix.AF_INET6, unix.IPPROTO_ICMPV6, unix.IPPROTO_IPV6, unix.IPV6_MTU_DISCOVER
	}
	fd, err := unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, proto)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	err = unix.SetsockoptInt(fd, level, option, unix.IP_PMTUDISC_PROBE)
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 200000})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.host.enter(t)
	return &pinger{fd: fd, f: f}
}

// ask sends an echo of a size, its IP header included, and then a small one.
// Once the small one is answered it is known what became of the large one:
// "arrives", "lost", or what the pod was told.
func (p *pinger) ask(t *testing.T, size int) string {
	t.Helper()
	p.seq++
	large, outcome := p.seq, "lost"
	p.send(t, size)
	p.seq++
	p.send(t, 100)
	for late := time.Now().Add(time.Minute); time.Now().Before(late); {
		from, m, ok := p.receive()
		switch {
		case !ok:
			p.send(t, 100) // the way may not have been up yet
		case m.reply && m.seq == p.seq:
			return outcome
		case m.reply && m.seq == large:
			outcome = "arrives"
		case m.mtu != 0 && outcome == "lost":
			outcome = fmt.Sprintf("too big for %d, says %s", m.mtu, from)
		}
	}
	t.Fatalf("%s never answers", far(p.f))
	return ""
}

func (p *pinger) send(t *testing.T, size int) {
	t.Helper()
	header, typ := 20, byte(8)
	var to unix.Sockaddr = &unix.SockaddrInet4{Addr: far(fabric.IPv4).As4()}
	if p.f == fabric.IPv6 {
		header, typ, to = 40, 128, &unix.SockaddrInet6{Addr: far(fabric.IPv6).As16()}
	}
	b := make([]byte, size-header)
	b[0] = typ
	binary.BigEndian.PutUint16(b[4:], 4242)
	binary.BigEndian.PutUint16(b[6:], p.seq)
	binary.BigEndian.PutUint16(b[2:], ^sum(b)) // the kernel does it for IPv6
	if err := unix.Sendto(p.fd, b, 0, to); err != nil {
		t.Fatal(err)
	}
}

// sum is the Internet checksum's (RFC 1071), of an even number of bytes.
func sum(b []byte) uint16 {
	var s uint32
	for ; len(b) > 1; b = b[2:] {
		s += uint32(binary.BigEndian.Uint16(b))
	}
	for s>>16 != 0 {
		s = s&0xffff + s>>16
	}
	return uint16(s)
}

// answer is an ICMP message to the pod: an echo's, or an MTU.
type answer struct {
	reply bool
	seq   uint16
	mtu   int
}

func (p *pinger) receive() (from netip.Addr, m answer, ok bool) {
	b := make([]byte, 2048)
	n, sa, err := unix.Recvfrom(p.fd, b, 0)
	if err != nil || n < 28 {
		return from, m, false
	}
	b = b[:n]
	switch a := sa.(type) {
	case *unix.SockaddrInet4:
		from, b = netip.AddrFrom4(a.Addr), b[20:]
	case *unix.SockaddrInet6:
		from = netip.AddrFrom16(a.Addr)
	}
	switch b[0] {
	case 0, 129:
		m.reply, m.seq = true, binary.BigEndian.Uint16(b[6:])
	case 3: // RFC 1191
		m.mtu = int(binary.BigEndian.Uint16(b[6:]))
	case 2: // RFC 4443, 3.2
		m.mtu = int(binary.BigEndian.Uint32(b[4:]))
	}
	return from, m, true
}

// becomes asks until the outcome is want; the kernel learns a step per packet.
func (p *pinger) becomes(t *testing.T, size int, want string) {
	t.Helper()
	var got string
	for range 10 {
		if got = p.ask(t, size); got == want {
			return
		}
	}
	t.Errorf("%d bytes of %v: %s; want %s", size, p.f, got, want)
}
