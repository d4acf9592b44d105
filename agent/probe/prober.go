package probe

import (
	"context"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Neighbours says which MAC addresses next hops have; kernel.Neighbours does. A
// hop that the kernel does not know yet is left out, and asked for.
type Neighbours interface {
	Lookup([]kernel.Hop) (map[kernel.Hop]fabric.MAC, error)
}

// Options are what a Prober needs: Log, Neighbours and Known must be set.
type Options struct {
	Log *logrus.Entry
	// Port is the UDP port of all agents at the moment; 0 and nil:
	// fabric.ProbePort. It is asked for about once a second.
	Port       func() uint16
	Neighbours Neighbours
	// Known reports whether an address is that of a peer, in its pods' network:
	// only those are answered. It is called by several goroutines.
	Known func(netip.Addr) bool
	// Changed is called after a verdict has changed; nil: nobody is told. It must
	// not block.
	Changed func()
}

// Prober asks by the paths it is told to watch.
type Prober struct {
	o     Options
	open  func(*Prober) (wire, error)
	start time.Time // of all times since

	mu    sync.Mutex // guards table, and nothing slow is done under it
	table *table

	kick    chan struct{} // the table has changed
	asked   chan *volley
	replies chan reply
	hints   chan hint
	counts  counts
}

// counts are those of Stats, added to by several goroutines.
type counts struct {
	answered, lost, unsent, requests, refused, strays, hints atomic.Uint64
}

// New makes a prober that does nothing until Run.
func New(o Options) *Prober {
	if o.Changed == nil {
		o.Changed = func() {}
	}
	return &Prober{
		o: o, open: openSockets, start: time.Now(), table: newTable(),
		kick: make(chan struct{}, 1), asked: make(chan *volley), replies: make(chan reply, 256), hints: make(chan hint, 16),
	}
}

func (p *Prober) port() uint16 {
	if p.o.Port != nil {
		if port := p.o.Port(); port != 0 {
			return port
		}
	}
	return fabric.ProbePort
}

// Watch replaces the set of paths that are watched. Verdicts of those that were
// watched before stay; what is new is asked in the order given.
func (p *Prober) Watch(targets []Target) {
	p.mu.Lock()
	p.table.replace(0, len(p.table.order), targets, time.Since(p.start))
	p.mu.Unlock()
	p.wake()
}

// Touch replaces the paths of one family of one peer, and is otherwise like
// Watch; targets are of no other.
func (p *Prober) Touch(peer fabric.NodeID, family fabric.Family, targets []Target) {
	p.mu.Lock()
	from, to := p.table.group(peer, family)
	p.table.replace(from, to, targets, time.Since(p.start))
	p.mu.Unlock()
	p.wake()
}

func (p *Prober) wake() {
	select {
	case p.kick <- struct{}{}:
	default:
	}
}

// Verdict is what is known of a path; the zero value where it is not watched.
func (p *Prober) Verdict(k Key) Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	at, ok := p.table.find(k)
	if !ok {
		return Verdict{}
	}
	return p.verdict(&p.table.paths[p.table.order[at]])
}

func (p *Prober) verdict(w *path) Verdict {
	return Verdict{State: w.state, MTU: int(w.told), Since: p.start.Add(w.since)}
}

// Reduced lists the watched paths that drop packets of full size, by peer.
func (p *Prober) Reduced() []Finding {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []Finding
	for _, i := range p.table.order {
		if w := &p.table.paths[i]; w.reduced() {
			out = append(out, Finding{Key: p.table.key(w), Verdict: p.verdict(w), Full: int(w.full)})
		}
	}
	return out
}

func (w *path) reduced() bool { return w.told != 0 && w.told < w.full }

// Stats are counts since the agent's start, and of what is watched now.
type Stats struct {
	Answered, Lost, Unsent uint64 // probes of this node's
	// Requests of others that were answered; Refused: not from a peer, or too many.
	Requests, Refused uint64
	Strays            uint64 // answers to what was not asked, or by somebody else
	Hints             uint64 // ICMP errors that made it look
	// Paths that are watched, by what is known of them; those that are reduced are
	// among the others.
	Unknown, Answering, Silent, Reduced int
}

// Stats are the counts now.
func (p *Prober) Stats() Stats {
	s := Stats{
		Answered: p.counts.answered.Load(), Lost: p.counts.lost.Load(), Unsent: p.counts.unsent.Load(),
		Requests: p.counts.requests.Load(), Refused: p.counts.refused.Load(),
		Strays: p.counts.strays.Load(), Hints: p.counts.hints.Load(),
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, i := range p.table.order {
		w := &p.table.paths[i]
		switch w.state {
		case Answers:
			s.Answering++
		case Silent:
			s.Silent++
		default:
			s.Unknown++
		}
		if w.reduced() {
			s.Reduced++
		}
	}
	return s
}

// Run probes, and answers others' probes, until ctx ends. Without the right to
// open raw sockets it says so once, and every verdict stays Unknown.
func (p *Prober) Run(ctx context.Context) error {
	r := &run{
		Prober: p, flights: map[uint64]*flight{},
		budget: newWindow(backgroundRate), volleyBudget: newWindow(volleyRate),
		hintBudget: newWindow(hintRate), scanBudget: newWindow(scanRate),
	}
	w, err := p.open(p)
	if err != nil {
		p.o.Log.WithError(err).Warn("paths are not probed")
		r.refuse(ctx, err)
		return nil
	}
	defer w.close()
	r.wire = w
	r.loop(ctx)
	return nil
}
