package lab

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// The hosts of the fabrics that migrate.
const (
	allHosts  = "h1 h2 h3 h4 h5 h6"
	fourHosts = "h1 h2 h4 h5"
)

// flowing runs do while traffic flows, and fails the test if a packet was lost
// or came out of order, or a segment was lost.
func flowing(ctx context.Context, t *testing.T, l *Lab, do func()) {
	t.Helper()
	traffic, err := l.StartTraffic(ctx, 2000)
	must(t, err)
	stopped := false
	defer func() { // do may end the test
		if !stopped {
			_, _ = traffic.Stop(ctx)
		}
	}()
	traffic.mesh.waitRounds(ctx, t, 5)
	do()
	traffic.mesh.waitRounds(ctx, t, 5)
	stopped = true
	r, err := traffic.Stop(ctx)
	must(t, err)
	all, spurious := r.Retransmits()
	t.Logf("%s; TCP: %d segments sent again, %d of them needlessly", r.Summary(), all, spurious)
	if faults := r.Faults(); len(faults) > 0 {
		t.Error(strings.Join(faults, "\n"))
	}
}

// migrate begins a migration at a host and waits until every node has moved.
func migrate(ctx context.Context, t *testing.T, h *Host, args ...string) {
	t.Helper()
	must(t, h.Migrate(ctx, args...))
	must(t, h.lab.WaitPhase(ctx, fabric.PhaseMoved))
}

// finish ends a migration.
func finish(ctx context.Context, t *testing.T, h *Host) {
	t.Helper()
	_, err := h.Weft(ctx, "migrate", "finish")
	must(t, err)
}

// wantSpec fails the test unless the stored Fabric has all these words.
func wantSpec(ctx context.Context, t *testing.T, h *Host, words ...string) {
	t.Helper()
	out, err := h.Weft(ctx, "get", "fabric", "-o", "yaml")
	must(t, err)
	for _, w := range words {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not in the Fabric:\n%s", w, out)
		}
	}
}

// TestMigration: the whole way to routing and back, over two racks of three
// hosts, loses and reorders nothing.
func TestMigration(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, allHosts, nil)
	h := l.Host("h1")
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	flowing(ctx, t, l, func() {
		migrate(ctx, t, h, "vxlan-to-bgp")
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
		finish(ctx, t, l.Host("h6"))
		wantSpec(ctx, t, h, "backend: bgp")
		migrate(ctx, t, l.Host("h4"), "bgp-to-vxlan")
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
		finish(ctx, t, h)
		wantSpec(ctx, t, h, "backend: vxlan")
	})
	waitReachable(ctx, t, l)
}

// TestMigrationOfTheOverlay: port, VNI and MTU change, and change again, which
// leaves nothing of the overlays before behind.
func TestMigrationOfTheOverlay(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", nil)
	h := l.Host("h1")
	flowing(ctx, t, l, func() {
		for i, args := range []string{"--port 4790", "--vni 7", "--vni 8 --port 4789"} {
			migrate(ctx, t, h, append([]string{"vxlan"}, strings.Fields(args)...)...)
			finish(ctx, t, h)
			wantSpec(ctx, t, h, fmt.Sprintf("generation: %d", i+1))
			must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
		}
	})
	wantSpec(ctx, t, h, "vni: 8", "port: 4789")
	// Whoever sends more than fits from now on is told, and TCP sends that again.
	wantUntouched(t, "smaller packets", underTraffic(ctx, t, l, func() {
		migrate(ctx, t, h, "vxlan", "--mtu", "1400")
		finish(ctx, t, h)
	}))
	wantSpec(ctx, t, h, "mtu: 1400")
	wantTold(ctx, t, h, l.Host("h4"), 1400)
	must(t, await(ctx, "the overlays of before to go", func() error {
		for _, h := range l.Hosts {
			names, err := h.deviceNames()
			if err != nil {
				return err
			}
			var overlays []string
			for _, n := range names {
				if strings.HasPrefix(n, "weft.") {
					overlays = append(overlays, n)
				}
			}
			if len(overlays) != 1 || !strings.HasPrefix(overlays[0], "weft.8") {
				return fmt.Errorf("%s has %v", h.Spec.Name, overlays)
			}
		}
		return nil
	}))
	waitReachable(ctx, t, l)
}

// TestMigrationOfOneRack: what is selected moves, the rest can receive by both,
// and a rule keeps it so when it is finished.
func TestMigrationOfOneRack(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, nil)
	h := l.Host("h1")
	ways := func(from, to *Host) fabric.PathKind {
		if from.Spec.Rack == "r2" {
			return BetweenRacks(fabric.PathBGP)(from, to)
		}
		return BetweenRacks(fabric.PathVXLAN)(from, to)
	}
	flowing(ctx, t, l, func() {
		migrate(ctx, t, h, "vxlan-to-bgp", "--nodes", "rack=r2")
		must(t, l.WaitAllWays(ctx, ways))
		finish(ctx, t, h)
		must(t, l.WaitAllWays(ctx, ways))
	})
	wantSpec(ctx, t, h, "backend: vxlan", "pathRules")
	must(t, l.WaitAllWays(ctx, ways))
}

// TestMigrationDryRun: the nodes look and say, and nothing is armed.
func TestMigrationDryRun(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", nil)
	h := l.Host("h1")
	writes := h.status(ctx, t).Writes
	out, err := h.Weft(ctx, "migrate", "vxlan-to-bgp", "--dry-run")
	must(t, err)
	for _, w := range []string{"2 nodes", "sessions", "probes", "nothing was changed", "can go along"} {
		if !strings.Contains(out, w) {
			t.Errorf("%q is not in\n%s", w, out)
		}
	}
	if b, err := h.Agent.BGP(ctx); err == nil && len(b.Sessions) > 0 {
		t.Errorf("a dry run left sessions: %+v", b.Sessions)
	}
	if n := h.status(ctx, t).Writes; n != writes {
		t.Errorf("a dry run wrote %d netlink messages", n-writes)
	}
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
}

// TestMigrationIsInNobodysHands: whoever began it is killed; another host pauses
// it, a third takes it back, and the fabric is as it was.
func TestMigrationIsInNobodysHands(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, nil)
	h1, h4, h5 := l.Host("h1"), l.Host("h4"), l.Host("h5")
	flowing(ctx, t, l, func() {
		// One peer a second: it is still under way when it is paused.
		must(t, h1.MigrateAndDie(ctx, "vxlan-to-bgp", "--rate", "1"))
		must(t, l.WaitMigration(ctx, "moving", someMoved))
		_, err := h4.Weft(ctx, "migrate", "pause")
		must(t, err)
		m, err := l.Migration(ctx)
		must(t, err)
		if m.Pause() == nil || m.Phase == fabric.PhaseMoved {
			t.Errorf("it did not stop: %s", m)
		}
		_, err = h4.Weft(ctx, "migrate", "resume", "--detach")
		must(t, err)
		_, err = h5.Weft(ctx, "migrate", "undo", "--detach")
		must(t, err)
		must(t, l.WaitPhase(ctx, fabric.PhaseUndone))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
		finish(ctx, t, h5)
	})
	wantSpec(ctx, t, h1, "backend: vxlan")
	// The speakers go when the migration has.
	for _, h := range l.Hosts {
		must(t, await(ctx, "no session", func() error {
			if b, err := h.Agent.BGP(ctx); err == nil && len(b.Sessions) > 0 {
				return errNotYet
			}
			return nil
		}))
	}
}

// someMoved waits for the first peer to move.
func someMoved(m Migration) error {
	if m.PeersDone == 0 {
		return errNotYet
	}
	return nil
}
