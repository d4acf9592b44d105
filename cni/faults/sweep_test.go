package faults

import (
	"context"
	"time"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// sweeper is the agent's sweep with the time taken out (agent/sweep.go).
type sweeper struct {
	*host
	files   *ipam.Slots
	slots   *ipam.Sweeper
	records *record.Sweeper
	swept   func([]ipam.Slot) // told of what was freed; may be nil
}

func (h *host) newSweeper() (*sweeper, error) {
	files, err := ipam.NewSlots(h.runDir, ipam.Options{InUse: plumb.InUse})
	if err != nil {
		return nil, err
	}
	return &sweeper{host: h, files: files, slots: ipam.NewSweeper(files), records: record.NewSweeper(h.runDir)}, nil
}

// pass is one pass, in the namespace of the host.
func (s *sweeper) pass(ctx context.Context) error {
	kernel, err := plumb.ReadHost()
	if err != nil {
		return err
	}
	if _, err := s.files.Adopt(ctx, kernel.InUse, s.node.Subnets); err != nil {
		return err
	}
	freed, err := s.slots.Pass(ctx, kernel.Links, kernel.InUse)
	if err != nil {
		return err
	}
	if s.swept != nil {
		s.swept(freed)
	}
	list, err := s.files.List(ctx)
	if err != nil {
		return err
	}
	lives := map[string]bool{}
	for _, slot := range list {
		lives[slot.HostInterface()] = lives[slot.HostInterface()] || slot.InUse
	}
	_, err = s.records.Pass(func(name string) bool { return kernel.Links[name] || lives[name] })
	return err
}

// sweep is what the agent's passes come to for pods whose namespace is gone.
// The kernel takes a namespace down when it has time: it is waited for.
func (h *host) sweep() {
	h.t.Helper()
	h.await("the interfaces of pods that are gone", func() bool {
		s, err := h.read()
		if err != nil {
			h.t.Fatal(err)
		}
		return len(s.links) == len(h.attached)
	})
	s, err := h.newSweeper()
	if err != nil {
		h.t.Fatal(err)
	}
	for range 3 { // a record can be abandoned only after its slot
		if err := s.pass(h.t.Context()); err != nil {
			h.t.Fatal(err)
		}
	}
}

// await polls until done says so, for a minute at most.
func (h *host) await(what string, done func() bool) {
	h.t.Helper()
	const every = 5 * time.Millisecond
	tick := time.NewTicker(every)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); !done(); <-tick.C {
		if time.Now().After(deadline) {
			h.t.Fatalf("%s: still not after a minute", what)
		}
	}
}
