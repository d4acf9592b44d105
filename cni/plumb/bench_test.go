package plumb

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// BenchmarkFrame sends frames from one pod to another: without any rule on the
// bridge, by a port without a guard beside one that has it, and by a guarded
// port. The difference is what the guard costs a packet.
func BenchmarkFrame(b *testing.B) {
	h := newHost(b)
	me, other := h.pod(2, "46"), h.pod(3, "46")
	me.Guarded, other.Guarded = false, false
	mine, theirs := h.netns(), h.netns()
	h.attach(me, mine)
	h.attach(other, theirs)
	out := mine.open(b, "eth0")
	my4, my6 := me.Addrs[0].Addr(), me.Addrs[1].Addr()
	frames := map[string][]byte{
		// To an address that nobody has: the other pod's stack lets go of it early.
		"IPv4": ether(other.MAC(), me.MAC(), 0x0800, ip4(my4, netip.MustParseAddr("10.9.9.9"), 0)),
		"IPv6": ether(other.MAC(), me.MAC(), 0x86dd, ip6(my6, netip.MustParseAddr("fd09::9"), unix.IPPROTO_UDP, []byte{0, 9, 0, 9, 0, 8, 0, 0})),
	}
	mac := other.MAC()
	theirs.open(b, "eth0").send(ether(everybody, mac, 0x0800, ip4(other.Addrs[0].Addr(), my4, 0))) // the bridge learns
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"no rules", func() error { return nil }},
		{"another is guarded", func() error { return AddGuard(GuardOf(other.Attachment, mac, other.Addrs)) }},
		{"guarded", func() error { return AddGuard(GuardOf(me.Attachment, me.MAC(), me.Addrs)) }},
		{"guarded, 1000 others", func() error {
			for n := range 1000 {
				if err := AddGuard(guard(n + 10)); err != nil {
					return err
				}
			}
			return nil
		}},
	} {
		if err := step.do(); err != nil {
			b.Fatal(err)
		}
		for _, family := range []string{"IPv4", "IPv6"} {
			b.Run(step.name+"/"+family, func(b *testing.B) {
				for b.Loop() {
					out.send(frames[family])
				}
			})
		}
	}
}

// BenchmarkGuard is a guard's part of an ADD and of a DEL, with none and with
// 1000 other pods.
func BenchmarkGuard(b *testing.B) {
	testns.New(b)
	g, a := guard(1), attachment(1)
	for _, others := range []int{0, 1000} {
		for n := range others {
			if err := AddGuard(guard(n + 10)); err != nil {
				b.Fatal(err)
			}
		}
		name := map[int]string{0: "alone", 1000: "1000 others"}[others]
		b.Run("add and remove/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := AddGuard(g); err != nil {
					b.Fatal(err)
				}
				if err := Unguard(a); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("add/"+name, func(b *testing.B) {
			for b.Loop() {
				if err := AddGuard(g); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := Unguard(a); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkAttach is the kernel's part of an ADD.
func BenchmarkAttach(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(map[bool]string{false: "unguarded", true: "guarded"}[guarded], func(b *testing.B) {
			h := newHost(b)
			p, in := h.pod(2, "46"), h.netns()
			p.Guarded = guarded
			for b.Loop() {
				if _, err := h.tryAttach(p, in); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := Detach(p.Attachment); err != nil {
					b.Fatal(err)
				}
				if err := Unguard(p.Attachment); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
		})
	}
}

// BenchmarkDetach is the kernel's part of a DEL: it waits for RCU.
func BenchmarkDetach(b *testing.B) {
	for _, guarded := range []bool{false, true} {
		b.Run(map[bool]string{false: "unguarded", true: "guarded"}[guarded], func(b *testing.B) {
			h := newHost(b)
			p, in := h.pod(2, "46"), h.netns()
			p.Guarded = guarded
			for b.Loop() {
				b.StopTimer()
				if _, err := h.tryAttach(p, in); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
				if err := Detach(p.Attachment); err != nil {
					b.Fatal(err)
				}
				if err := Unguard(p.Attachment); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
