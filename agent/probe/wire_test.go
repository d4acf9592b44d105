package probe

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

const (
	mute   = "nft -f testdata/mute.nft"  // a router that says nothing of what it drops
	eater  = "nft -f testdata/eater.nft" // and one that drops what is large without a word
	noEcho = "sysctl -qw net.ipv4.icmp_echo_ignore_all=1 net.ipv6.icmp.echo_ignore_all=1"
	echo   = "sysctl -qw net.ipv4.icmp_echo_ignore_all=0 net.ipv6.icmp.echo_ignore_all=0"
)

// TestWireAnswers: by every path, of either family, the far agent answers, and
// the far kernel where it is away.
func TestWireAnswers(t *testing.T) {
	for _, tt := range []struct {
		name         string
		agent, there bool
		prepare      string // on the far host
	}{
		{"agent", true, true, noEcho},
		{"kernel", false, true, echo},
		{"neither", false, false, noEcho},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnderlay(t)
			u.two.do(t, tt.prepare)
			if tt.agent {
				u.agent(t, u.two)
			}
			a := u.agent(t, u.one)
			a.Watch(allPaths())
			for _, g := range allPaths() {
				if tt.there {
					a.until(t, g, Answers, g.Full)
				}
			}
			if !tt.there {
				a.eventually(t, func() string {
					if s := a.Stats(); s.Lost < 30 || s.Answering+s.Silent > 0 {
						return fmt.Sprintf("%+v", s)
					}
					return ""
				})
			}
			for _, r := range a.Volley(t.Context(), allPaths(), 2, 0) {
				want := Result{Key: r.Key, Sent: 2}
				if tt.there {
					want.Answered = 2
				}
				if r != want {
					t.Errorf("volley: got %+v, want %+v", r, want)
				}
			}
		})
	}
}

// TestWireShrinks: the underlay shrinks under way, and is whole again.
func TestWireShrinks(t *testing.T) {
	for _, tt := range []struct {
		name         string
		shrink, heal string // on the router
		outer        int
	}{
		{"router says so", "ip link set h2 mtu 1400", "ip link set h2 mtu 1500", 1400},
		{"router says nothing", mute + "; ip link set h2 mtu 1400", "ip link set h2 mtu 1500", 1400},
		{"large packets vanish", eater, "nft delete table inet eater", 1380},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUnderlay(t)
			u.agent(t, u.two)
			a := u.agent(t, u.one)
			a.Watch(allPaths())
			for _, g := range allPaths() {
				a.until(t, g, Answers, g.Full)
			}
			u.router.do(t, tt.shrink)
			for _, g := range allPaths() {
				a.again(g)
			}
			for _, g := range allPaths() {
				a.until(t, g, Answers, carried(g, tt.outer))
			}
			if n := len(a.Reduced()); n != len(allPaths()) {
				t.Errorf("%d paths are reduced, want all", n)
			}
			u.router.do(t, tt.heal)
			a.eventually(t, func() string {
				for _, g := range allPaths() {
					if v := a.Verdict(g.Key); v.MTU < g.Full {
						a.again(g)
						return fmt.Sprintf("%+v: %+v", g.Key, v)
					}
				}
				return ""
			})
		})
	}
}

// carried is what a path carries where the underlay carries outer.
func carried(g Target, outer int) int { return outer - (1500 - g.Full) }

