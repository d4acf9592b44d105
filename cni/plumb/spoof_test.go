package plumb

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/netip"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel/rtnl"
)

// wire is a packet socket on the interface of a pod, or on the bridge.
type wire struct {
	t  testing.TB
	fd int
}

func open(t testing.TB, iface string) *wire {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0x0300) // ETH_P_ALL in network order
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	r, err := unix.NewIfreq(iface)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, r)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: 0x0300, Ifindex: int(r.Uint32())})
	}
	if err == nil {
		err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 20})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &wire{t, fd}
}

func (n netns) open(t testing.TB, iface string) (w *wire) {
	t.Helper()
	if err := rtnl.Within(int(n.Fd()), func() error { w = open(t, iface); return nil }); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	if _, err := unix.Write(w.fd, frame); err != nil {
		w.t.Fatal(err)
	}
}

// until reads frames up to the one that has last in it, and reports whether one
// that has want in it was among them.
func (w *wire) until(last, want []byte) (seen bool) {
	w.t.Helper()
	buf := make([]byte, 4096)
	for {
		n, err := unix.Read(w.fd, buf)
		if err != nil {
			w.t.Fatalf("waiting for the last frame: %v", err)
		}
		if bytes.Contains(buf[:n], last) {
			return seen
		}
		seen = seen || bytes.Contains(buf[:n], want)
	}
}

// pin keeps the test's thread on one processor: frames that it sends through
// virtual devices then arrive in their order.
func pin(t testing.TB) {
	t.Helper()
	runtime.LockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		t.Fatal(err)
	}
	for cpu := range 1024 {
		if old.IsSet(cpu) {
			one.Set(cpu)
			break
		}
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		t.Fatal(err)
	}
}

var (
	everybody = fabric.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	allNodes  = netip.MustParseAddr("ff02::1")
)

func ether(dst, src fabric.MAC, typ uint16, payload ...[]byte) []byte {
	f := append(append([]byte{}, dst[:]...), src[:]...)
	return append(binary.BigEndian.AppendUint16(f, typ), bytes.Join(payload, nil)...)
}

// arpPacket has the sender's and the target's hardware and IP addresses.
func arpPacket(op byte, sha fabric.MAC, spa netip.Addr, tha fabric.MAC, tpa netip.Addr) []byte {
	return bytes.Join([][]byte{{0, 1, 8, 0, 6, 4, 0, op}, sha[:], spa.AsSlice(), tha[:], tpa.AsSlice()}, nil)
}

func ip4(src, dst netip.Addr, id byte) []byte {
	h := append([]byte{0x45, 0, 0, 28, 0, id, 0, 0, 64, unix.IPPROTO_UDP, 0, 0}, src.AsSlice()...)
	h = append(h, dst.AsSlice()...)
	binary.BigEndian.PutUint16(h[10:], checksum(h))
	return append(h, 0, 9, 0, 9, 0, 8, 0, 0)
}

// ip6 is a packet whose first header after the fixed one is next.
func ip6(src, dst netip.Addr, next byte, parts ...[]byte) []byte {
	payload := bytes.Join(parts, nil)
	h := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), next, 255}
	return bytes.Join([][]byte{h, src.AsSlice(), dst.AsSlice(), payload}, nil)
}

// nd is a neighbour discovery message about target.
func nd(typ byte, target netip.Addr) []byte {
	return append([]byte{typ, 0, 0, 0, 0x20, 0, 0, 0}, target.AsSlice()...)
}

// report is an MLDv2 report of no groups; the bridge looks at its checksum (RFC
// 3810, section 5.2).
func report(src netip.Addr) []byte {
	all := netip.MustParseAddr("ff02::16")
	return ip6(src, all, unix.IPPROTO_HOPOPTS, []byte{unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0}, summed(src, all, []byte{143, 0, 0, 0, 0, 0, 0, 0}))
}

// summed is an ICMPv6 message with its checksum.
func summed(src, dst netip.Addr, body []byte) []byte {
	pseudo := [][]byte{src.AsSlice(), dst.AsSlice(), {0, 0, 0, byte(len(body)), 0, 0, 0, unix.IPPROTO_ICMPV6}, body}
	binary.BigEndian.PutUint16(body[2:], checksum(bytes.Join(pseudo, nil)))
	return body
}

// sending is something that a pod sends.
type sending struct {
	name   string
	frame  []byte
	passes bool
}

// core is the part of the frame that arrives as it was sent: a VLAN tag is taken
// off on the way, and the bridge cuts off what a packet does not need.
func (s sending) core() []byte { return s.frame[len(s.frame)-min(24, len(s.frame)-14):] }

