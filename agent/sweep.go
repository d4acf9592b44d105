package agent

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// sweepEvery is the time between two passes; an address is freed at the
// second pass that finds neither its interface nor its namespace, so this must
// be longer than an attachment takes.
const sweepEvery = 60 * time.Second

// sweeper keeps the slot files in step with the pods that are there: addresses
// of pods that went without a DEL are freed, those of pods that the files do
// not know are marked as in use.
type sweeper struct {
	log   *logrus.Entry
	slots *ipam.Slots
	pass  *ipam.Sweeper
	keep  func() []netip.Prefix // the node's subnets, nil: not known
	last  string                // the error last logged
}

func (a *agent) sweep(ctx context.Context) error {
	s := &sweeper{log: a.log, keep: a.keep}
	var err error
	s.slots, err = ipam.NewSlots(a.cfg.RunDir, ipam.Options{InUse: plumb.InUse, Note: func(file, reason string) {
		a.log.WithFields(logrus.Fields{"file": file, "reason": reason}).Warn("slot file made anew from what the kernel shows")
	}})
	if err != nil {
		return err
	}
	s.pass = ipam.NewSweeper(s.slots)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			s.round(ctx)
		}
	}
}

// round makes one pass. One that fails is logged once and tried again: pods
// need addresses, not sweeping.
func (s *sweeper) round(ctx context.Context) {
	err := s.mend(ctx)
	if text := errorText(err); text != s.last && !errors.Is(err, context.Canceled) {
		s.last = text
		if err != nil {
			s.log.WithError(err).Warn("slot files could not be brought in step with the pods")
		}
	}
}

func (s *sweeper) mend(ctx context.Context) error {
	host, err := plumb.ReadHost()
	if err != nil {
		return err
	}
	keep := s.keep()
	conflicts, err := s.slots.Adopt(ctx, host.InUse, keep)
	for _, c := range conflicts {
		s.log.WithFields(logrus.Fields{"address": c.Addr, "container": c.Container}).Error("a pod has an address that is given to another")
	}
	if err != nil {
		return err
	}
	freed, err := s.pass.Pass(ctx, host.Links)
	for _, slot := range freed {
		s.log.WithFields(logrus.Fields{"address": slot.Addr, "container": slot.Container}).Info("freed the address of a pod that is gone")
	}
	return err
}

// keep lists the node's subnets, or nil as long as they are not known.
func (a *agent) keep() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range a.inbox.take().lease.Subnets {
		out = append(out, s.Prefix)
	}
	return out
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
