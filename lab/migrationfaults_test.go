package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/fabric"
)

// stopped is content with a migration that has stopped by itself, or was
// refused, and says where and why.
func stopped(m Migration) error {
	if m.Phase == fabric.PhaseRefused {
		for _, name := range m.Waiting {
			for _, c := range m.Reports[name].Failed() {
				if c.Text != "" {
					return nil
				}
			}
		}
	}
	if p := m.Pause(); p != nil && p.Node != "" && p.Reason != "" {
		return nil
	}
	return errNotYet
}

// TestMigrationWhileAgentsDie: each agent in turn is killed while its node moves
// or waits, and goes on where it was.
func TestMigrationWhileAgentsDie(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, nil)
	flowing(ctx, t, l, func() {
		must(t, l.Host("h1").Migrate(ctx, "vxlan-to-bgp", "--rate", "2"))
		for _, h := range l.Hosts {
			must(t, l.WaitMigration(ctx, "moving", someMoved))
			must(t, h.Agent.Kill())
			must(t, h.Agent.Start())
			must(t, h.Agent.WaitReady(ctx))
		}
		must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
		finish(ctx, t, l.Host("h1"))
	})
}

// TestMigrationWhileANodeJoins: the newcomer is moved to and moves.
func TestMigrationWhileANodeJoins(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, nil)
	flowing(ctx, t, l, func() {
		must(t, l.Host("h1").Migrate(ctx, "vxlan-to-bgp", "--rate", "1"))
		must(t, l.WaitMigration(ctx, "moving", someMoved))
		h, err := l.AddHost(HostSpec{Name: "h7", Rack: "r2"})
		must(t, err)
		must(t, h.Agent.Start())
		must(t, h.Agent.WaitReady(ctx))
		_, err = l.AddPod(ctx, h, "h7-a")
		must(t, err)
		must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	})
	waitReachable(ctx, t, l)
}

// TestMigrationWhileANodeIsDrained: a drained node moves like any other.
func TestMigrationWhileANodeIsDrained(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, routing())
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	h := l.Host("h1")
	flowing(ctx, t, l, func() {
		must(t, h.Migrate(ctx, "bgp-to-vxlan", "--rate", "2"))
		must(t, l.WaitMigration(ctx, "moving", someMoved))
		_, err := h.Weft(ctx, "node", "drain", "h4", "--wait", "0")
		must(t, err)
		must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	})
}

// TestMigrationMeetsAFirewall: where the new way drops packets, nothing is sent
// by it: the migration stops, says where, and goes on when the way is free.
func TestMigrationMeetsAFirewall(t *testing.T) {
	for _, tt := range []struct {
		name, backend, migration string
		ways                     fabric.PathKind
		block                    func(ctx context.Context, l *Lab) (*Filter, error)
	}{
		{"routed", "vxlan", "vxlan-to-bgp", fabric.PathBGP, func(ctx context.Context, l *Lab) (*Filter, error) {
			return l.Switch("s1").Drop(ctx, []string{"forward"}, "ip daddr 10.244.0.0/16", "ip6 daddr fd00:10:244::/48")
		}},
		{"VXLAN", "bgp", "bgp-to-vxlan", fabric.PathVXLAN, func(ctx context.Context, l *Lab) (*Filter, error) {
			return l.Host("h4").Drop(ctx, []string{"input"}, "udp dport 4789")
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, l := upPaths(t, "h1 h4", map[string]any{"backend": tt.backend})
			if tt.backend == "bgp" {
				must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
			}
			h := l.Host("h1")
			flowing(ctx, t, l, func() {
				f, err := tt.block(ctx, l)
				must(t, err)
				must(t, h.Migrate(ctx, tt.migration))
				must(t, l.WaitMigration(ctx, "stopped", stopped))
				must(t, f.Remove(ctx))
				m, err := l.Migration(ctx)
				must(t, err)
				t.Log(m)
				if m.Phase == fabric.PhaseRefused {
					must(t, h.Migrate(ctx, tt.migration))
				} else {
					_, err := h.Weft(ctx, "migrate", "resume", "--detach")
					must(t, err)
				}
				must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
				must(t, l.WaitAllWays(ctx, BetweenRacks(tt.ways)))
			})
		})
	}
}

