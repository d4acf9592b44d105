package store

import (
	"math/rand/v2"
	"time"
)

// retries grow from 100 ms to 5 s, with jitter so that a fleet spreads.
type retries struct{ n int }

func (b *retries) next() time.Duration {
	d := min(100*time.Millisecond<<min(b.n, 10), 5*time.Second)
	b.n++
	return jitter(d)
}

// retryAfter is how long to wait after a lost race or a failed write: soon, but
// spread.
func retryAfter(tries int) time.Duration {
	return jitter(min(10*time.Millisecond<<min(tries, 10), 10*time.Second))
}

// jitter is between half of d and d.
func jitter(d time.Duration) time.Duration {
	return d/2 + rand.N(d/2+1)
}
