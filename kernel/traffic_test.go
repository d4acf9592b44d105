package kernel

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/vishvananda/netlink"
)

// frame is an Ethernet frame with nothing but an IP header in it.
func frame(to net.HardwareAddr, src, dst netip.Addr) []byte {
	f := append(append([]byte{}, to...), 2, 0, 0, 0, 0, 9)
	s, d := src.AsSlice(), dst.AsSlice()
	if dst.Is4() {
		f = append(f, 0x08, 0x00, 0x45, 0, 0, 20, 0, 0, 0, 0, 64, unix.IPPROTO_UDP, 0, 0)
	} else {
		f = append(f, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, unix.IPPROTO_NONE, 64)
	}
	return append(append(f, s...), d...)
}

// wire sends frames out of a device.
func wire(t *testing.T, link string) func(frames ...[]byte) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	if err != nil {
		t.Fatal(err)
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return func(frames ...[]byte) {
		t.Helper()
		for _, f := range frames {
			if err := unix.Sendto(fd, f, 0, &unix.SockaddrLinklayer{Ifindex: l.Attrs().Index, Halen: 6}); err != nil {
				t.Fatal(err)
			}
		}
	}
}

// Packets are counted that arrive from outside for one of the prefixes, each
// once, however many; nothing else is.
func TestTraffic(t *testing.T) {
	underlay(t)
	here, err := netlink.LinkByName(uplink)
	if err != nil {
		t.Fatal(err)
	}
	mac, other := here.Attrs().HardwareAddr, net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	prefixes := []netip.Prefix{
		netip.MustParsePrefix("203.0.113.7/32"), netip.MustParsePrefix("192.0.2.128/25"), netip.MustParsePrefix("2001:db8:1:2::/63"), netip.MustParsePrefix("2001:db8::5/128"),
	}
	local := []netip.Prefix{netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("fd00:1::/40")}
	count, err := NewTraffic(prefixes, local...)
	if err != nil {
		t.Fatal(err)
	}
	defer count.Close()
	client4, client6 := addr("198.51.100.1"), addr("2001:2::1")
	in, out := wire(t, "up1"), wire(t, uplink)
	in(
		frame(mac, client4, addr("203.0.113.6")), frame(mac, client4, addr("192.0.2.127")), frame(mac, addr("203.0.113.7"), client4),
		frame(mac, client6, addr("2001:db8:1:4::1")), frame(mac, client6, addr("2001:db8::6")), frame(mac, client6, addr("2001:db8:2:2::1")),
		frame(mac, addr("10.1.2.9"), addr("203.0.113.7")), frame(mac, addr("fd00:1:7::1"), addr("2001:db8::5")),
		frame(other, client4, addr("203.0.113.7")), // for somebody else
		append(append([]byte{}, mac...), 2, 0, 0, 0, 0, 9, 0x88, 0xcc, 203, 0, 113, 7),
	)
	out(frame(other, client4, addr("203.0.113.7")), frame(other, client6, addr("2001:db8::5")))
	wire(t, "lo")(frame(make([]byte, 6), client4, addr("203.0.113.7"))) // a health probe of our own
	want := uint64(0)
	for range 100 { // more than its buffer holds
		in(frame(mac, client4, addr("203.0.113.7")), frame(mac, client4, addr("192.0.2.200")),
			frame(mac, client6, addr("2001:db8:1:3::1")), frame(mac, client6, addr("2001:db8::5")))
		want += 4
	}
	late := time.Now().Add(time.Minute)
	for got := uint64(0); got < want; {
		if got, err = count.Packets(); err != nil || got > want || time.Now().After(late) {
			t.Fatalf("%d packets, want %d; %v", got, want, err)
		}
	}
	if got, err := count.Packets(); got != want || err != nil {
		t.Errorf("%d packets, want %d; %v", got, want, err)
	}
}

// Every prefix length of either family is accepted by the kernel's checker, no
// prefixes at all count nothing, and too many are refused in words.
func TestTrafficFilters(t *testing.T) {
	underlay(t)
	var all []netip.Prefix
	for bits := range 33 {
		all = append(all, netip.PrefixFrom(addr("203.0.113.7"), bits).Masked())
	}
	for bits := range 129 {
		all = append(all, netip.PrefixFrom(addr("2001:db8::5"), bits).Masked())
	}
	for _, prefixes := range [][]netip.Prefix{nil, all, all[:1], all[33:34]} {
		count, err := NewTraffic(prefixes)
		if err != nil {
			t.Fatal(err)
		}
		if n, err := count.Packets(); n != 0 || err != nil {
			t.Errorf("%d packets, %v", n, err)
		}
		if err := count.Close(); err != nil {
			t.Error(err)
		}
	}
	for range 4 {
		all = append(all, all...)
	}
	if _, err := NewTraffic(all); err == nil {
		t.Error("a filter longer than the kernel takes")
	}
}
