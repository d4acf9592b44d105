package lab

import (
	"context"
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// StartWith starts the switch's daemon with configuration files of the
// caller's own, by name, instead of what the topology would give it:
// bird.conf; or frr.conf, zebra.conf and vtysh.conf.
func (s *Switch) StartWith(ctx context.Context, files map[string]string) error {
	if err := writeFiles(s.dir(), files); err != nil {
		return err
	}
	return s.Start(ctx)
}

// PIDs are the daemon's processes, those that run.
func (s *Switch) PIDs() []int {
	var out []int
	if s.daemon == nil {
		return nil
	}
	for _, p := range s.daemon.processes() {
		if pid := p.PID(); pid != 0 {
			out = append(out, pid)
		}
	}
	return out
}

// LinkAddrs are the addresses of a ToR's link to the n-th spine (from 1): its
// own and the spine's.
func (s *Switch) LinkAddrs(n int, f fabric.Family) (own, spine netip.Addr) {
	return farAddr(s.link(), n, f), linkSegment(s.link(), n, f).gateway
}
