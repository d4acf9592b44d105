package agent

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/ipam"
)

// sweepEvery is the time between two passes; an address is freed at the
// second pass that finds neither its interface nor its namespace, so this must
// be longer than an attachment takes.
const sweepEvery = 60 * time.Second

// sweep frees the addresses of pods that went without a DEL. A pass that
// fails is logged once and tried again: pods need addresses, not sweeping.
func (a *agent) sweep(ctx context.Context) error {
	slots, err := ipam.NewSlots(a.cfg.RunDir, ipam.Options{})
	if err != nil {
		return err
	}
	sweeper := ipam.NewSweeper(slots)
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		freed, err := pass(ctx, sweeper, a.keep())
		for _, s := range freed {
			a.log.WithFields(logrus.Fields{"address": s.Addr, "container": s.Container}).Info("freed the address of a pod that is gone")
		}
		if text := errorText(err); text != last && !errors.Is(err, context.Canceled) {
			last = text
			if err != nil {
				a.log.WithError(err).Warn("addresses of pods that are gone could not be freed")
			}
		}
	}
}

func pass(ctx context.Context, s *ipam.Sweeper, keep []netip.Prefix) ([]ipam.Slot, error) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil, err
	}
	links := make(map[string]bool, len(interfaces))
	for _, i := range interfaces {
		links[i.Name] = true
	}
	return s.Pass(ctx, links, keep)
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
