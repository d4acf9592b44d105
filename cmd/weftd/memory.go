package main

import (
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// How much the heap may grow between two collections, in percent.
const (
	growAtStart = 800 // of the runtime's least of 4 MiB: until 32 MiB
	growInBurst = 400
	growAtRest  = 30
)

// A burst is routes learnt from peers in such numbers, until none came for a
// while.
const (
	burstRoutes = 512
	burstEnds   = 2 * time.Second
)

// memory makes the start and bursts of routes cheap and keeps what follows
// small. Nothing is collected before the heap has 32 MiB: the list of some
// thousand nodes is decoded once and mostly stays. From the first collection on
// the heap may grow by 30 % between two, as an agent that serves bursts must not
// stay large; but while a peer tells a hundred thousand routes, that would
// cost more than taking them in. What a burst leaves behind goes back to the
// system when it is over.
type memory struct {
	mu    sync.Mutex
	burst *time.Timer // guarded by mu; nil: there is none
}

// start is called once, before there is anything to collect.
func (m *memory) start() {
	debug.SetGCPercent(growAtStart)
	sentinel := new([32]byte) // not tiny: tiny objects share a block and its fate
	runtime.AddCleanup(sentinel, (*memory).collected, m)
}

// collected is called after the first collection.
func (m *memory) collected() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.burst == nil {
		debug.SetGCPercent(growAtRest)
	}
}

// learnt is told how many routes were taken in at once.
func (m *memory) learnt(routes int) {
	if routes < burstRoutes {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.burst != nil {
		m.burst.Reset(burstEnds)
		return
	}
	debug.SetGCPercent(growInBurst)
	m.burst = time.AfterFunc(burstEnds, m.rest)
}

// rest ends a burst.
func (m *memory) rest() {
	m.mu.Lock()
	m.burst = nil
	debug.SetGCPercent(growAtRest)
	m.mu.Unlock()
	debug.FreeOSMemory()
}
