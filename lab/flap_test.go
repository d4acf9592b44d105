package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/hostile"
)

// flapper is a peer that comes out of a listen range, from an address of the
// ToR's of its own.
type flapper struct {
	*besieged
	addr netip.Addr
}

const flapperASN = 64667

// flapper opens a range for the one peer in it.
func (b *besieged) flapper(t *testing.T) *flapper {
	t.Helper()
	f := &flapper{besieged: b, addr: netip.MustParseAddr("198.18.1.200")}
	_, err := b.lab.Switch("r1").Run(b.ctx, "ip", "address", "add", f.addr.String()+"/32", "dev", "lo")
	must(t, err)
	must(t, os.WriteFile(b.BGPFile(), []byte(`apiVersion: weft/v1
kind: BGPPeer
metadata: {name: flappers}
spec: {nodes: {}, peer: {range: 198.18.1.200/32}, asn: external}
`), 0o600))
	return f
}

// open opens a session as soon as the agent takes one: it needs a moment to be
// done with the one before.
func (f *flapper) open(t *testing.T) *hostile.Session {
	t.Helper()
	ctx, cancel := context.WithTimeout(f.ctx, time.Minute)
	defer cancel()
	var s *hostile.Session
	must(t, await(ctx, "a session of the flapping peer", func() error {
		var conn net.Conn
		err := f.lab.Switch("r1").Do(func() (err error) {
			dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: f.addr.AsSlice()}}
			conn, err = dialer.DialContext(ctx, "tcp", netip.AddrPortFrom(f.Underlay.IPv4, fabric.BGPPort).String())
			return err
		})
		if err != nil {
			return err
		}
		s, err = hostile.Open(conn, hostile.Config{ASN: flapperASN, RouterID: f.addr})
		return err
	}))
	return s
}

// flap opens sessions, tells a route on each and drops the connection.
func (f *flapper) flap(t *testing.T, times int) {
	t.Helper()
	route := hostile.Route(f.addr, []uint32{flapperASN}, []netip.Prefix{netip.MustParsePrefix("10.244.77.0/24")}).Bytes()
	for range times {
		s := f.open(t)
		_ = s.Send(route) // it may be closed already
		s.Close()
	}
}

// flaps is the count that the agent shows for the sessions of an object.
func (b *besieged) flaps(t *testing.T, object string) (n uint64) {
	t.Helper()
	s, err := b.Agent.BGP(b.ctx)
	must(t, err)
	for _, session := range s.Sessions {
		if strings.HasPrefix(session.Key, object+"/") {
			n += session.Flaps
		}
	}
	return n
}

// goroutines is the agent's number of them.
func (b *besieged) goroutines(t *testing.T) int {
	t.Helper()
	text, err := b.metrics(b.ctx)
	must(t, err)
	for line := range strings.Lines(text) {
		if count, ok := strings.CutPrefix(line, "go_goroutines "); ok {
			n, err := strconv.Atoi(strings.TrimSpace(count))
			must(t, err)
			return n
		}
	}
	t.Fatal("the metrics do not say how many goroutines there are")
	return 0
}

// routeNews collects what the kernel tells of routes to some prefixes until the
// function it returns is called.
func (b *besieged) routeNews(t *testing.T, prefixes ...string) (end func() []string) {
	t.Helper()
	cmd := exec.Command("ip", "monitor", "route")
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, b.Start(cmd))
	news := make(chan []string, 1)
	go func() {
		var lines []string
		for s := bufio.NewScanner(out); s.Scan(); {
			if slices.ContainsFunc(prefixes, func(p string) bool { return strings.Contains(s.Text(), p+" ") }) {
				lines = append(lines, s.Text())
			}
		}
		news <- lines
	}()
	stopped := false
	stop := func() []string {
		stopped = true
		err := cmd.Process.Kill()
		lines := <-news
		_ = cmd.Wait() // killed: that is its error
		must(t, err)
		return lines
	}
	t.Cleanup(func() {
		if !stopped {
			stop()
		}
	})
	return stop
}

