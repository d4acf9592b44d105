package agent

import (
	"context"
	"errors"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

const (
	// sweepEvery is the time between two passes that find nothing to do.
	sweepEvery = 30 * time.Second
	// confirmAfter is the time from a pass that finds something abandoned to the
	// one that removes it if it still is; it must be longer than an attachment
	// takes. (An ADD that is stopped that long holds its namespace, which counts.)
	confirmAfter = 10 * time.Second
)

// sweeper keeps what is on this host in step with the pods that are there:
// addresses and records of pods that went without a DEL are freed and removed,
// addresses of pods that the files do not know are marked as in use. It removes
// no interface: those of a pod go with its namespace, and as long as there is a
// namespace there may be a pod.
type sweeper struct {
	log     *logrus.Entry
	runDir  string
	slots   *ipam.Slots
	pass    *ipam.Sweeper
	records *record.Sweeper
	keep    func() []netip.Prefix // the node's subnets, nil: not known
	last    string                // the error last logged
	said    map[string]bool       // of findings that last, what is logged
	guarded bool                  // the guards of pods have been put in place
	swept   *swept
}

// swept is what the sweep found and did since the agent's start. Any goroutine
// may read it.
type swept struct {
	addresses, records, guards atomic.Uint64 // freed, removed, repaired
	conflicts, broken          atomic.Int64  // as of the last pass
}

// newSlots opens the slot files of this host for one goroutine.
func (a *agent) newSlots() (*ipam.Slots, error) {
	return ipam.NewSlots(a.cfg.RunDir, ipam.Options{InUse: plumb.InUse, Note: func(file, reason string) {
		a.log.WithFields(logrus.Fields{"file": file, "reason": reason}).Warn("slot file made anew from what the kernel shows")
	}})
}

func newSweeper(log *logrus.Entry, runDir string, slots *ipam.Slots, keep func() []netip.Prefix) *sweeper {
	return &sweeper{
		log: log, runDir: runDir, slots: slots, pass: ipam.NewSweeper(slots), records: record.NewSweeper(runDir), keep: keep, swept: &swept{},
	}
}

func (a *agent) sweep(ctx context.Context) error {
	slots, err := a.newSlots()
	if err != nil {
		return err
	}
	s := newSweeper(a.log, a.cfg.RunDir, slots, a.keep)
	s.swept = &a.swept
	next := time.NewTimer(0)
	defer next.Stop()
	again := time.NewTimer(sweepEvery) // to look at the guards
	defer again.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-next.C:
			s.round(ctx)
			next.Reset(s.pause())
			continue
		case <-a.guards:
		case <-again.C:
		}
		// The next pass says why it failed. It must not come sooner for that: what
		// looks abandoned at two passes is freed.
		if s.syncGuards() != nil {
			again.Reset(guardsEvery)
		}
	}
}

// pause is the time until the next pass.
func (s *sweeper) pause() time.Duration {
	if s.pass.Suspects()+s.records.Suspects() > 0 {
		return confirmAfter
	}
	return sweepEvery
}

// round makes one pass. One that fails is logged once and tried again: pods
// need addresses, not sweeping.
func (s *sweeper) round(ctx context.Context) {
	logOnce(s.log, &s.last, s.mend(ctx), "what is on this host could not be brought in step with the pods")
}

// mend makes one pass. What fails costs only what depends on it: nothing is
// removed by a list that could not be had.
func (s *sweeper) mend(ctx context.Context) error {
	host, err := plumb.ReadHost()
	if err != nil {
		return errors.Join(err, s.syncGuards())
	}
	f := &findings{log: s.log, said: s.said}
	adopted := s.adopt(ctx, host, f)
	freed, err := s.pass.Pass(ctx, host.Links, host.InUse)
	for _, slot := range freed {
		s.log.WithFields(logrus.Fields{"address": slot.Addr, "container": slot.Container, "pod": slot.Pod}).Info("freed the address of a pod that is gone")
	}
	s.swept.addresses.Add(uint64(len(freed)))
	s.readRecords(f)
	s.said = f.found
	return errors.Join(adopted, err, s.sweepRecords(ctx, host), s.syncGuards())
}

// adopt marks as in use what the kernel shows to be, and reports the pods that
// have an address which the files give to another.
func (s *sweeper) adopt(ctx context.Context, host plumb.Host, f *findings) error {
	conflicts, err := s.slots.Adopt(ctx, host.InUse, s.keep())
	for _, c := range conflicts {
		fields := logrus.Fields{"address": c.Addr, "container": c.Container}
		f.report(c.String()+" "+c.Addr.String(), fields, "a pod has an address that is given to another")
	}
	s.swept.conflicts.Store(int64(len(conflicts)))
	return err
}

// readRecords reports the records that cannot be read. They stay for as long as
// their attachments do.
func (s *sweeper) readRecords(f *findings) {
	_, err := record.List(s.runDir)
	broken := parts(err)
	for _, err := range broken {
		f.report(err.Error(), logrus.Fields{logrus.ErrorKey: err}, "the record of a pod cannot be read; the pod is none the worse")
	}
	s.swept.broken.Store(int64(len(broken)))
}

// sweepRecords removes the records of attachments that have neither an address
// nor an interface.
func (s *sweeper) sweepRecords(ctx context.Context, host plumb.Host) error {
	slots, err := s.slots.List(ctx)
	if err != nil {
		return err
	}
	has := map[string]bool{}
	for _, slot := range slots {
		if slot.InUse {
			has[slot.HostInterface()] = true
		}
	}
	removed, err := s.records.Pass(func(hostInterface string) bool { return has[hostInterface] || host.Links[hostInterface] })
	for _, name := range removed {
		s.log.WithField("file", name).Info("removed the record of a pod that is gone")
	}
	s.swept.records.Add(uint64(len(removed)))
	return err
}

// findings are what one pass reports: each is logged once for as long as it
// lasts.
type findings struct {
	log   *logrus.Entry
	said  map[string]bool // by the pass before
	found map[string]bool
}

func (f *findings) report(what string, fields logrus.Fields, message string) {
	if f.found == nil {
		f.found = map[string]bool{}
	}
	f.found[what] = true
	if !f.said[what] {
		f.log.WithFields(fields).Error(message)
	}
}

// keep lists the node's subnets, or nil as long as they are not known.
func (a *agent) keep() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range a.inbox.take().lease.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}

// parts are the errors that were joined into one.
func parts(err error) []error {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return joined.Unwrap()
	}
	return []error{err}
}

// logOnce logs an error that lasts when it begins, and nothing when it is over.
// last is the text of the one that lasts, empty where there is none.
func logOnce(log *logrus.Entry, last *string, err error, message string) {
	switch {
	case err == nil:
		*last = ""
	case err.Error() != *last && !errors.Is(err, context.Canceled):
		*last = err.Error()
		log.WithError(err).Warn(message)
	}
}
