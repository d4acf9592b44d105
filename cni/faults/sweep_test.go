package faults

import (
	"slices"
	"time"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// sweep is what the agent's two passes come to for pods whose namespace is
// gone. The kernel takes a namespace down when it has time: it is waited for.
func (h *host) sweep() {
	h.t.Helper()
	h.await("the interfaces of pods that are gone", func() bool {
		s, err := h.read()
		if err != nil {
			h.t.Fatal(err)
		}
		return len(s.links) == len(h.attached)
	})
	files, err := ipam.NewSlots(h.runDir, ipam.Options{InUse: plumb.InUse})
	if err != nil {
		h.t.Fatal(err)
	}
	pass := ipam.NewSweeper(files)
	for range 2 {
		kernel, err := plumb.ReadHost()
		if err != nil {
			h.t.Fatal(err)
		}
		if _, err := files.Adopt(h.t.Context(), kernel.InUse, h.node.Subnets); err != nil {
			h.t.Fatal(err)
		}
		if _, err := pass.Pass(h.t.Context(), kernel.Links); err != nil {
			h.t.Fatal(err)
		}
	}
	h.sweepRecords(files)
}

// sweepRecords removes the records of attachments without a slot.
func (h *host) sweepRecords(files *ipam.Slots) {
	h.t.Helper()
	list, err := files.List(h.t.Context())
	if err != nil {
		h.t.Fatal(err)
	}
	records, err := record.List(h.runDir)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, r := range records {
		if slices.ContainsFunc(list, func(s ipam.Slot) bool { return s.InUse && s.Attachment == r.Attachment() }) {
			continue
		}
		if err := record.Remove(h.runDir, r.Attachment()); err != nil {
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
