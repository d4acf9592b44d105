package kernel

import (
	"net/netip"
	"testing"
)

// What an earlier life left is known before anything is wanted, whatever it is,
// and reading it changes nothing.
func TestHeld(t *testing.T) {
	underlay(t)
	w := join(base("198.18.0.1"), peers(2))
	n := len(w.Routes)
	w.Routes[n-2].MTU, w.Routes[n-1].MTU = 1400, 1400
	w.Routes[n-4].Type, w.Routes[n-4].Nexthop = Unreachable, 0
	first := open(t, w)
	inSync(t, first)
	foreign := RouteKey{netip.MustParsePrefix("10.9.0.0/24"), Metric}
	strange := RouteKey{netip.MustParsePrefix("10.9.1.0/24"), Metric}
	commands(t, "ip route add 10.9.0.0/24 dev up0 metric 158; ip route add prohibit 10.9.1.0/24 proto 158 metric 158")

	next := open(t, Objects{})
	if err := next.Read(); err != nil {
		t.Fatal(err)
	}
	for _, want := range w.Routes {
		if got, ok := next.Held(want.RouteKey); !ok || got != want {
			t.Errorf("held %v: %s, want %s", ok, got, want)
		}
	}
	for _, k := range []RouteKey{{subnet(4, 3), Metric}, {subnet(4, 1), 7}, foreign, strange} {
		if r, ok := next.Held(k); ok {
			t.Errorf("holds %s", r)
		}
	}
	commands(t, "ip route del prohibit 10.9.1.0/24 proto 158 metric 158; ip route del 10.9.0.0/24 dev up0 metric 158")
	idle(t, first) // nothing was touched

	next.SetWant(w)
	if r := inSync(t, next); r.Writes != 0 {
		t.Errorf("%d writes after a quiet restart", r.Writes)
	}
	commands(t, "ip route del 10.0.1.0/24 metric 158") // unreachable by now
	if err := next.Read(); err != nil {
		t.Fatal(err)
	}
	if r, ok := next.Held(RouteKey{subnet(4, 1), Metric}); ok {
		t.Errorf("still holds %s", r)
	}
}

// An agent that does not know yet what it wants keeps what it has read.
func TestReadThenRetain(t *testing.T) {
	underlay(t)
	w := join(base("198.18.0.1"), peers(2))
	inSync(t, open(t, w))
	next := open(t, Objects{})
	if err := next.Read(); err != nil {
		t.Fatal(err)
	}
	next.Retain(4, true)
	next.Retain(6, true)
	next.SetWant(base("198.18.0.1"))
	if r := inSync(t, next); r.Writes != 0 || next.Retained() != 4 {
		t.Errorf("%d writes, %d routes retained", r.Writes, next.Retained())
	}
}
