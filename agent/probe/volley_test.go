package probe

import (
	"context"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel"
)

func TestVolley(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		h1, h2, h3 := w.there(1), w.there(2), w.there(3)
		w.set(func() {
			h2.agent = false
			h3.carries[overlayLink] = 1400
			h1.carries["up1"] = 1400
		})
		several := directTo(1)
		several.Hops = append(several.Hops, kernel.Hop{Link: "up1", Gateway: host(9)})
		lost := directTo(4)
		w.set(func() { w.unknown[lost.Hops[0]] = true })
		start := time.Now()
		got := w.Volley(t.Context(), []Target{overlayTo(1), overlayTo(2), overlayTo(3), several, lost, overlayTo(5)}, 3, 0)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("took %v", took)
		}
		for i, want := range []Result{
			{overlayTo(1).Key, 3, 3, ""},
			{overlayTo(2).Key, 3, 3, ""}, // by the kernel
			{overlayTo(3).Key, 3, 0, ""},
			{several.Key, 6, 3, ""},
			{lost.Key, 0, 0, "the neighbour 198.18.0.4 on up0 does not answer"},
			{overlayTo(5).Key, 3, 0, ""},
		} {
			if got[i] != want {
				t.Errorf("got %+v, want %+v", got[i], want)
			}
		}
		if got := w.Volley(t.Context(), []Target{overlayTo(3)}, 2, 1400); got[0].Answered != 2 {
			t.Errorf("of 1400 bytes: %+v", got)
		}
	})
}

// A volley is bounded too, and does not wait for the background.
func TestVolleyBound(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		var all []Target
		for i := range 1000 {
			w.there(i)
			all = append(all, overlayTo(i))
		}
		start := time.Now()
		for _, r := range w.Volley(t.Context(), all, 1, 0) {
			if r.Answered != 1 {
				t.Fatalf("%+v", r)
			}
		}
		if took := time.Since(start); took < 4*time.Second || took > 6*time.Second {
			t.Errorf("1000 packets took %v, want 5 s", took)
		}
		w.set(func() {
			for i := volleyRate; i < len(w.sent); i++ {
				if took := w.sent[i].Sub(w.sent[i-volleyRate]); took <= time.Second {
					t.Fatalf("%d packets within %v", volleyRate+1, took)
				}
			}
		})
	})
}

func TestVolleyEnds(t *testing.T) {
	in(t, func(t *testing.T, w *world) {
		w.set(func() { w.mtu[overlayLink] = 1400 })
		if got := w.Volley(t.Context(), []Target{overlayTo(1)}, 1, 0); got[0].Err != "weft.1 has a smaller MTU than 1450" {
			t.Errorf("too large: %+v", got)
		}
		w.set(func() { w.broken = true })
		if got := w.Volley(t.Context(), []Target{overlayTo(1)}, 1, 100); got[0].Err != unix.ENETDOWN.Error() {
			t.Errorf("device down: %+v", got)
		}
		w.set(func() { w.broken = false; w.deafTo[byAgent], w.deafTo[byKernel] = true, true })
		if got := w.Volley(t.Context(), []Target{overlayTo(1)}, 1, 100); got[0].Err == "" {
			t.Errorf("no sockets: %+v", got)
		}
		none := overlayTo(1)
		none.Hops = nil
		w.set(func() { clear(w.deafTo) })
		if got := w.Volley(t.Context(), []Target{none}, 1, 100); got[0].Err == "" {
			t.Errorf("no hops: %+v", got)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if got := w.Volley(ctx, []Target{overlayTo(1)}, 1, 100); got[0].Err != context.DeadlineExceeded.Error() {
			t.Errorf("ended early: %+v", got)
		}
	})
}
