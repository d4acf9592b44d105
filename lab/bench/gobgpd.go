package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/hostile"
)

// gobgpMemory is what n routes add to Debian's gobgpd, which keeps them and
// programs nothing: the part of weftd's memory that is GoBGP's own.
func gobgpMemory(ctx context.Context, bin lab.Binaries, n int) (rss int64, err error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{Hosts: []lab.HostSpec{{Name: "gobgpd"}}}})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	h, at := l.Hosts[0], gatewayOf(l.Hosts[0].Underlay.IPv4)
	conf := filepath.Join(l.Dir(), "gobgpd.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `[global.config]
as = %d
router-id = "%s"
[[neighbors]]
[neighbors.config]
neighbor-address = "%s"
peer-as = %d
[neighbors.timers.config]
connect-retry = 1
`, subjectASN, h.Underlay.IPv4, at, feederASN), 0o600); err != nil {
		return 0, err
	}
	cmd := exec.Command("gobgpd", "-f", conf, "--api-hosts", "127.0.0.1:50051", "--pprof-disable")
	s := subject{
		Namespace: h.Namespace, feeder: l.Switch(h.Spec.Rack).Namespace, at: at,
		pids:  func() []int { return []int{cmd.Process.Pid} },
		start: func(context.Context) error { return h.Start(cmd) },
	}
	defer func() {
		if cmd.Process != nil {
			_ = cmd.Process.Kill() // the lab's end would do the same
			_ = cmd.Wait()
		}
	}()
	session, err := s.open(ctx)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	before, err := usageOfAll(s.pids())
	if err != nil {
		return 0, err
	}
	if err := feedGobgpd(ctx, h, session, n); err != nil {
		return 0, err
	}
	after, err := usageOfAll(s.pids())
	return after.RSS - before.RSS, err
}

// feedGobgpd announces n routes and waits until gobgpd counts them.
func feedGobgpd(ctx context.Context, h *lab.Host, session *hostile.Session, n int) error {
	if err := announceTo(session, gatewayOf(h.Underlay.Get(fabric.IPv4)), 0, n); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		out, err := h.Run(ctx, "gobgp", "global", "rib", "summary")
		if err == nil && strings.Contains(out, fmt.Sprintf("Destination: %d,", n)) {
			return nil
		}
		if err := lab.Pause(ctx, 100*time.Millisecond); err != nil {
			return fmt.Errorf("gobgpd's table: %q: %w", strings.TrimSpace(out), err)
		}
	}
}