// TestMigrationWithAnOlderNode: a node that knows no migrations keeps the old
// way, in both directions, and keeps the migration from being finished until it
// is upgraded.
func TestMigrationWithAnOlderNode(t *testing.T) {
	t.Parallel()
	old, err := BuildOlder(t.Context(), t.TempDir())
	must(t, err)
	ctx, l := upPaths(t, "h1 h2 h4", nil)
	h1, h4 := l.Host("h1"), l.Host("h4")
	flowing(ctx, t, l, func() {
		must(t, h4.Agent.Stop(ctx))
		h4.Agent.Program = old
		must(t, h4.Agent.Start())
		must(t, h4.Agent.WaitReady(ctx))
		must(t, await(ctx, "the older node to be known as such", func() error {
			out, err := h1.Weft(ctx, "nodes", "-o", "json")
			if err == nil && strings.Count(out, `"`+fabric.FeatureMigrate+`"`) != 2 {
				err = errors.New(out)
			}
			return err
		}))
		must(t, h1.Migrate(ctx, "vxlan-to-bgp"))
		must(t, l.WaitMigration(ctx, "as far as it comes", func(m Migration) error {
			if m.Left["h4"] == "" || m.Moved < 2 {
				return errNotYet
			}
			return nil
		}))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
		if out, err := h1.Weft(ctx, "migrate", "finish"); err == nil {
			t.Errorf("it was finished over a node that did not move: %s", out)
		}
		must(t, h4.Agent.Stop(ctx))
		h4.Agent.Program = ""
		must(t, h4.Agent.Start())
		must(t, h4.Agent.WaitReady(ctx))
		must(t, l.WaitMigration(ctx, "moved everywhere", func(m Migration) error {
			if m.Phase != fabric.PhaseMoved || len(m.Left) > 0 {
				return errNotYet
			}
			return nil
		}))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
		finish(ctx, t, h1)
	})
}

// TestOppositeMigrations: of two operators at once one wins, and the other is
// told; while one is under way nobody else's begins.
func TestOppositeMigrations(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", nil)
	h1, h4 := l.Host("h1"), l.Host("h4")
	flowing(ctx, t, l, func() {
		errs := make([]error, 2)
		var g errgroup.Group
		g.Go(func() error { errs[0] = h1.Migrate(ctx, "vxlan-to-bgp", "--rate", "1"); return nil })
		g.Go(func() error { errs[1] = h4.Migrate(ctx, "vxlan", "--vni", "9"); return nil })
		must(t, g.Wait())
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("want one to win: %v", errs)
		}
		if err := h4.Migrate(ctx, "vxlan", "--vni", "10"); err == nil {
			t.Error("a second migration began while one is under way")
		}
		// One goes on, the other takes it back: whoever is later has it.
		must(t, l.WaitMigration(ctx, "moving", someMoved))
		_, err := h4.Weft(ctx, "migrate", "undo", "--detach")
		must(t, err)
		must(t, l.WaitPhase(ctx, fabric.PhaseUndone))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	})
}

// TestMigrationWhileAToRIsLost: what can be reached stays so, and the migration
// comes to its end, or stops and says where until the ToR is back.
func TestMigrationWhileAToRIsLost(t *testing.T) {
	t.Parallel()
	topo, err := ParseTopology([]byte(twoUplinks))
	must(t, err)
	ctx, l := upTopology(t, topo, map[string]any{"backend": "vxlan"})
	must(t, l.Host("h1").Migrate(ctx, "vxlan-to-bgp", "--rate", "1"))
	must(t, l.WaitMigration(ctx, "moving", someMoved))
	tor := l.Switch("t1b")
	must(t, tor.Cut())
	waitReachable(ctx, t, l)
	flowing(ctx, t, l, func() {
		must(t, l.WaitMigration(ctx, "moved or stopped", func(m Migration) error {
			if m.Phase == fabric.PhaseMoved || m.Pause() != nil {
				return nil
			}
			return errNotYet
		}))
	})
	must(t, tor.Restore())
	must(t, l.WaitSessions(ctx))
	if m, err := l.Migration(ctx); err != nil || m.Pause() != nil {
		t.Log(m, err)
		_, err := l.Host("h1").Weft(ctx, "migrate", "resume", "--detach")
		must(t, err)
	}
	flowing(ctx, t, l, func() {
		must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
		finish(ctx, t, l.Host("h1"))
	})
}

// TestMigrationStopsAtALoss: a way that breaks while peers move to it stops the
// migration, which says where, and the peers go on by the way they had.
func TestMigrationStopsAtALoss(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, fourHosts, nil)
	must(t, l.Host("h1").Migrate(ctx, "vxlan-to-bgp", "--rate", "1"))
	must(t, l.WaitMigration(ctx, "moving", someMoved))
	var matches []string
	for _, p := range l.Host("h4").status(ctx, t).Lease.Subnets {
		matches = append(matches, map[bool]string{true: "ip6", false: "ip"}[p.Addr().Is6()]+" daddr "+p.String())
	}
	f, err := l.Switch("t2").Drop(ctx, []string{"forward"}, matches...)
	must(t, err)
	must(t, l.WaitMigration(ctx, "stopped", stopped))
	m, err := l.Migration(ctx)
	must(t, err)
	t.Log(m)
	if text := fmt.Sprint(*m.Pause()); !strings.Contains(text, "h4") {
		t.Errorf("it does not say that it is about h4: %s", text)
	}
	must(t, f.Remove(ctx))
	_, err = l.Host("h5").Weft(ctx, "migrate", "undo", "--detach")
	must(t, err)
	must(t, l.WaitPhase(ctx, fabric.PhaseUndone))
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	flowing(ctx, t, l, func() {})
}
