package probe

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

func quiet() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(io.Discard)
	return logrus.NewEntry(l)
}

// far is a host of the world: what arrives at it, by which link.
type far struct {
	carries       map[string]int // by link; 0: nothing arrives
	agent, kernel bool
	icmp          bool // routers say the size
	delay         time.Duration
}

// world is a wire on a fake clock.
type world struct {
	*Prober
	mu      sync.Mutex          // guards all below
	hosts   map[netip.Addr]*far // nil: silent
	sent    []time.Time         // packets in the background
	asked   map[netip.Addr]int  // packets by destination
	mtu     map[string]int      // of devices
	broken  bool                // the device is down
	deafTo  map[method]bool     // no socket for it
	forgets []netip.Addr        // what was to be forgotten
	spy     func(packet) reply  // not nil: somebody sees packets and answers
	gate    chan struct{}       // not nil: whoever sends stands still until it is closed
	unknown map[kernel.Hop]bool // neighbours that do not answer
	changes atomic.Int64
}

func (w *world) can(m method, _ fabric.Family) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return !w.deafTo[m]
}
func (w *world) tend(uint16) {}
func (w *world) close()      {}
func (w *world) forget(hosts []netip.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.forgets = append(w.forgets, hosts...)
}

func (w *world) send(p packet, link string, _ fabric.MAC) error {
	w.mu.Lock()
	gate, halfway := w.gate, len(w.sent)%7 == 3 // while some are under way
	w.mu.Unlock()
	if gate != nil && halfway {
		<-gate
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.broken {
		return unix.ENETDOWN
	}
	if mtu := w.mtu[link]; mtu > 0 && int(p.size) > mtu {
		return unix.EMSGSIZE
	}
	w.sent = append(w.sent, time.Now())
	w.asked[p.to]++
	if w.spy != nil {
		forged := w.spy(p)
		w.later(time.Millisecond, func() { w.replies <- forged })
	}
	h := w.hosts[p.to]
	if h == nil {
		return nil
	}
	carries := h.carries[link]
	switch {
	case int(p.size) > carries && carries > 0 && h.icmp:
		w.later(h.delay, func() { w.hints <- hint{p.to, carries} })
	case int(p.size) <= carries && (p.method == byAgent && h.agent || p.method == byKernel && h.kernel):
		w.later(h.delay, func() { w.replies <- reply{p.nonce, p.to, time.Now()} })
	}
	return nil
}

// later is what happens in the network meanwhile.
func (w *world) later(d time.Duration, do func()) { time.AfterFunc(d, do) }

func (w *world) Lookup(hops []kernel.Hop) (map[kernel.Hop]fabric.MAC, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := map[kernel.Hop]fabric.MAC{}
	for _, h := range hops {
		if !w.unknown[h] {
			out[h] = fabric.MAC{2, 0, 0, 0, 0, 1}
		}
	}
	return out, nil
}

// set changes the world.
func (w *world) set(change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

// packets is the number that was sent since it was asked last.
func (w *world) packets() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := len(w.sent)
	w.sent = nil
	return n
}

// in runs body with a running prober in a world with a clock of its own.
func in(t *testing.T, body func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := &world{
			hosts: map[netip.Addr]*far{}, asked: map[netip.Addr]int{}, mtu: map[string]int{},
			deafTo: map[method]bool{}, unknown: map[kernel.Hop]bool{},
		}
		w.Prober = New(Options{
			Log: quiet(), Neighbours: w, Known: func(netip.Addr) bool { return true }, Changed: func() { w.changes.Add(1) },
		})
		w.open = func(*Prober) (wire, error) { return w, nil }
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		body(t, w)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

const (
	overlayLink = "weft.1"
	uplinkLink  = "up0"
)

// gateway and host are addresses of peer i in the pods' network and outside.
func gateway(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 1}) }
func host(i int) netip.Addr    { return netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)}) }

// overlayTo and directTo are the paths to peer i.
func overlayTo(i int) Target {
	return Target{
		Key:  Key{fabric.NodeID(fmt.Sprintf("node-%05d", i)), fabric.IPv4, fabric.Path{Kind: fabric.PathVXLAN}},
		From: netip.MustParseAddr("10.255.0.1"), To: gateway(i), Underlay: host(i),
		Hops: []kernel.Hop{{Link: overlayLink, Gateway: gateway(i).Prev()}}, MAC: fabric.MAC{2, 0, 0, 1, byte(i >> 8), byte(i)},
		Full: 1450,
	}
}

func directTo(i int) Target {
	g := overlayTo(i)
	g.Path.Kind, g.MAC, g.Hops = fabric.PathDirect, fabric.MAC{}, []kernel.Hop{{Link: uplinkLink, Gateway: host(i)}}
	return g
}

// there makes peer i one that answers by all paths.
func (w *world) there(i int) *far {
	h := &far{carries: map[string]int{overlayLink: 1450, uplinkLink: 1500, "up1": 1500}, agent: true, kernel: true, delay: time.Millisecond}
	w.set(func() { w.hosts[gateway(i)] = h })
	return h
}

// rest lets time pass.
func rest(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
