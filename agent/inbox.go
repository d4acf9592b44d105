package agent

import (
	"maps"
	"sync"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// inputs is the newest of everything that the loop computes with. The values
// are immutable; whoever has news replaces one whole.
type inputs struct {
	version  uint64 // grows with every change
	snapshot *fabric.Snapshot
	lease    store.Lease
	underlay kernel.Underlay
	down     map[fabric.NodeID]bool // peers found dead by the liveness probes
	// growth is of this node's subnets; nil: nobody watches over the slot files,
	// and all that is leased is offered.
	growth *growth
	// noUnderlay says why the underlay is not known, empty when it is.
	noUnderlay string
}

// inbox is where tasks put news for the loop. Only the newest of each kind
// matters, so nothing queues up while the loop is busy.
type inbox struct {
	mu  sync.Mutex
	now inputs // guarded by mu

	kick chan struct{} // one element: there is news
	also func()        // somebody else who wants to know; must not block
}

func newInbox() *inbox { return &inbox{kick: make(chan struct{}, 1)} }

func (b *inbox) put(change func(*inputs)) {
	b.mu.Lock()
	change(&b.now)
	b.now.version++
	b.mu.Unlock()
	b.nudge()
	if b.also != nil {
		b.also()
	}
}

// nudge makes the loop go round although none of the inputs changed.
func (b *inbox) nudge() {
	kick(b.kick)
}

func (b *inbox) take() inputs {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.now
}

func (b *inbox) setSnapshot(s *fabric.Snapshot) { b.put(func(in *inputs) { in.snapshot = s }) }
func (b *inbox) setLease(l store.Lease)         { b.put(func(in *inputs) { in.lease = l }) }

// setGrowth replaces the growth if it is another.
func (b *inbox) setGrowth(g growth) {
	if had := b.take().growth; had == nil || !had.equal(&g) {
		b.put(func(in *inputs) { in.growth = &g })
	}
}

func (b *inbox) setUnderlay(u kernel.Underlay, err error) {
	b.put(func(in *inputs) {
		in.noUnderlay = ""
		if err != nil {
			in.noUnderlay = err.Error() // the last good underlay stays
			return
		}
		in.underlay = u
	})
}

func (b *inbox) setDown(id fabric.NodeID, down bool) {
	b.put(func(in *inputs) {
		next := maps.Clone(in.down)
		if next == nil {
			next = map[fabric.NodeID]bool{}
		}
		if down {
			next[id] = true
		} else {
			delete(next, id)
		}
		in.down = next
	})
}