// TestWireForgery: whoever is not a peer gets no answer, and none of what he
// sends is believed.
func TestWireForgery(t *testing.T) {
	u := newUnderlay(t)
	u.two.do(t, noEcho)
	a := u.agent(t, u.one)
	for _, f := range fabric.Families {
		// A pod of host two, and one that takes its host's address and knows all
		// but the nonces.
		stranger := netip.MustParseAddr(map[fabric.Family]string{fabric.IPv4: "10.1.2.9", fabric.IPv6: "fd00:1:2::9"}[f])
		u.two.do(t, fmt.Sprintf("ip addr add %s dev lo", stranger))
		asks := dial(t, u.two, stranger, inside(f, 1))
		forges := dial(t, u.two, inside(f, 2), inside(f, 1))

		a.Watch([]Target{routed(f)})
		before := a.Stats()
		const n = 50
		for i := range n {
			send(t, asks, header{kind: request, size: 100, nonce: uint64(i)})
			send(t, forges, header{kind: answer, size: 1500, nonce: uint64(i)})
		}
		send(t, forges, header{kind: request, size: 100, nonce: 77}) // a peer's, which is answered
		var buf [2048]byte
		for { // probes come, too
			k, err := forges.Read(buf[:])
			h, ok := parseHeader(buf[:k])
			if err != nil || !ok {
				t.Fatalf("no answer to a peer: %+v, %v", h, err)
			}
			if h.kind == request {
				continue
			}
			if want := (header{kind: answer, size: 100, nonce: 77}); h != want || k != headerLen {
				t.Errorf("answer to a peer: %d bytes, %+v, want %+v", k, h, want)
			}
			break
		}
		a.eventually(t, func() string {
			s := a.Stats()
			if s.Refused-before.Refused != n || s.Strays-before.Strays != n || s.Requests-before.Requests != 1 {
				return fmt.Sprintf("%+v, before %+v", s, before)
			}
			return ""
		})
		if v := a.Verdict(routed(f).Key); v.State != Unknown {
			t.Errorf("forged answers are believed: %+v", v)
		}
		if _, _, err := unix.Recvfrom(fdOf(t, asks), buf[:], unix.MSG_DONTWAIT); err != unix.EAGAIN {
			t.Errorf("a stranger was answered: %v", err)
		}
	}
}

// dial opens a UDP socket on a host at the agents' port.
func dial(t *testing.T, p place, from, to netip.Addr) *net.UDPConn {
	t.Helper()
	if err := p.enter(); err != nil {
		t.Fatal(err)
	}
	c, err := net.DialUDP("udp", net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, fabric.ProbePort)),
		net.UDPAddrFromAddrPort(netip.AddrPortFrom(to, fabric.ProbePort)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func send(t *testing.T, c *net.UDPConn, h header) {
	t.Helper()
	var b [100 - ipv4Len - l4Len]byte
	h.put(b[:])
	if _, err := c.Write(b[:]); err != nil {
		t.Fatal(err)
	}
}

func fdOf(t *testing.T, c *net.UDPConn) (fd int) {
	t.Helper()
	if err := control(c, func(n int) error { fd = n; return nil }); err != nil {
		t.Fatal(err)
	}
	return fd
}

// TestPort: where somebody else has the port, the agent says so once, and is
// there when it is free; a port that is changed is followed.
func TestPort(t *testing.T) {
	u := newUnderlay(t)
	if err := u.two.enter(); err != nil {
		t.Fatal(err)
	}
	other, err := net.ListenUDP("udp4", &net.UDPAddr{Port: fabric.ProbePort})
	if err != nil {
		t.Fatal(err)
	}
	log, hook := test.NewNullLogger()
	far := u.agent(t, u.two, func(o *Options) { o.Log = logrus.NewEntry(log) })
	near := u.agent(t, u.one)
	near.Watch([]Target{routed(fabric.IPv4)})
	near.until(t, routed(fabric.IPv4), Answers, 1500) // by the kernel
	said := func() (n int) {
		for _, e := range hook.AllEntries() {
			if strings.Contains(e.Message, "not answered") {
				n++
			}
		}
		return n
	}
	near.eventually(t, func() string {
		if said() == 0 {
			return "nothing was said"
		}
		return ""
	})
	other.Close()
	u.two.do(t, noEcho)
	near.eventually(t, func() string {
		near.again(routed(fabric.IPv4))
		if far.Stats().Requests == 0 {
			return "nobody answers at the port"
		}
		return ""
	})
	for _, a := range []*agent{near, far} {
		a.port.Store(7999)
	}
	before := far.Stats().Requests
	near.eventually(t, func() string {
		near.again(routed(fabric.IPv4))
		if r := near.Volley(t.Context(), []Target{routed(fabric.IPv4)}, 1, 0); r[0].Answered == 0 {
			return "nobody answers at the new port"
		}
		return ""
	})
	if far.Stats().Requests == before {
		t.Error("the port did not change")
	}
	if n := said(); n != 1 {
		t.Errorf("said %d times that the port is taken", n)
	}
}
