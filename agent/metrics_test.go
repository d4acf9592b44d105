package agent

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weft-net/weft/fabric"
)

func TestPeersAndHoldsAreCounted(t *testing.T) {
	a := &agent{self: fabric.Node{ID: "self"}}
	peer := func(id fabric.NodeID, alive, held bool) *fabric.Peer {
		return &fabric.Peer{Node: fabric.Node{ID: id}, Alive: alive, Held: held}
	}
	in := inputs{
		snapshot: &fabric.Snapshot{
			Peers:    []*fabric.Peer{peer("a", true, false), peer("b", false, true), peer("c", false, true), peer("self", true, false)},
			Hold:     &fabric.Hold{Peers: 2, Objects: 3},
			Problems: []fabric.Problem{{Key: "nodes/d"}},
		},
		down: map[fabric.NodeID]bool{"b": true},
	}
	want := []string{
		`[objects] of hold: 3`, `[peers] of hold: 2`, `[alive] of peers: 1`, `[down] of peers: 1`, `[held] of peers: 2`, `[] of problems: 1`,
	}
	names := map[*prometheus.Desc]string{descHold: "hold", descPeers: "peers", descProblems: "problems"}
	collected := func() (out []string) {
		a.collectPeers(in, func(d *prometheus.Desc, v float64, labels ...string) {
			out = append(out, fmt.Sprintf("%v of %s: %v", labels, names[d], v))
			prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...) // panics where the labels are not the metric's
		})
		slices.Sort(out)
		return out
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, collected()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	in.snapshot.Hold = &fabric.Hold{Peers: 2}
	if got := collected(); !slices.Contains(got, `[objects] of hold: 0`) {
		t.Errorf("without held objects: %v", got)
	}
}
