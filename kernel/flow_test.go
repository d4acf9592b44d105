package kernel

import (
	"encoding/binary"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// flow is numbered packets from the pod to the peer, several streams of them, so
// that all members of a group have some.
type flow struct {
	out  []*net.UDPConn
	in   *net.UDPConn
	stop chan struct{}
	done sync.WaitGroup

	mu   sync.Mutex // guards what follows
	sent int
	got  map[[2]uint32]int // stream and number -> how often it arrived
	err  error
}

const streams = 16

// startFlow sends a round, a packet of each stream, every millisecond.
func (w world) startFlow(t *testing.T, f fabric.Family) *flow {
	t.Helper()
	fl := &flow{stop: make(chan struct{}), got: map[[2]uint32]int{}}
	to := netip.AddrPortFrom(far(f), 7000)
	w.peer.enter(t)
	var err error
	if fl.in, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(to)); err != nil {
		t.Fatal(err)
	}
	if err := fl.in.SetReadBuffer(4 << 20); err != nil {
		t.Fatal(err)
	}
	w.pod.enter(t)
	for range streams {
		c, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
		if err != nil {
			t.Fatal(err)
		}
		fl.out = append(fl.out, c)
	}
	w.host.enter(t)
	fl.done.Add(2)
	go fl.receive()
	go fl.send()
	return fl
}

func (fl *flow) send() {
	defer fl.done.Done()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for n := uint32(0); ; n++ {
		for i, c := range fl.out {
			b := binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(nil, uint32(i)), n)
			_, err := c.Write(append(b, make([]byte, 500)...))
			fl.mu.Lock()
			fl.sent++
			if err != nil {
				fl.err = err
			}
			fl.mu.Unlock()
		}
		select {
		case <-fl.stop:
			return
		case <-tick.C:
		}
	}
}

func (fl *flow) receive() {
	defer fl.done.Done()
	b := make([]byte, 1500)
	for {
		n, err := fl.in.Read(b)
		if err != nil {
			return // closed
		}
		if n < 8 {
			continue
		}
		fl.mu.Lock()
		fl.got[[2]uint32{binary.BigEndian.Uint32(b), binary.BigEndian.Uint32(b[4:])}]++
		fl.mu.Unlock()
	}
}

func (fl *flow) counts() (sent, arrived int, err error) {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.sent, len(fl.got), fl.err
}

// goesOn waits until more packets have arrived.
func (fl *flow) goesOn(t *testing.T, more int) {
	t.Helper()
	_, before, _ := fl.counts()
	late, tick := time.After(time.Minute), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, now, _ := fl.counts(); now >= before+more {
			return
		}
		select {
		case <-late:
			t.Fatalf("the flow has stopped at %d packets", before)
		case <-tick.C:
		}
	}
}

// end stops the flow and says how many packets were lost; what is under way is
// waited for.
func (fl *flow) end(t *testing.T) (sent, lost int) {
	t.Helper()
	close(fl.stop)
	late, tick := time.After(10*time.Second), time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for waiting, before := true, -1; waiting; {
		s, arrived, _ := fl.counts()
		waiting = arrived < s || s != before // the last round may not be counted yet
		before = s
		select {
		case <-late:
			waiting = false
		case <-tick.C:
		}
	}
	fl.in.Close()
	fl.done.Wait()
	for _, c := range fl.out {
		c.Close()
	}
	sent, arrived, err := fl.counts()
	if err != nil {
		t.Errorf("send: %v", err)
	}
	return sent, sent - arrived
}
