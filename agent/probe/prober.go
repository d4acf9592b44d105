package probe

import (
	"context"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Neighbours says which MAC addresses next hops have; kernel.Neighbours does. A
// hop that the kernel does not know yet is left out, and asked for.
type Neighbours interface {
	Lookup([]kernel.Hop) (map[kernel.Hop]fabric.MAC, error)
}

// Options are what a Prober needs.
type Options struct {
	Log  *logrus.Entry
	Self fabric.NodeID
	// Port is the UDP port of all agents at the moment; 0: fabric.ProbePort. It is
	// asked about once a second.
	Port       func() uint16
	Neighbours Neighbours
	// Known reports whether an address is that of a peer, in its pods' network:
	// only those are answered. It is called by several goroutines.
	Known func(netip.Addr) bool
	// Changed is called after a verdict has changed. It must not block, nor call
	// the Prober.
	Changed func()
}

// Prober asks by the paths it is told to watch.
type Prober struct {
	o Options
}

// New makes a prober that does nothing until Run. Log, Port, Neighbours and
// Known must be set.
func New(o Options) *Prober { return &Prober{o: o} }

// Run probes, and answers others' probes, until ctx ends. Without the right to
// open raw sockets it says so once, and every verdict stays Unknown.
func (p *Prober) Run(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

// Watch replaces the set of paths that are watched. Verdicts of those that were
// watched before stay; what is new is asked in the order given.
func (p *Prober) Watch(targets []Target) {}

// Touch replaces the paths of one family of one peer among those watched.
func (p *Prober) Touch(peer fabric.NodeID, family fabric.Family, targets []Target) {}

// Verdict is what is known of a path; Unknown where it is not watched.
func (p *Prober) Verdict(k Key) Verdict { return Verdict{} }

// Reduced lists the watched paths that drop packets of full size, by peer.
func (p *Prober) Reduced() []Finding { return nil }

// Volley asks n times at once by every next hop of each target, by packets of
// the given size (0: full size), and waits about a second for the answers. It is
// meant for moments when a loss matters; the background's bound is not its own.
func (p *Prober) Volley(ctx context.Context, targets []Target, n, size int) []Result {
	out := make([]Result, len(targets))
	for i, t := range targets {
		out[i].Key = t.Key
	}
	return out
}

// Stats are counts since the agent's start, and of what is watched now.
type Stats struct {
	Answered, Lost, Unsent uint64 // probes of this node's
	// Requests of others that were answered; Refused: not from a peer, or too many.
	Requests, Refused uint64
	Strays            uint64 // answers to what was not asked, or by somebody else
	Hints             uint64 // ICMP errors that made it look
	// Paths that are watched, by what is known of them.
	Watched, Unknown, Answering, Silent, Reduced int
}

// Stats are the counts now.
func (p *Prober) Stats() Stats { return Stats{} }
