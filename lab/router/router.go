// Package router is the lab's built-in router: weft's own speaker, FIB and
// kernel room, put together so that routes learnt from one neighbour go into
// the kernel and on to the others. It makes a ToR or a spine of a namespace
// where neither FRR nor BIRD is installed, and is no product: it takes its
// whole configuration from one file and knows nothing of etcd. weft-lab runs it
// as a process of its own (the subcommand lab.RouterCommand).
package router

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/backends/bgp/speaker"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

const (
	// look is how often the router looks whether its neighbours have told all.
	look = time.Second
	// batch is the number of changes taken from the speaker at a time.
	batch = 4096
	// goodbye bounds the withdrawal of everything at the end.
	goodbye = 5 * time.Second
)

// Run routes until ctx ends, and then says goodbye to the neighbours. file
// holds a bgp.Desired as JSON.
func Run(ctx context.Context, file string) error {
	data, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var d bgp.Desired
	if err := json.Unmarshal(data, &d); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	log := logrus.New()
	log.SetOutput(os.Stdout)
	log.SetLevel(logrus.DebugLevel)
	r := &router{log: logrus.NewEntry(log), kick: make(chan struct{}, 1), fib: bgp.NewFIB()}
	r.speaker = speaker.New(speaker.Options{Log: r.log, Kick: r.wake})
	return r.run(ctx, d)
}

// router belongs to the goroutine of run.
type router struct {
	log     *logrus.Entry
	kick    chan struct{}
	speaker *speaker.Speaker
	fib     *bgp.FIB
	host    *kernel.Host
	reach   uint64 // version of the kernel's answers that fib has
}

// wake may be called from any goroutine.
func (r *router) wake() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

func (r *router) run(ctx context.Context, d bgp.Desired) (err error) {
	if r.host, err = kernel.Open(kernel.Options{}); err != nil {
		return err
	}
	defer r.host.Close()
	for _, f := range fabric.Families { // of an earlier life, until the neighbours have told all
		r.host.Retain(f, true)
	}
	if err := r.speaker.Set(ctx, d); err != nil {
		return fmt.Errorf("speaker: %w", err)
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	for {
		if err := r.round(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), goodbye)
			defer cancel()
			return r.speaker.Shutdown(ctx)
		case <-r.kick:
		case <-r.host.Changed():
		case <-tick.C:
		}
	}
}

// round brings the kernel up to what is known now.
func (r *router) round() error {
	if err := r.host.Observe(); err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	for more := true; more; {
		var changes []bgp.Change
		changes, more = r.speaker.Take(batch)
		r.fib.Learn(changes)
	}
	if err := r.resolve(); err != nil {
		return fmt.Errorf("next hops: %w", err)
	}
	remove, add, _ := r.fib.Take() // nothing is claimed
	r.host.Update(remove, add)
	for _, f := range fabric.Families {
		if r.speaker.Synced(f) {
			r.host.Retain(f, false)
		}
	}
	report, err := r.host.Sync()
	if err != nil {
		return fmt.Errorf("kernel: %w", err)
	}
	for _, f := range report.Failed {
		r.log.WithField("object", f.Object).WithError(f.Err).Warn("kernel refuses")
	}
	return nil
}

// resolve asks the kernel for the ways to next hops: to all where its answers
// may have changed, else to the new ones.
func (r *router) resolve() error {
	asked := r.fib.Unresolved()
	version := r.host.ReachVersion()
	if version != r.reach {
		asked = r.fib.NextHops()
	}
	if len(asked) == 0 {
		r.reach = version
		return nil
	}
	hops, err := r.host.Reach(asked)
	if err != nil {
		return err
	}
	r.reach = version
	r.fib.Guard(bgp.Guard{Addrs: r.host.Addrs()})
	r.fib.Resolve(hops)
	return nil
}
