package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

func tooBig(f fabric.Family, mtu int) string {
	return fmt.Sprintf("too big for %d, says %s", mtu, gatewayOf(f))
}

// inside is what a tunnel over a family has room for: an MTU less the outer IP
// header, UDP, VXLAN and the inner Ethernet header (RFC 7348).
func inside(over fabric.Family, mtu int) int {
	return mtu - 8 - 8 - 14 - fabric.PerFamily[int]{IPv4: 20, IPv6: 40}.Get(over)
}

// Forwarding heeds the MTU of a route, whatever it leads to, and the pod is
// told by its gateway.
func TestForwardingHeedsRouteMTU(t *testing.T) {
	w := newWorld(t)
	armed := w.armed(t, fabric.IPv4, true)
	h := open(t, armed)
	for name, way := range map[string]func(ways) uint32{"tunnel": byTunnel, "single": bySingle, "group": byGroup} {
		h.Update(Objects{}, routesTo(0, way))
		inSync(t, h)
		for _, f := range fabric.Families {
			p := w.pinger(t, f)
			if got := p.ask(t, full); got != "arrives" {
				t.Errorf("%s %v: %s", name, f, got)
			}
		}
		h.Update(Objects{}, routesTo(1400, way))
		if r := inSync(t, h); r.Writes != 2 {
			t.Errorf("%s: %d writes", name, r.Writes)
		}
		for _, f := range fabric.Families {
			p := w.pinger(t, f)
			if got := p.ask(t, full); got != tooBig(f, 1400) {
				t.Errorf("%s %v: %s", name, f, got)
			}
			if got := p.ask(t, 1400); got != "arrives" {
				t.Errorf("%s %v at its MTU: %s", name, f, got)
			}
		}
	}
}

// The underlay shrinks under the tunnel: pods are told, or, where the router is
// mute, only when a route says so.
func TestUnderlayShrinks(t *testing.T) {
	for _, over := range fabric.Families {
		inner := inside(over, 1400)
		for _, mute := range []bool{false, true} {
			t.Run(fmt.Sprintf("over %v, mute %v", over, mute), func(t *testing.T) {
				w := newWorld(t)
				h := open(t, join(w.armed(t, over, true), routesTo(0, byTunnel)))
				inSync(t, h)
				pingers := [2]*pinger{w.pinger(t, 4), w.pinger(t, 6)}
				for _, p := range pingers {
					p.becomes(t, full, "arrives")
				}
				w.shrink(t, 1400, mute)
				if mute {
					for range 3 {
						for _, p := range pingers {
							if got := p.ask(t, full); got != "lost" {
								t.Fatalf("%v: %s", p.f, got)
							}
						}
					}
					h.Update(Objects{}, routesTo(inner, byTunnel))
					inSync(t, h)
				}
				for _, p := range pingers {
					p.becomes(t, full, tooBig(p.f, inner))
					p.becomes(t, inner, "arrives")
				}
			})
		}
	}
}

// Without the sysctl a tunnel that does not fragment is a black hole for IPv4:
// the two belong together.
func TestDFNeedsForwardUsePMTU(t *testing.T) {
	w := newWorld(t)
	o := join(w.armed(t, fabric.IPv4, true), routesTo(0, byTunnel))
	o.Sysctls[0].Value = "0"
	inSync(t, open(t, o))
	p := w.pinger(t, fabric.IPv4)
	p.becomes(t, full, "arrives")
	w.shrink(t, 1400, false)
	for range 5 {
		if got := p.ask(t, full); got != "lost" {
			t.Errorf("a full packet: %s", got)
		}
	}
	o.Sysctls[0].Value = "1"
	h := open(t, o)
	inSync(t, h)
	p.becomes(t, full, tooBig(fabric.IPv4, 1350))
}

// What was learnt about single destinations does not overrule an MTU that is
// set later, smaller or larger.
func TestRouteMTUOverrulesLearnt(t *testing.T) {
	w := newWorld(t)
	h := open(t, join(w.armed(t, fabric.IPv4, true), routesTo(0, byTunnel)))
	inSync(t, h)
	w.shrink(t, 1400, false)
	pingers := [2]*pinger{w.pinger(t, 4), w.pinger(t, 6)}
	for _, p := range pingers {
		p.becomes(t, full, tooBig(p.f, 1350))
	}
	w.shrink(t, 1500, false)
	for _, mtu := range []int{1300, 1410} {
		h.Update(Objects{}, routesTo(mtu, byTunnel))
		inSync(t, h)
		for _, p := range pingers {
			if got := p.ask(t, full); got != tooBig(p.f, mtu) {
				t.Errorf("%v with a route of %d: %s", p.f, mtu, got)
			}
		}
		// What is known of the far host is another matter, see ForgetPathMTU.
		if _, err := ForgetPathMTU(addr("198.18.1.1")); err != nil {
			t.Fatal(err)
		}
	}
	if r := doSync(t, h); r.Writes != 0 || !r.InSync {
		t.Errorf("%+v", r)
	}
}

