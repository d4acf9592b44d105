package routing

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

// foreseer is a running task in a namespace of its own.
func foreseer(t *testing.T, in Inputs) *Task {
	testns.New(t)
	task := New(Options{
		Log: silent(), Self: fabric.Node{Name: "n1", ID: "n1"}, RunDir: t.TempDir(),
		Inputs: func() Inputs { return in }, Changed: func() {},
	})
	task.links = func() []link { return nil }
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- task.Run(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return task
}

// What a plan would do is known before anything is done: nothing is announced,
// no session begun.
func TestForesee(t *testing.T) {
	routed := &fabric.Spec{Backend: "bgp"}
	routed.Network.IPv4 = netip.MustParsePrefix("10.244.0.0/16")
	in := Inputs{Snapshot: &fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan"}}, Index: 1, OwnKnown: true, Own: prefixes("10.244.1.0/24"), Underlay: kernel.Underlay{MTU: 1500}}
	in.Underlay.Addrs.IPv4 = netip.MustParseAddr("198.18.1.10")
	tor := fabric.BGPPeer{Name: "tor", Spec: fabric.BGPPeerSpec{Nodes: fabric.Selector{}, ASN: "65001", Peer: fabric.BGPTarget{Address: netip.MustParseAddr("198.18.1.1")}}}
	foresee := func(objects *fabric.BGP) (Foresight, *Task) {
		t.Helper()
		in := in
		with := *in.Snapshot
		with.BGP = objects
		in.Snapshot = &with
		task := foreseer(t, in)
		out, err := task.Foresee(context.Background(), routed)
		if err != nil {
			t.Fatal(err)
		}
		return out, task
	}
	got, task := foresee(nil)
	if got.Sessions != 0 || got.Reason != "" || len(got.Announced) != 1 {
		t.Errorf("without objects: %+v", got)
	}
	if task.speaker.Load() != nil || task.Status().Enabled {
		t.Error("looking ahead began to speak")
	}
	if got, _ := foresee(&fabric.BGP{Peers: []fabric.BGPPeer{tor}}); got.Sessions != 1 || len(got.Problems) != 0 {
		t.Errorf("with a ToR: %+v", got)
	}
	tor.Spec.Auth.MD5File = "/nowhere/tor.md5"
	if got, _ := foresee(&fabric.BGP{Peers: []fabric.BGPPeer{tor}}); len(got.Problems) == 0 && got.Sessions == 1 {
		t.Errorf("a ToR whose password's file is missing: %+v", got)
	}
	in.OwnKnown = false
	if got, _ := foresee(nil); !strings.Contains(got.Reason, "subnets") {
		t.Errorf("before it is known what this node announces: %+v", got)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := New(Options{Log: silent(), RunDir: t.TempDir()}).Foresee(ctx, routed); err == nil {
		t.Error("a task that does not run was asked, and nothing is said")
	}
}

// The speaker runs when any plan of a migration routes, not by the
// specification's alone, and a dry run starts nothing.
func TestSpeakerRunsForEveryPlan(t *testing.T) {
	for name, tt := range map[string]struct {
		snapshot fabric.Snapshot
		want     bool
	}{
		"overlay":            {fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan"}}, false},
		"routed":             {fabric.Snapshot{Spec: &fabric.Spec{Backend: "bgp"}}, true},
		"by the paths":       {fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan", Paths: []fabric.PathKind{fabric.PathBGP}}}, true},
		"moves there":        {fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan"}, Migration: &fabric.Migration{To: fabric.Plan{Backend: "bgp"}}}, true},
		"moves from there":   {fabric.Snapshot{Spec: &fabric.Spec{Backend: "bgp"}, Migration: &fabric.Migration{To: fabric.Plan{Backend: "vxlan"}}}, true},
		"would move there":   {fabric.Snapshot{Spec: &fabric.Spec{Backend: "vxlan"}, Migration: &fabric.Migration{To: fabric.Plan{Backend: "bgp"}, DryRun: true}}, false},
		"there is no fabric": {fabric.Snapshot{Migration: &fabric.Migration{To: fabric.Plan{Backend: "bgp"}}}, false},
	} {
		task := New(Options{
			Log: silent(), Self: fabric.Node{Name: "n1", ID: "n1"}, RunDir: t.TempDir(),
			Inputs: func() Inputs { return Inputs{Snapshot: &tt.snapshot} }, Changed: func() {},
		})
		task.step(context.Background(), at(0))
		if got := task.Status().Enabled; got != tt.want {
			t.Errorf("%s: it routes: %t, want %t", name, got, tt.want)
		}
		task.close()
	}
}
