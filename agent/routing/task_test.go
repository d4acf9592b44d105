package routing

import (
	"testing"

	"github.com/weft-net/weft/agent/health"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// A speaker that started before it is known what this node announces would tell
// the peers that it is nothing.
func TestWhatMustBeKnownBeforeTheStart(t *testing.T) {
	whole := Inputs{Index: 1, OwnKnown: true, Underlay: kernel.Underlay{MTU: 1500}}
	if reason := lacks(whole); reason != "" {
		t.Errorf("all is known, and yet: %s", reason)
	}
	for name, change := range map[string]func(*Inputs){
		"index":    func(in *Inputs) { in.Index = 0 },
		"subnets":  func(in *Inputs) { in.OwnKnown = false },
		"underlay": func(in *Inputs) { in.Underlay.MTU = 0 },
	} {
		in := whole
		change(&in)
		wantText(t, name, lacks(in), name)
		if lacks(in) == "" {
			t.Errorf("%s: nothing is said", name)
		}
	}
}

// The prober's verdicts reach the next life of the agent through the run
// directory.
func TestVerdictsOutliveARestart(t *testing.T) {
	dir := t.TempDir()
	first := New(Options{Log: silent(), RunDir: dir})
	first.checks = health.New(health.Options{Log: silent(), Earlier: map[string]bool{"dns": true, "web": false}})
	first.verdicts()
	second := New(Options{Log: silent(), RunDir: dir})
	got := second.verdicts()
	if healthy, known := got["dns"]; !healthy || !known {
		t.Errorf("verdicts %v, want dns healthy", got)
	}
	if healthy, known := got["web"]; healthy || !known {
		t.Errorf("verdicts %v, want web known and not healthy", got)
	}
	write(t, dir+"/"+verdictsFile, "nonsense")
	if got := New(Options{Log: silent(), RunDir: dir}).verdicts(); len(got) != 0 {
		t.Errorf("verdicts %v of a broken file", got)
	}
}

func TestSessionsAreCalledByManyNames(t *testing.T) {
	s := bgp.SessionStatus{Key: "tors/198.18.1.1", Address: addrs("198.18.1.1")[0]}
	for name, want := range map[string]bool{"": true, "tors": true, "tors/198.18.1.1": true, "198.18.1.1": true, "tor": false, "198.18.1.2": false} {
		if got := called(s, name); got != want {
			t.Errorf("%q: %t, want %t", name, got, want)
		}
	}
}

// Only objects that select this node are its own.
func TestSelected(t *testing.T) {
	b := &fabric.BGP{Prefixes: []fabric.BGPPrefix{
		{Name: "mine", Spec: fabric.BGPPrefixSpec{Nodes: fabric.Selector{"role": "edge"}, Prefixes: prefixes("198.19.0.1/32")}},
		{Name: "other", Spec: fabric.BGPPrefixSpec{Nodes: fabric.Selector{"role": "core"}, Prefixes: prefixes("198.19.0.2/32")}},
	}}
	if got := extra(selected(b, map[string]string{"role": "edge"})); len(got) != 1 || got[0] != prefixes("198.19.0.1/32")[0] {
		t.Errorf("got %v", got)
	}
}
