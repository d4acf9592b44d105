package probe

import (
	"net/netip"
	"runtime"
	"testing"
	"time"
)

// TestBound: in no second are there more packets in the background than the
// bound, whatever happens to however many peers.
func TestBound(t *testing.T) {
	const peers = 10000
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range peers {
			w.there(i)
			all = append(all, overlayTo(i))
		}
		check := func(during string, d time.Duration, least int) {
			w.packets()
			rest(d)
			w.mu.Lock()
			defer w.mu.Unlock()
			if len(w.sent) < least {
				t.Errorf("%s: %d packets, want %d at least", during, len(w.sent), least)
			}
			for i := backgroundRate; i < len(w.sent); i++ {
				if took := w.sent[i].Sub(w.sent[i-backgroundRate]); took <= time.Second {
					t.Fatalf("%s: %d packets within %v", during, backgroundRate+1, took)
				}
			}
		}
		w.Watch(all)
		check("at the start", 30*time.Second, 30*backgroundRate*9/10)
		rest(700 * time.Second)
		if s := w.Stats(); s.Answering != peers {
			t.Errorf("after the first round: %+v", s)
		}
		check("all is well", 60*time.Second, 60*confirmRate/2)
		w.set(func() {
			for _, h := range w.hosts {
				h.carries[overlayLink], h.icmp = 1400, true
			}
		})
		check("the underlay shrinks", 60*time.Second, 60*confirmRate/2)
		w.set(func() { clear(w.hosts) })
		for i := range all {
			all[i].Urgent = true
		}
		w.Watch(all)
		check("all are gone, and somebody waits for each", 60*time.Second, 60*confirmRate/2)
	})
}

// TestNobodyStarves: a thousand dead peers do not keep others from being asked.
func TestNobodyStarves(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range 2000 {
			if i%2 == 0 {
				w.there(i)
			}
			all = append(all, overlayTo(i))
		}
		w.Watch(all)
		rest(10 * time.Minute)
		w.set(func() { clear(w.asked) })
		rest(10 * time.Minute)
		w.set(func() {
			for i := range 2000 {
				if n := w.asked[gateway(i)]; n < 2 {
					t.Fatalf("peer %d was asked %d times in 10 minutes", i, n)
				}
			}
		})
	})
}

func TestMemory(t *testing.T) {
	const peers = 10000
	all := make([]Target, peers)
	for i := range all {
		all[i] = overlayTo(i)
		if i%2 == 1 {
			all[i] = directTo(i)
		}
	}
	p := New(Options{Log: quiet(), Known: func(netip.Addr) bool { return true }})
	used := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := used()
	p.Watch(all)
	for range 10 { // more of the same is not more
		p.Watch(all[:peers/2])
		p.Watch(all)
	}
	if n := used() - before; n > 2<<20 {
		t.Errorf("%d bytes for %d peers, want 2 MiB at most", n, peers)
	} else {
		t.Logf("%d bytes a peer", n/peers)
	}
	runtime.KeepAlive(p)
	runtime.KeepAlive(all)
}

// TestAnswersAreBounded: no crowd of askers makes a node send more than its
// bound in any second.
func TestAnswersAreBounded(t *testing.T) {
	l := limit{window: newWindow(answerRate)}
	now := time.Now()
	for second := range 3 {
		answered := 0
		for i := range 5 * answerRate {
			if l.allow(now.Add(time.Duration(second)*time.Second + time.Duration(i)*time.Second/(6*answerRate) + time.Duration(second))) {
				answered++
			}
		}
		if answered > answerRate {
			t.Errorf("second %d: %d answers", second, answered)
		}
	}
}