// TestFlaps: a peer that flaps 1000 times is counted, costs no more than one
// that flaps a few times, and the routes of a true peer do not move.
func TestFlaps(t *testing.T) {
	t.Parallel()
	b := besiege(t, nil)
	truth := []string{"10.244.98.0/24", "10.244.99.0/24"}
	s := b.accept(t)
	b.send(t, s, b.route(truth...))
	b.send(t, s, hostile.EndOfRIB()...)
	b.waitLearnt(t, truth...)
	f := b.flapper(t)
	f.flap(t, 200) // until caches and the allocator have what they need
	goroutines, memory := b.goroutines(t), b.rss(t)
	news := b.routeNews(t, truth...)
	f.flap(t, 800)
	last := f.open(t)
	defer last.Close()
	b.send(t, last, hostile.Route(f.addr, []uint32{flapperASN}, []netip.Prefix{netip.MustParsePrefix("10.244.77.0/24")}))
	b.waitLearnt(t, append([]string{"10.244.77.0/24"}, truth...)...)
	must(t, b.Agent.WaitBGP(b.ctx, "the flaps", func(*api.BGP) error {
		if n := b.flaps(t, "flappers"); n != 1000 {
			return fmt.Errorf("%d are counted, want 1000", n)
		}
		return nil
	}))
	if n := b.flaps(t, "tor"); n != 0 {
		t.Errorf("the true session has %d flaps", n)
	}
	if lines := news(); len(lines) > 0 {
		t.Errorf("the true peer's routes changed:\n%s", strings.Join(lines, "\n"))
	}
	// GoBGP 4.8 leaves one behind for each session out of a range that ends (see
	// docs/design/gobgp.md); nothing else may.
	if grown := b.goroutines(t) - goroutines; grown > 800+50 {
		t.Errorf("800 flaps left %d goroutines", grown)
	}
	if grown := b.rss(t) - memory; grown > 32<<20 {
		t.Errorf("800 flaps cost %d MB", grown>>20)
	}
	b.wantUnmoved(t)
}

// churned are 10 000 prefixes that a peer may announce, in lists that fit into
// one message.
func churned() (lists [][]netip.Prefix) {
	base := netip.MustParseAddr("fd00:10:244::").As16()
	var all []netip.Prefix
	for i := range 10000 {
		a := base
		a[6], a[7] = byte((i+0x1000)>>8), byte(i)
		all = append(all, netip.PrefixFrom(netip.AddrFrom16(a), 64))
	}
	return slices.Collect(slices.Chunk(all, 250))
}

// TestChurn: a peer that announces and withdraws 10 000 routes over and over,
// faster than the kernel can take them in: what is in between is left out, and
// at the end the kernel has what was said last.
func TestChurn(t *testing.T) {
	t.Parallel()
	b := besiege(t, map[string]any{"maxPrefixes": 20000})
	s := b.accept(t)
	hop := torSegment(1, fabric.IPv6).gateway
	lists := churned()
	own := b.lease(t, fabric.IPv6)
	announce := func(list []netip.Prefix) {
		b.send(t, s, hostile.Route(hop, []uint32{hostileASN}, list))
	}
	round := func() {
		for _, list := range lists {
			announce(list)
		}
		for _, list := range lists {
			b.send(t, s, hostile.Withdraw(list))
		}
	}
	round()
	memory := b.rss(t)
	second := time.NewTicker(time.Second / 2) // 10 000 of each a second
	defer second.Stop()
	for range 10 {
		round()
		<-second.C
	}
	var want []string
	for i, list := range lists {
		if i%2 == 1 {
			continue // those stay withdrawn
		}
		announce(list)
		for _, p := range list {
			if p != own {
				want = append(want, p.String())
			}
		}
	}
	b.send(t, s, hostile.EndOfRIB()...)
	slices.Sort(want)
	must(t, b.Agent.WaitStatus(b.ctx, "what was said last", func(*api.Status) error {
		if got := b.learnt(t); !slices.Equal(got, want) {
			return fmt.Errorf("the kernel has %d routes, want %d", len(got), len(want))
		}
		return nil
	}))
	// What a burst takes for a moment goes back when it is over.
	must(t, b.Agent.WaitStatus(b.ctx, "the memory to be given back", func(*api.Status) error {
		if grown := b.rss(t) - memory; grown > 64<<20 {
			return fmt.Errorf("the churn cost %d MB", grown>>20)
		}
		return nil
	}))
	select {
	case <-s.Done():
		t.Error(errors.New("the session did not outlive the churn"))
	default:
	}
	b.wantUnmoved(t)
}
