package agent

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// answering serves what the loop is asked until the test ends.
func answering(t *testing.T, l *loop) {
	t.Helper()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case f := <-l.asks:
				f()
			case <-stop:
				return
			}
		}
	}()
	t.Cleanup(func() { close(stop); <-done })
}

// TestListPaths: what the kernel was told is what operators read.
func TestListPaths(t *testing.T) {
	l := testLoop(t)
	dead := testPeer(4, "198.18.9.3")
	dead.Alive = false
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.11"), testPeer(3, "198.18.9.2"), dead))
	l.in.setDown(dead.ID, true)
	l.roundWant(t, true)
	answering(t, l)
	got, err := l.listPaths(t.Context(), "")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, p := range got {
		for _, f := range p.Families {
			row := fmt.Sprintf("%s %t %s %s", p.Name, p.Alive, f.Family, f.Path)
			for _, o := range f.Offers {
				row += fmt.Sprintf(" %s:%s", o.Path, o.State)
			}
			rows = append(rows, row)
		}
	}
	want := []string{
		"peer-002 true ipv4 direct direct:up vxlan:up",
		"peer-003 true ipv4 vxlan direct:gone vxlan:up",
		"peer-004 false ipv4 unreachable direct:gone vxlan:gone",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if one, err := l.listPaths(t.Context(), "peer-002"); err != nil || len(one) != 1 || one[0].Name != "peer-002" {
		t.Errorf("one: %v, %v", one, err)
	}
	if none, err := l.listPaths(t.Context(), "x"); err != nil || none == nil || len(none) != 0 {
		t.Errorf("a name that nobody has: %v, %v", none, err)
	}
}

// TestPeersInParts: a list in parts has every peer once, and not this node.
func TestPeersInParts(t *testing.T) {
	l := &loop{}
	if l.peersAfter("", 10) != nil {
		t.Error("peers before anything is known")
	}
	l.want.known, l.want.input.Self = true, "peer-002"
	var want, got []fabric.NodeID
	for i := range 7 {
		l.want.peers = append(l.want.peers, testPeer(i, "198.18.0.1"))
		if id := l.want.peers[i].ID; id != "peer-002" {
			want = append(want, id)
		}
	}
	for part := l.peersAfter("", 2); len(part) > 0; part = l.peersAfter(part[len(part)-1].ID, 2) {
		for _, p := range part {
			got = append(got, p.ID)
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if part := l.peersAfter("peer-004x", 1); len(part) != 1 || part[0].ID != "peer-005" {
		t.Errorf("behind a peer that is gone: %v", part)
	}
}

// TestAStuckLoopHangsNobody.
func TestAStuckLoopHangsNobody(t *testing.T) {
	l := &loop{asks: make(chan func())}
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := l.listPaths(ctx, ""); !errors.Is(err, errBusy) {
		t.Errorf("got %v", err)
	}
}

func TestMigrationFigures(t *testing.T) {
	s := snapshotOf(testPeer(1, "198.18.0.1"), testPeer(2, "198.18.0.2"))
	for _, p := range s.Peers {
		p.Features = []string{fabric.FeatureMigrate}
	}
	names := map[*prometheus.Desc]string{descPhase: "phase", descPaused: "paused", descMigrating: "peers"}
	figures := func() (out []string) {
		collectMigration(s, "peer-001", func(d *prometheus.Desc, v float64, labels ...string) {
			out = append(out, fmt.Sprintf("%s%v %v", names[d], labels, v))
			prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...) // panics where the labels are not the metric's
		})
		return out
	}
	if diff := cmp.Diff([]string{"phase[none] 1"}, figures()); diff != "" || migrationStatus(s, "peer-001") != nil {
		t.Errorf("without a migration: -want +got:\n%s", diff)
	}
	s.Migration = &fabric.Migration{ID: "m", From: s.Spec.Plan(), To: s.Spec.Plan(), Rate: 1}
	if diff := cmp.Diff([]string{"phase[checking] 1", "paused[] 0", "peers[moved] 0", "peers[all] 1"}, figures()); diff != "" {
		t.Errorf("at first: -want +got:\n%s", diff)
	}
	ok := []fabric.Check{{Name: "mtu", Result: fabric.CheckOK}}
	s.Reports = map[string]fabric.MigrationReport{
		"peer-001": {ID: "m", Checks: ok, Armed: true, Moving: true, Moved: 3, Total: 5, Reason: "waits for an answer"}, "peer-002": {ID: "m", Checks: ok, Armed: true},
	}
	s.Migration.Pause = &fabric.Pause{Node: "peer-001", Peer: "peer-002", Reason: "3 of 10 probes were lost"}
	if diff := cmp.Diff([]string{"phase[moving] 1", "paused[] 1", "peers[moved] 3", "peers[all] 5"}, figures()); diff != "" {
		t.Errorf("paused: -want +got:\n%s", diff)
	}
	want := &api.Migration{Phase: "moving", Moved: 3, Total: 5, Paused: "peer-001: peer-002: 3 of 10 probes were lost", Reason: "waits for an answer"}
	if diff := cmp.Diff(want, migrationStatus(s, "peer-001")); diff != "" {
		t.Errorf("status: -want +got:\n%s", diff)
	}
}
