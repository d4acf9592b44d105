package probe

import "time"

// window bounds a rate: no more than its length in any second, not even in one
// that begins between two packets, as a bucket of tokens would allow.
type window struct {
	sent []time.Time // the last ones, in a ring
	next int         // the oldest of them
}

func newWindow(perSecond int) window { return window{sent: make([]time.Time, perSecond)} }

// wait is how long it takes until one more may be sent; 0: it may be now.
func (w *window) wait(now time.Time) time.Duration {
	oldest := w.sent[w.next]
	if oldest.IsZero() {
		return 0
	}
	return max(0, oldest.Add(time.Second+1).Sub(now))
}

// take counts one that is sent now.
func (w *window) take(now time.Time) {
	w.sent[w.next] = now
	w.next = (w.next + 1) % len(w.sent)
}
