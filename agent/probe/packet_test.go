package probe

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// laid lays a request out.
func laid(m method, f fabric.Family, size int) []byte {
	return packet{method: m, from: inside(f, 1), to: inside(f, 2), port: 7158, size: uint16(size), nonce: 0x0123456789abcdef}.marshal()
}

// TestPacket: all of a request that can be checked without a network. That
// kernels take its checksums is seen by TestWireAnswers.
func TestPacket(t *testing.T) {
	for _, f := range fabric.Families {
		for _, m := range []method{byAgent, byKernel} {
			for _, size := range []int{smallest, 577, 1450, 9000, 65535} {
				b := laid(m, f, size)
				head := ipv4Len
				if f == fabric.IPv6 {
					head = ipv6Len
				}
				if len(b) != size {
					t.Fatalf("%d bytes, want %d", len(b), size)
				}
				if to, ok := destination(f, b); !ok || to != inside(f, 2) {
					t.Errorf("goes to %s", to)
				}
				if f == fabric.IPv4 && (b[6] != 0x40 || fold(add(0, b[:head])) != 0) {
					t.Errorf("fragmentable, or a wrong checksum: % x", b[:head])
				}
				want := header{kind: request, size: uint16(size), nonce: 0x0123456789abcdef}
				if h, ok := parseHeader(b[head+l4Len:]); !ok || h != want {
					t.Errorf("says %+v, want %+v", h, want)
				}
			}
		}
	}
}

// errorOf is the ICMP error by which a router says that b is larger than mtu.
func errorOf(f fabric.Family, b []byte, mtu int) []byte {
	e := make([]byte, l4Len, l4Len+64)
	e[0], e[1] = unreachable4, fragNeeded
	if f == fabric.IPv6 {
		e[0], e[1] = tooBig6, 0
	}
	binary.BigEndian.PutUint32(e[4:], uint32(mtu))
	return append(e, b[:64]...)
}

// echoed is the answer of a kernel to an echo request.
func echoed(f fabric.Family, b []byte) []byte {
	if f == fabric.IPv4 {
		b = slices.Clone(b[ipv4Len:])
		b[0] = echoReply4
		return b
	}
	b = slices.Clone(b[ipv6Len:])
	b[0] = echoReply6
	return b
}

func TestParseICMP(t *testing.T) {
	for _, f := range fabric.Families {
		other := fabric.IPv4 + fabric.IPv6 - f
		m, ok := parseICMP(f, echoed(f, laid(byKernel, f, 1450)))
		if want := (icmp{header: header{request, 1450, 0x0123456789abcdef}}); !ok || m != want {
			t.Errorf("echo reply: %+v, want %+v", m, want)
		}
		m, ok = parseICMP(f, errorOf(f, laid(byAgent, f, 1450), 1400))
		if want := (icmp{hint: hint{inside(f, 2), 1400}}); !ok || m != want {
			t.Errorf("error: %+v, want %+v", m, want)
		}
		for name, b := range map[string][]byte{
			"nothing":         nil,
			"short":           errorOf(f, laid(byAgent, f, 1450), 1400)[:20],
			"other family":    errorOf(f, laid(byAgent, other, 1450), 1400),
			"type of other":   echoed(other, laid(byKernel, other, 1450)),
			"somebody's echo": append([]byte{map[fabric.Family]byte{fabric.IPv4: 0, fabric.IPv6: 129}[f]}, make([]byte, 60)...),
		} {
			if m, ok := parseICMP(f, b); ok {
				t.Errorf("%s is taken for %+v", name, m)
			}
		}
	}
}

// FuzzHeader: whatever arrives, what is read of it is what was written.
func FuzzHeader(f *testing.F) {
	var b [headerLen]byte
	header{answer, 1450, 1 << 60}.put(b[:])
	f.Add(b[:])
	f.Add([]byte("weft\x02\x01"))
	f.Add(laid(byAgent, fabric.IPv4, 100)[ipv4Len+l4Len:])
	f.Fuzz(func(t *testing.T, in []byte) {
		h, ok := parseHeader(in)
		if !ok {
			return
		}
		var out [headerLen]byte
		h.put(out[:])
		if string(out[:]) != string(in[:headerLen]) {
			t.Errorf("% x was read as %+v, which is % x", in, h, out)
		}
	})
}

// FuzzICMP: nothing that arrives at a raw socket disturbs, and what is a hint
// concerns an address of the family.
func FuzzICMP(f *testing.F) {
	for _, family := range fabric.Families {
		f.Add(uint8(family), echoed(family, laid(byKernel, family, 100)))
		f.Add(uint8(family), errorOf(family, laid(byAgent, family, 100), 1400))
		f.Add(uint8(family), errorOf(family, laid(byAgent, family, 100), 1<<31))
	}
	f.Fuzz(func(t *testing.T, v uint8, b []byte) {
		family := fabric.Families[v%2]
		m, ok := parseICMP(family, b)
		switch {
		case !ok:
		case m.hint.to.IsValid():
			if fabric.FamilyOf(m.hint.to) != family || m.hint.mtu < 0 || m.hint.mtu > 1<<16 {
				t.Errorf("%+v", m)
			}
			s := newSearch(family == fabric.IPv6, 1500, 0, 1)
			if s.hinted(m.hint.mtu); s.hint != 0 && (s.hint < s.floor || s.hint > s.full) {
				t.Errorf("hint out of bounds: %+v", s)
			}
		case m.kind != request:
			t.Errorf("an echo reply of kind %d", m.kind)
		}
	})
}

// FuzzControl: control messages come from the kernel, but lengths are lengths.
func FuzzControl(f *testing.F) {
	f.Add(unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: [4]byte{10, 1, 1, 1}}))
	f.Add(unix.PktInfo6(&unix.Inet6Pktinfo{Addr: inside(fabric.IPv6, 1).As16()}))
	f.Fuzz(func(t *testing.T, b []byte) {
		to := arrivedAt(b)
		if out := sourced(b); to.IsValid() && arrivedAt(out) != to {
			t.Errorf("answers to %s come from %s", to, arrivedAt(out))
		}
	})
}

func TestSourced(t *testing.T) {
	for _, a := range []netip.Addr{inside(fabric.IPv4, 1), inside(fabric.IPv6, 1)} {
		info := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: a.As16(), Ifindex: 7})
		if a.Is4() {
			info = unix.PktInfo4(&unix.Inet4Pktinfo{Spec_dst: a.As4(), Ifindex: 7})
		}
		if got := arrivedAt(sourced(info)); got != a {
			t.Errorf("an answer comes from %s, want %s", got, a)
		}
	}
	if sourced(nil) != nil {
		t.Error("an address out of nothing")
	}
}
