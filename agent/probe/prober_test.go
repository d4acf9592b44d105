package probe

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// want fails the test unless a path has this verdict.
func (w *world) want(t *testing.T, g Target, state State, mtu int) {
	t.Helper()
	if v := w.Verdict(g.Key); v.State != state || v.MTU != mtu {
		t.Errorf("%s %s: got %+v, want state %d, MTU %d", g.Peer, g.Path.Kind, v, state, mtu)
	}
}

func TestFirstAnswer(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.there(1)
		w.Watch([]Target{overlayTo(1), directTo(1), overlayTo(2)})
		w.want(t, overlayTo(1), Unknown, 0)
		rest(50 * time.Millisecond)
		w.want(t, overlayTo(1), Answers, 1450)
		w.want(t, directTo(1), Answers, 1450)
		rest(time.Minute)
		w.want(t, overlayTo(2), Unknown, 0)
		w.want(t, overlayTo(3), Unknown, 0)
		w.Prober.mu.Lock()
		at, _ := w.table.find(overlayTo(1).Key)
		if rtt := w.table.paths[w.table.order[at]].rtt; rtt < 1000 || rtt > 2000 {
			t.Errorf("a round trip of %d us, want 1000", rtt)
		}
		w.Prober.mu.Unlock()
		if n := w.changes.Load(); n != 2 {
			t.Errorf("told %d times of two changes", n)
		}
	})
}

func TestAgentRestart(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.Watch([]Target{overlayTo(1)})
		rest(10 * time.Second)
		w.set(func() { h.agent = false })
		for range 600 {
			rest(100 * time.Millisecond)
			w.want(t, overlayTo(1), Answers, 1450)
		}
		w.set(func() { h.agent, h.kernel = true, false })
		for range 600 {
			rest(100 * time.Millisecond)
			w.want(t, overlayTo(1), Answers, 1450)
		}
	})
}

func TestSilence(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.Watch([]Target{overlayTo(1), directTo(1)})
		rest(10 * time.Second)
		w.set(func() { h.carries[overlayLink] = 0 })
		rest(8 * time.Second)
		w.want(t, overlayTo(1), Silent, 1450)
		w.want(t, directTo(1), Answers, 1450)
		w.set(func() { h.carries[overlayLink] = 1400 })
		rest(silenceLast + 5*time.Second)
		w.want(t, overlayTo(1), Answers, 1400)
	})
}

// A path that never answered is silent only if its peer answers by another.
func TestSilenceIsRelative(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.set(func() { h.carries = map[string]int{} })
		w.Watch([]Target{overlayTo(1), directTo(1)})
		rest(20 * time.Second)
		w.want(t, overlayTo(1), Unknown, 0)
		w.set(func() { h.carries[uplinkLink] = 1500 })
		rest(20 * time.Second)
		w.want(t, directTo(1), Answers, 1450)
		w.want(t, overlayTo(1), Silent, 0)
		if s := w.Stats(); s.Silent != 1 || s.Answering != 1 || s.Unknown != 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// Nor is it of any matter which of the two is asked first.
func TestSilenceOfANewPath(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.set(func() { h.carries[uplinkLink] = 0 })
		w.Watch([]Target{overlayTo(1)})
		rest(20 * time.Second)
		g := directTo(1)
		g.Urgent = true
		w.Touch(g.Peer, g.Family, []Target{overlayTo(1), g})
		rest(8 * time.Second) // less than a choice waits for an answer
		w.want(t, g, Silent, 0)
		w.want(t, overlayTo(1), Answers, 1450)
		w.set(func() { h.carries[uplinkLink] = 1500 })
		rest(3 * time.Second)
		w.want(t, g, Answers, 1450)
	})
}

func TestShrinkAndRaise(t *testing.T) {
	for _, icmp := range []bool{false, true} {
		in(t, func(t *testing.T, w *world) {
			h := w.there(1)
			h.icmp = icmp
			w.Watch([]Target{overlayTo(1)})
			rest(10 * time.Second)
			w.set(func() { h.carries[overlayLink] = 1340 })
			rest(15 * time.Second)
			w.want(t, overlayTo(1), Answers, 1340)
			if f := w.Reduced(); len(f) != 1 || f[0].MTU != 1340 || f[0].Full != 1450 || f[0].Peer != overlayTo(1).Peer {
				t.Errorf("reduced: %+v", f)
			}
			w.set(func() { h.carries[overlayLink] = 1450; w.forgets = nil })
			rest(raiseFirst + 5*time.Second)
			w.want(t, overlayTo(1), Answers, 1450)
			w.set(func() {
				if len(w.forgets) != 1 || w.forgets[0] != host(1) {
					t.Errorf("asked the kernel to forget %v, want the far host once", w.forgets)
				}
			})
			if f := w.Reduced(); len(f) != 0 {
				t.Errorf("reduced although it is whole again: %+v", f)
			}
		})
	}
}

