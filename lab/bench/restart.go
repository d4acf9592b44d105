package bench

import (
	"context"
	"errors"
	"time"

	"github.com/weft-net/weft/lab"
)

// Restart is an agent killed and started with everything in place, under
// traffic between two real hosts.
type Restart struct {
	Peers   int
	Wall    time.Duration // from the fork to ready
	Writes  uint64        // netlink requests of the new agent
	Packets lab.FlowReport
}

func restart(ctx context.Context, bin lab.Binaries, peers int) (Restart, error) {
	r := Restart{Peers: peers}
	hosts := []lab.HostSpec{{Name: "h1", Rack: "r1"}, {Name: "h2", Rack: "r2"}}
	err := withPeers(ctx, bin, hosts, peers, func(l *lab.Lab) error {
		for _, h := range l.Hosts {
			if _, err := startMeasured(ctx, h); err != nil {
				return err
			}
			if _, err := l.AddPod(ctx, h, "p-"+h.Spec.Name); err != nil {
				return err
			}
		}
		// The first host learns of the second's lease a moment later.
		if _, err := lab.Probe(ctx, l.PodEndpoints(), lab.ProbeOptions{}, 500*time.Millisecond); err != nil {
			return err
		}
		h := l.Hosts[0]
		m, err := lab.StartMesh(ctx, l.PodEndpoints(), lab.ProbeOptions{Rate: 1000, From: "p-h1"})
		if err != nil {
			return err
		}
		u, err := killAndStart(ctx, h)
		report, stopErr := m.Stop(ctx)
		if err := errors.Join(err, stopErr); err != nil {
			return err
		}
		s, err := h.Agent.Status(ctx)
		if err != nil {
			return err
		}
		r.Wall, r.Writes, r.Packets = u.Wall, s.Writes, report.Total()
		return nil
	})
	return r, err
}

// killAndStart lets traffic run for a second before and after.
func killAndStart(ctx context.Context, h *lab.Host) (Usage, error) {
	if err := lab.Pause(ctx, time.Second); err != nil {
		return Usage{}, err
	}
	if err := h.Agent.Kill(); err != nil {
		return Usage{}, err
	}
	u, err := startMeasured(ctx, h)
	if err != nil {
		return u, err
	}
	return u, lab.Pause(ctx, time.Second)
}