// When the underlay is whole again, the host still drops what it sends through
// the tunnel, probes too, until it forgets; and it forgets only what it learnt.
func TestForgetPathMTU(t *testing.T) {
	for _, over := range fabric.Families {
		t.Run(fmt.Sprint(over), func(t *testing.T) {
			w := newWorld(t)
			h := open(t, join(w.armed(t, over, true), routesTo(0, byTunnel)))
			inSync(t, h)
			_, underlay := outer(over)
			if forgot, err := ForgetPathMTU(underlay, addr("203.0.113.1")); forgot || err != nil {
				t.Errorf("forgot %v what it never learnt: %v", forgot, err)
			}
			p := w.pinger(t, over)
			p.becomes(t, full, "arrives")
			w.shrink(t, 1400, false)
			inner := inside(over, 1400)
			p.becomes(t, full, tooBig(over, inner))
			w.shrink(t, 1500, false)
			if got := p.ask(t, full); got != tooBig(over, inner) {
				t.Fatalf("the kernel has forgotten by itself: %s", got)
			}
			probe := w.frames(t)
			if n := probe(3); n != 0 {
				t.Errorf("%d of 3 probes got past what was learnt", n)
			}
			if forgot, err := ForgetPathMTU(underlay); !forgot || err != nil {
				t.Fatalf("forgot %v: %v", forgot, err)
			}
			if n := probe(3); n != 3 {
				t.Errorf("%d of 3 probes arrived", n)
			}
			h.Update(Objects{}, routesTo(full-1, byTunnel)) // pods' destinations
			inSync(t, h)
			h.Update(Objects{}, routesTo(0, byTunnel))
			inSync(t, h)
			p.becomes(t, full, "arrives")
			if out := run(t, "ip", "route", "get", underlay.String()); strings.Contains(out, "mtu") {
				t.Error(out)
			}
		})
	}
}

// frames gives a function that sends full frames from the host's own socket
// through the tunnel, and counts those that come out at the peer.
func (w world) frames(t *testing.T) func(n int) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	link, err := strconv.Atoi(strings.Split(run(t, "ip", "-o", "link", "show", overlay), ":")[0])
	if err != nil {
		t.Fatal(err)
	}
	mac := vtep(1)
	to := &unix.SockaddrLinklayer{Ifindex: link, Halen: 6, Protocol: 0x0008} // ETH_P_IP, network order
	copy(to.Addr[:], mac[:])
	arrived := func() int {
		w.peer.enter(t)
		defer w.host.enter(t)
		return counter(t, "dev", "  "+overlay+":", 2)
	}
	return func(n int) int {
		before := arrived()
		for _, size := range []int{full, 100} { // once small ones are there, so are the others
			for range n {
				packet := make([]byte, size)
				packet[0] = 0x45
				if err := unix.Sendto(fd, packet, 0, to); err != nil {
					t.Fatal(err)
				}
			}
		}
		for late := time.Now().Add(time.Minute); arrived() < before+n && time.Now().Before(late); {
		}
		return arrived() - before - n
	}
}

// counter reads field n of the line of a file of /proc/net that begins with
// prefix and has a number there.
func counter(t *testing.T, file, prefix string, n int) int {
	t.Helper()
	b, err := os.ReadFile("/proc/thread-self/net/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		fields := strings.Fields(line)
		if strings.HasPrefix(strings.TrimSpace(line), strings.TrimSpace(prefix)) && len(fields) > n {
			if v, err := strconv.Atoi(fields[n]); err == nil {
				return v
			}
		}
	}
	t.Fatalf("no %q in %s:\n%s", prefix, file, b)
	return 0
}

// Pods are told of every packet that is too large: no rate limit in between.
func TestTooBigIsNotRateLimited(t *testing.T) {
	w := newWorld(t)
	inSync(t, open(t, join(w.armed(t, fabric.IPv4, true), routesTo(1400, byTunnel))))
	const n = 300
	for _, f := range fabric.Families {
		p := w.pinger(t, f)
		if got := p.ask(t, 100); got != "arrives" {
			t.Fatal(got)
		}
		told := func() int {
			w.pod.enter(t)
			defer w.host.enter(t)
			if f == fabric.IPv4 {
				return counter(t, "snmp", "Icmp:", 4) // InDestUnreachs
			}
			return counter(t, "snmp6", "Icmp6InPktTooBigs", 1)
		}
		before := told()
		for range n {
			p.send(t, full)
		}
		for late := time.Now().Add(time.Minute); told() < before+n && time.Now().Before(late); {
		}
		if got := told() - before; got != n {
			t.Errorf("%v: %d packets, %d answers", f, n, got)
		}
	}
}
