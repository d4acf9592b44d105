package kernel

import (
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// What an earlier life left stays, with the groups and gateways it needs, until
// Retain ends for its family; what is wanted replaces it in place.
func TestRetain(t *testing.T) {
	underlay(t)
	twoToRs(t)
	spare := Nexthop{ID: SharedNexthop(0x77), Link: uplink, Gateway: addr("198.18.0.77"), OnLink: true}
	earlier := join(ecmp(3), Objects{
		Nexthops: []Nexthop{spare},
		Routes:   []Route{{RouteKey: RouteKey{subnet(4, 50), Metric}, Type: Unreachable}},
	})
	inSync(t, open(t, earlier))

	h := open(t, Objects{})
	for _, f := range fabric.Families {
		h.Retain(f, true)
	}
	// The nexthop that nothing needs and the route that carries nothing go.
	if r := inSync(t, h); r.Writes != 2 || h.Retained() != 7 {
		t.Errorf("%d writes, %d retained:\n%s", r.Writes, h.Retained(), ours(t))
	}
	idle(t, h)
	h.Audit()
	idle(t, h)

	// This life wants one route and its gateway, and then not any more: the
	// gateway is still needed by what is retained.
	mine := Objects{Nexthops: hops().Nexthops[:1], Routes: []Route{{RouteKey: RouteKey{subnet(4, 1), Metric}, Nexthop: tor4[0]}}}
	h.Update(Objects{}, mine)
	if r := inSync(t, h); r.Writes != 1 || h.Retained() != 6 {
		t.Errorf("a route moved: %d writes, %d retained", r.Writes, h.Retained())
	}
	h.Update(mine, Objects{})
	if r := inSync(t, h); r.Writes != 1 || h.Retained() != 6 {
		t.Errorf("the route went: %d writes, %d retained", r.Writes, h.Retained())
	}
	if groupOf(t, both4) == "" || !strings.Contains(run(t, "ip", "route", "get", "fibmatch", "10.0.2.7"), "via 198.18.0.254 dev up0") {
		t.Error("a retained group lost its member")
	}

	h.Retain(fabric.IPv4, false)
	if r := inSync(t, h); h.Retained() != 3 || r.Writes != 3+3 || len(r.Repaired) != 0 {
		t.Errorf("IPv4 ended: %d writes, repaired %v, %d retained:\n%s", r.Writes, r.Repaired, h.Retained(), ours(t))
	}
	h.Retain(fabric.IPv4, false)
	idle(t, h)
	h.Retain(fabric.IPv6, false)
	inSync(t, h)
	if out := ours(t); out != "" || h.Retained() != 0 {
		t.Errorf("%d retained, left behind:\n%s", h.Retained(), out)
	}
}

// All that is wanted again was never gone: nothing is written when Retain ends.
func TestRetainThenWanted(t *testing.T) {
	underlay(t)
	twoToRs(t)
	inSync(t, open(t, ecmp(5)))
	h := open(t, Objects{})
	h.Retain(fabric.IPv4, true)
	h.Retain(fabric.IPv6, true)
	idle(t, h)
	h.Update(Objects{}, ecmp(5))
	if h.Retained() != 0 {
		t.Errorf("%d retained that are wanted", h.Retained())
	}
	h.Retain(fabric.IPv4, false)
	h.Retain(fabric.IPv6, false)
	idle(t, h)
}

// A fabric that was moved from the overlay to routing while the agent was away
// keeps the overlay, and what is on it, as long as retained routes lead there.
func TestRetainOverlay(t *testing.T) {
	underlay(t)
	earlier := join(base("198.18.0.1"), peers(3))
	inSync(t, open(t, earlier))
	want := base("198.18.0.1")
	want.Links, want.Addrs, want.Sysctls = want.Links[1:], want.Addrs[1:2], want.Sysctls[:1]
	h := open(t, want)
	h.Retain(fabric.IPv4, true)
	h.Retain(fabric.IPv6, true)
	before := run(t, "bridge", "fdb", "show", "dev", overlay) + run(t, "ip", "neigh", "show", "nud", "permanent")
	inSync(t, h)
	if after := run(t, "bridge", "fdb", "show", "dev", overlay) + run(t, "ip", "neigh", "show", "nud", "permanent"); after != before || h.Retained() != 6 {
		t.Errorf("%d retained, left of\n%s\nis\n%s", h.Retained(), before, after)
	}
	idle(t, h)
	h.Retain(fabric.IPv6, false)
	h.Retain(fabric.IPv4, false)
	inSync(t, h)
	if out := tolerant([]string{"ip", "link", "show", overlay}); !strings.Contains(out, "does not exist") {
		t.Errorf("the overlay is still there: %s", out)
	}
	idle(t, h)
}