// spoofing has what the pod me may and may not send where other is another pod.
func spoofing(me, other *Pod) []sending {
	mac, theirs := me.MAC(), other.MAC()
	my4, my6, their4, their6 := me.Addrs[0].Addr(), me.Addrs[1].Addr(), other.Addrs[0].Addr(), other.Addrs[1].Addr()
	none4, none6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	gw4, gw6 := gateway4.Addr(), gateway6.Addr()
	myLL, theirLL := linkLocal(mac), linkLocal(theirs)
	all := fabric.MAC{0x33, 0x33, 0, 0, 0, 1}
	arp := func(src fabric.MAC, p []byte) []byte { return ether(everybody, src, 0x0806, p) }
	from6 := func(src netip.Addr, next byte, parts ...[]byte) []byte {
		if last := parts[len(parts)-1]; next == unix.IPPROTO_ICMPV6 || len(parts) > 1 && parts[len(parts)-2][0] == unix.IPPROTO_ICMPV6 {
			parts[len(parts)-1] = summed(src, allNodes, append([]byte{}, last...))
		}
		return ether(all, mac, 0x86dd, ip6(src, allNodes, next, parts...))
	}
	const udp, icmp, hopopt, fragment, dstopt = unix.IPPROTO_UDP, unix.IPPROTO_ICMPV6, unix.IPPROTO_HOPOPTS, unix.IPPROTO_FRAGMENT, unix.IPPROTO_DSTOPTS
	pad := func(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} } // an option header of padding
	frag := func(next, offset byte, more byte) []byte { return []byte{next, 0, 0, offset<<3 | more, 0, 0, 0, 7} }
	datagram := []byte{0, 9, 0, 9, 0, 8, 0, 0}
	echo := []byte{128, 0, 0, 0, 0, 1, 0, 1}
	lengths := arpPacket(1, mac, my4, everybody, my4)
	lengths[4] = 8
	var out []sending
	yes := func(name string, frame []byte) { out = append(out, sending{name, frame, true}) }
	no := func(name string, frame []byte) { out = append(out, sending{name, frame, false}) }

	yes("IPv4", ether(everybody, mac, 0x0800, ip4(my4, their4, 0)))
	yes("IPv4 to a group", ether(fabric.MAC{1, 0, 0x5e, 0, 0, 5}, mac, 0x0800, ip4(my4, netip.MustParseAddr("224.0.0.5"), 0)))
	no("IPv4 from another's address", ether(everybody, mac, 0x0800, ip4(their4, gw4, 0)))
	no("IPv4 from the gateway's address", ether(everybody, mac, 0x0800, ip4(gw4, their4, 0)))
	no("IPv4 from another's MAC", ether(everybody, theirs, 0x0800, ip4(my4, their4, 0)))
	no("IPv4 as another altogether", ether(everybody, theirs, 0x0800, ip4(their4, gw4, 0)))
	no("IPv4 from no address", ether(everybody, mac, 0x0800, ip4(none4, their4, 0)))
	no("VLAN tag", ether(everybody, mac, 0x8100, []byte{0, 5, 8, 0}, ip4(my4, their4, 0)))
	no("VLAN tag, another's address", ether(everybody, mac, 0x8100, []byte{0, 5, 8, 0}, ip4(their4, gw4, 0)))
	no("two VLAN tags", ether(everybody, mac, 0x88a8, []byte{0, 5, 0x81, 0, 0, 6, 8, 0}, ip4(my4, their4, 0)))
	no("another protocol", ether(everybody, mac, 0x88cc, []byte("link layer discovery")))
	no("LLC", ether(fabric.MAC{1, 0x80, 0xc2, 0, 0, 0}, mac, 0x0026, make([]byte, 38)))

	yes("ARP request", arp(mac, arpPacket(1, mac, my4, fabric.MAC{}, their4)))
	yes("ARP reply", arp(mac, arpPacket(2, mac, my4, theirs, their4)))
	yes("gratuitous ARP", arp(mac, arpPacket(1, mac, my4, fabric.MAC{}, my4)))
	yes("ARP probe", arp(mac, arpPacket(1, mac, none4, fabric.MAC{}, my4)))
	no("ARP probe for another's address", arp(mac, arpPacket(1, mac, none4, fabric.MAC{}, their4)))
	no("ARP reply for the gateway", arp(mac, arpPacket(2, mac, gw4, theirs, their4)))
	no("ARP request as the gateway", arp(mac, arpPacket(1, mac, gw4, fabric.MAC{}, their4)))
	no("ARP reply with another's MAC in it", arp(mac, arpPacket(2, theirs, my4, theirs, their4)))
	no("ARP from another's MAC", arp(theirs, arpPacket(1, mac, my4, fabric.MAC{}, their4)))
	no("ARP of odd lengths", arp(mac, lengths))

	yes("IPv6", from6(my6, udp, datagram))
	yes("IPv6 from the link-local address", from6(myLL, udp, datagram))
	yes("IPv6 with extension headers", from6(my6, hopopt, pad(dstopt), pad(udp), datagram))
	yes("a fragment", from6(my6, fragment, frag(udp, 4, 0), datagram))
	no("IPv6 from another's address", from6(their6, udp, datagram))
	no("IPv6 from another's link-local address", from6(theirLL, udp, datagram))
	no("IPv6 from the gateway's address, extension headers", from6(gw6, hopopt, pad(dstopt), pad(udp), datagram))
	no("IPv6 from another's MAC", ether(all, theirs, 0x86dd, ip6(my6, allNodes, udp, datagram)))
	yes("ping", from6(my6, icmp, echo))
	no("ping as another", from6(their6, icmp, echo))
	yes("ping, first fragment", from6(my6, fragment, frag(icmp, 0, 1), echo))
	yes("ping, last fragment", from6(my6, fragment, frag(icmp, 4, 0), echo))
	no("ping as another, last fragment", from6(their6, fragment, frag(icmp, 4, 0), echo))
	yes("neighbour solicitation", from6(my6, icmp, nd(135, their6)))
	yes("neighbour solicitation, link-local", from6(myLL, icmp, nd(135, their6)))
	no("neighbour solicitation as the gateway", from6(gw6, icmp, nd(135, their6)))
	yes("duplicate address detection", from6(none6, icmp, nd(135, myLL)))
	no("duplicate address detection of another's", from6(none6, icmp, nd(135, theirLL)))
	no("duplicate address detection of another's, extension header", from6(none6, hopopt, pad(icmp), nd(135, theirLL)))
	yes("neighbour advertisement", from6(my6, icmp, nd(136, my6)))
	yes("neighbour advertisement, link-local", from6(myLL, icmp, nd(136, myLL)))
	no("neighbour advertisement for the gateway", from6(my6, icmp, nd(136, gw6)))
	no("neighbour advertisement as the gateway", from6(gw6, icmp, nd(136, gw6)))
	no("neighbour advertisement for the gateway, extension headers", from6(my6, hopopt, pad(dstopt), pad(icmp), nd(136, gw6)))
	no("neighbour advertisement for the gateway, first fragment", from6(my6, fragment, frag(icmp, 0, 1), nd(136, gw6)))
	no("neighbour advertisement for the gateway, behind a first fragment without it", from6(my6, fragment, frag(dstopt, 0, 1), pad(icmp)))
	no("router advertisement", from6(myLL, icmp, []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}))
	no("router advertisement, extension header", from6(myLL, hopopt, pad(icmp), []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}))
	no("redirect", from6(myLL, icmp, append(nd(137, my6), their6.AsSlice()...)))
	yes("group report", ether(all, mac, 0x86dd, report(myLL)))
	yes("group report before there is an address", ether(all, mac, 0x86dd, report(none6)))
	no("group report from another's MAC", ether(all, theirs, 0x86dd, report(none6)))
	return out
}