// The device's own MTU is a fact: no need to wait for answers that cannot come.
func TestDeviceTooSmall(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.there(1)
		w.set(func() { w.mtu[uplinkLink] = 1400 })
		w.Watch([]Target{directTo(1)})
		rest(time.Second)
		w.want(t, directTo(1), Answers, 1400)
	})
}

// What cannot be sent says nothing of the path.
func TestUnsentIsNotSilent(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.there(1)
		w.Watch([]Target{overlayTo(1)})
		rest(5 * time.Second)
		w.set(func() { w.broken = true })
		rest(time.Minute)
		w.want(t, overlayTo(1), Answers, 1450)
		w.set(func() { w.broken = false; w.deafTo[byAgent], w.deafTo[byKernel] = true, true })
		rest(time.Minute)
		w.want(t, overlayTo(1), Answers, 1450)
		w.set(func() { w.deafTo[byKernel] = false })
		rest(time.Minute)
		w.want(t, overlayTo(1), Answers, 1450)
		if s := w.Stats(); s.Lost > 0 || s.Unsent == 0 {
			t.Errorf("stats %+v", s)
		}
	})
}

// A next hop that does not answer is a path that does not.
func TestNeighbourGone(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.there(1)
		w.Watch([]Target{directTo(1), overlayTo(1)})
		rest(5 * time.Second)
		w.set(func() { w.unknown[directTo(1).Hops[0]] = true })
		rest(10 * time.Second)
		w.want(t, directTo(1), Silent, 1450)
		w.want(t, overlayTo(1), Answers, 1450)
	})
}

func TestEachHopMustCarry(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		g := directTo(1)
		g.Path.Kind = fabric.PathBGP
		g.Hops = []kernel.Hop{{Link: uplinkLink, Gateway: host(1)}, {Link: "up1", Gateway: host(2)}}
		w.Watch([]Target{g})
		rest(5 * time.Second)
		w.want(t, g, Answers, 1450)
		w.set(func() { h.carries["up1"] = 1400 })
		rest(15 * time.Second)
		w.want(t, g, Answers, 1400)
		w.set(func() { h.carries["up1"] = 0 })
		rest(15 * time.Second)
		w.want(t, g, Silent, 1400)
		// The dead one leaves the set.
		g.Hops = g.Hops[:1]
		w.Touch(g.Peer, g.Family, []Target{g})
		rest(40 * time.Second)
		w.want(t, g, Answers, 1450)
	})
}

// A process that stood still finds answers unread: silence says nothing then.
func TestStoppedProcess(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range 20 {
			w.there(i).delay = 200 * time.Millisecond // so that some are under way
			all = append(all, overlayTo(i))
		}
		w.Watch(all)
		for range 50 {
			rest(500 * time.Millisecond)
			gate := make(chan struct{})
			w.set(func() { w.gate = gate })
			rest(7 * time.Second)
			w.set(func() { w.gate = nil })
			close(gate)
		}
		rest(time.Second)
		if s := w.Stats(); s.Lost != 0 || s.Answering != len(all) {
			t.Errorf("nothing was lost: %+v", s)
		}
	})
}

// What a choice waits for is asked before the routine.
func TestUrgentGoesFirst(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range 2000 {
			w.there(i)
			all = append(all, overlayTo(i))
		}
		w.Watch(all)
		rest(3 * time.Second)
		g := directTo(1999)
		g.Urgent = true
		w.Touch(g.Peer, g.Family, []Target{overlayTo(1999), g})
		rest(2 * time.Second)
		w.want(t, g, Answers, 1450)
		w.want(t, overlayTo(1999), Unknown, 0)
	})
}

// Next hops that come and go leave nothing behind.
func TestRoutesAreReleased(t *testing.T) {
	p := New(Options{Log: quiet(), Known: func(netip.Addr) bool { return true }})
	for i := range 1000 {
		g := directTo(1)
		g.Hops = []kernel.Hop{{Link: uplinkLink, Gateway: host(i + 2)}}
		p.Touch(g.Peer, g.Family, []Target{g})
	}
	p.Watch(nil)
	if n := len(p.table.routes); n > 2 || len(p.table.byName) != 0 || len(p.table.order) != 0 {
		t.Errorf("%d routes are kept, %d by name, %d paths", n, len(p.table.byName), len(p.table.order))
	}
}

