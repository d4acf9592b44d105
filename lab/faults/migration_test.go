package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/topologies"
)

// TestMigrations: two racks of three hosts move from the overlay to routing and
// back 20 times in a row, dual stack, and lose and reorder nothing, UDP or TCP.
func TestMigrations(t *testing.T) {
	n := times(20, 1)
	ctx, l := upTopology(t, topologies.Paths, 2*time.Minute+time.Duration(n)*2*time.Minute)
	must(t, l.WaitAllWays(ctx, lab.BetweenRacks(fabric.PathVXLAN)))
	traffic, err := l.StartTraffic(ctx, 2000)
	must(t, err)
	for i := range n {
		for _, m := range []struct {
			words string
			path  fabric.PathKind
		}{{"vxlan-to-bgp", fabric.PathBGP}, {"bgp-to-vxlan", fabric.PathVXLAN}} {
			h := l.Hosts[i%len(l.Hosts)]
			if err := move(ctx, l, h, m.words, m.path); err != nil {
				t.Errorf("migration %d, %s: %v", i+1, m.words, err)
			}
		}
		if t.Failed() {
			break
		}
	}
	wantWhole(ctx, t, traffic)
}

// move migrates and finishes.
func move(ctx context.Context, l *lab.Lab, h *lab.Host, words string, path fabric.PathKind) error {
	if err := errors.Join(h.Migrate(ctx, words), l.WaitPhase(ctx, fabric.PhaseMoved)); err != nil {
		return err
	}
	if _, err := h.Weft(ctx, "migrate", "finish"); err != nil {
		return err
	}
	return l.WaitAllWays(ctx, lab.BetweenRacks(path))
}

// wantWhole ends the traffic and fails the test if anything of it is missing.
func wantWhole(ctx context.Context, t *testing.T, traffic *lab.Traffic) {
	t.Helper()
	r, err := traffic.Stop(ctx)
	must(t, err)
	all, spurious := r.Retransmits()
	t.Logf("%s; TCP: %d segments sent again, %d of them needlessly", r.Summary(), all, spurious)
	if faults := r.Faults(); len(faults) > 0 {
		t.Error(strings.Join(faults, "\n"))
	}
}

// TestMigrationWithoutEtcd: etcd is away for 30 s in the middle of a migration,
// again and again.
func TestMigrationWithoutEtcd(t *testing.T) {
	n := times(4, 1)
	away := time.Duration(times(30, 5)) * time.Second
	ctx, l := upTopology(t, topologies.Paths, 2*time.Minute+time.Duration(n)*3*time.Minute)
	must(t, l.WaitAllWays(ctx, lab.BetweenRacks(fabric.PathVXLAN)))
	h := l.Hosts[0]
	traffic, err := l.StartTraffic(ctx, 2000)
	must(t, err)
	for i := range n {
		words, path := "vxlan-to-bgp", fabric.PathBGP
		if i%2 == 1 {
			words, path = "bgp-to-vxlan", fabric.PathVXLAN
		}
		must(t, h.Migrate(ctx, words, "--rate", "1"))
		must(t, l.WaitMigration(ctx, "moving", func(m lab.Migration) error {
			if m.PeersDone == 0 {
				return errors.New("no peer has moved")
			}
			return nil
		}))
		must(t, l.Etcd.Stop(ctx))
		must(t, lab.Pause(ctx, away))
		must(t, l.Etcd.Start(ctx))
		must(t, l.WaitPhase(ctx, fabric.PhaseMoved))
		_, err := h.Weft(ctx, "migrate", "finish")
		must(t, err)
		must(t, l.WaitAllWays(ctx, lab.BetweenRacks(path)))
	}
	wantWhole(ctx, t, traffic)
}