// TestSpoofing: what a guarded pod sends as somebody else, or as nobody that it
// could be, reaches neither another pod nor the host, is counted, and what it
// sends as itself arrives.
func TestSpoofing(t *testing.T) {
	dropped := 0
	testSending(t, true, func(c sending) bool {
		if !c.passes {
			dropped++
		}
		return c.passes
	})
	rules := testns.Run(t, "nft", "list", "table", "bridge", "weft")
	if want := fmt.Sprintf("counter packets %d ", dropped); !strings.Contains(rules, want) {
		t.Errorf("want %q in\n%s", want, rules)
	}
}

// TestUnguarded: without a guard all of it passes, while another port of the
// bridge is guarded; so nothing but the guard stops it.
func TestUnguarded(t *testing.T) { testSending(t, false, func(sending) bool { return true }) }

func testSending(t *testing.T, guarded bool, want func(sending) bool) {
	h := newHost(t)
	me, other := h.pod(2, "46"), h.pod(3, "46")
	me.Guarded = guarded
	mine, theirs := h.netns(), h.netns()
	h.attach(me, mine)
	h.attach(other, theirs)
	pin(t)
	out, atPod, atHost := mine.open(t, "eth0"), theirs.open(t, "eth0"), open(t, "weft0")
	for i, c := range spoofing(me, other) {
		last := ip4(me.Addrs[0].Addr(), gateway4.Addr(), byte(i+1))
		out.send(c.frame)
		out.send(ether(everybody, me.MAC(), 0x0800, last))
		want := want(c)
		if got := atPod.until(last, c.core()); got != want {
			t.Errorf("%s: reached the other pod: %t", c.name, got)
		}
		if got := atHost.until(last, c.core()); got != want {
			t.Errorf("%s: reached the host: %t", c.name, got)
		}
	}
}

// TestMulticastRouter: a pod that asks for groups as a multicast router does
// becomes none: it would get what is sent to anybody's group, and whom it does
// not ask would lose his, neighbour solicitations with it.
func TestMulticastRouter(t *testing.T) {
	h := newHost(t)
	me := h.pod(2, "46")
	mine := h.netns()
	h.attach(me, mine)
	from := linkLocal(me.MAC())
	query := append([]byte{130, 0, 0, 0, 0, 1, 0, 0}, make([]byte, 16+4)...) // MLDv2, for all groups
	packet := ip6(from, allNodes, unix.IPPROTO_HOPOPTS, []byte{unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0}, summed(from, allNodes, query))
	mine.open(t, "eth0").send(ether(fabric.MAC{0x33, 0x33, 0, 0, 0, 1}, me.MAC(), 0x86dd, packet))
	if out := testns.Run(t, "bridge", "-d", "mdb", "show", "dev", "weft0"); strings.Contains(out, me.HostInterface()) {
		t.Errorf("the bridge keeps account of groups:\n%s", out)
	}
}