func TestHint(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.Watch([]Target{overlayTo(1), directTo(1)})
		rest(3 * time.Second)
		// Outside, 1393 is 1343 for the overlay's packets: exact, as it was said.
		w.set(func() { h.carries[overlayLink] = 1343 })
		w.hints <- hint{host(1), 1393}
		rest(3 * time.Second)
		w.want(t, overlayTo(1), Answers, 1343)
		w.want(t, directTo(1), Answers, 1450)
	})
}

// A forged hint costs a look, and is not believed; a flood of them costs few.
func TestForgedHints(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range 100 {
			w.there(i)
			all = append(all, overlayTo(i))
		}
		w.Watch(all)
		rest(20 * time.Second)
		for i := range 2000 {
			w.hints <- hint{gateway(i % 100), 600}
			w.hints <- hint{host(i % 100), 0}
			rest(10 * time.Millisecond)
		}
		for i := range 100 {
			w.want(t, overlayTo(i), Answers, 1450)
		}
		if s := w.Stats(); s.Hints > 21*hintRate {
			t.Errorf("%d looks in 20 s", s.Hints)
		}
	})
}

// Answers that were not asked for, or come from somebody else, are ignored.
func TestForgedAnswers(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.Watch([]Target{overlayTo(1)})
		for i := range 1000 {
			w.replies <- reply{uint64(i), gateway(1), time.Now()}
			rest(10 * time.Millisecond)
		}
		w.want(t, overlayTo(1), Unknown, 0)
		if s := w.Stats(); s.Strays != 1000 {
			t.Errorf("%d strays, want 1000", s.Strays)
		}
		// Not even he who knows the nonce may answer for another.
		w.set(func() { w.spy = func(p packet) reply { return reply{p.nonce, gateway(7), time.Now()} } })
		rest(time.Minute)
		w.want(t, overlayTo(1), Unknown, 0)
		w.set(func() { w.spy = func(p packet) reply { return reply{p.nonce, gateway(1), time.Now()} } })
		rest(time.Minute)
		w.want(t, overlayTo(1), Answers, 1450)
	})
}

// A flood of errors about others' packets costs no time.
func TestHintsOfStrangers(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.there(1)
		w.Watch([]Target{overlayTo(1)})
		rest(3 * time.Second)
		for range 500 {
			w.hints <- hint{gateway(9), 600}
		}
		rest(2 * time.Second)
		w.hints <- hint{gateway(1), 600}
		rest(time.Second)
		if s := w.Stats(); s.Hints != 1 {
			t.Errorf("%d looks, want the one that concerns a path", s.Hints)
		}
	})
}

func TestEarlier(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.set(func() { h.carries[overlayLink] = 1350 })
		g := overlayTo(1)
		g.Earlier = 1350
		w.Watch([]Target{g})
		w.want(t, g, Unknown, 1350)
		rest(10 * time.Second)
		w.want(t, g, Answers, 1350)
		if n := w.changes.Load(); n != 1 {
			t.Errorf("told %d times; only the state changed, the MTU never did", n)
		}
	})
}

func TestWatchKeepsWhatIsKnown(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h := w.there(1)
		w.there(2)
		w.Watch([]Target{overlayTo(1), overlayTo(2)})
		rest(5 * time.Second)
		w.set(func() { h.carries[overlayLink] = 1400 })
		rest(15 * time.Second)
		w.want(t, overlayTo(1), Answers, 1400)
		before := w.Verdict(overlayTo(1).Key)
		w.Watch([]Target{overlayTo(3), directTo(1), overlayTo(1)})
		if v := w.Verdict(overlayTo(1).Key); v != before {
			t.Errorf("was %+v, is %+v", before, v)
		}
		w.want(t, overlayTo(2), Unknown, 0) // watched no longer
		rest(5 * time.Second)
		w.want(t, directTo(1), Answers, 1450)

		// More is wanted of a path that carries all that was wanted before: that is
		// not known yet.
		big := overlayTo(1)
		big.Full = 8950
		bigger := directTo(1)
		bigger.Full = 8950
		w.set(func() { w.mtu[uplinkLink] = 1500 })
		w.Touch(big.Peer, big.Family, []Target{big, bigger})
		w.want(t, big, Answers, 1400)
		w.want(t, bigger, Unknown, 0)
		rest(20 * time.Second)
		w.want(t, bigger, Answers, 1500)
		w.Touch(big.Peer, big.Family, nil)
		w.want(t, big, Unknown, 0)
	})
}
