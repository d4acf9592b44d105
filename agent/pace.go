package agent

import (
	"sync"
	"time"
)

// pace lets the first of several calls through at once and the others together
// after a while: one route is taken in when it comes, and of a hundred thousand
// each round of the loop takes many.
type pace struct {
	every time.Duration
	call  func()

	mu    sync.Mutex
	next  time.Time // guarded by mu: before it, calls wait
	armed bool      // guarded by mu: a call waits
}

// do is called from any goroutine and does not block.
func (p *pace) do() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.armed {
		return
	}
	now := time.Now()
	wait := p.next.Sub(now)
	if wait <= 0 {
		p.next = now.Add(p.every)
		p.call()
		return
	}
	p.armed = true
	time.AfterFunc(wait, p.late)
}

func (p *pace) late() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.armed, p.next = false, time.Now().Add(p.every)
	p.call()
}

// kick says "look" by a channel that has room for one word, unless the word is
// waiting there already.
func kick(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
