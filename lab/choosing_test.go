package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/topologies"
)

// upPaths brings up two racks in which a peer can be reached in every way, with
// the hosts that are named and changes to the Fabric's spec.
func upPaths(t *testing.T, hosts string, changes map[string]any) (context.Context, *Lab) {
	t.Helper()
	topo, err := ParseTopology(topologies.Paths)
	must(t, err)
	names := strings.Fields(hosts)
	topo.Hosts = slices.DeleteFunc(topo.Hosts, func(h HostSpec) bool { return !slices.Contains(names, h.Name) })
	topo.Pods = slices.DeleteFunc(topo.Pods, func(p PodSpec) bool { return !slices.Contains(names, p.Host) })
	return upTopology(t, topo, changes)
}

// upTopology brings up a fabric with changes to its spec.
func upTopology(t *testing.T, topo Topology, changes map[string]any) (context.Context, *Lab) {
	t.Helper()
	bin, err := binaries()
	must(t, err)
	topo.Fabric = maps.Clone(topo.Fabric)
	topo.Fabric["lease"] = map[string]any{"liveness": "5s"}
	maps.Copy(topo.Fabric, changes)
	l := makeLab(t, Options{Topology: topo, Binaries: bin})
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
			showSwitches(t, l)
		}
	})
	ctx := testContext(t)
	must(t, l.Up(ctx))
	return ctx, l
}

// routing are the changes that make the fabric route.
func routing() map[string]any { return map[string]any{"backend": "bgp"} }

// wantUntouched fails the test if a packet was lost or came out of order.
func wantUntouched(t *testing.T, what string, r Report) {
	t.Helper()
	wantClean(t, what, r)
	if n := r.Total().Reordered; n > 0 {
		t.Errorf("%s: %d packets came out of order", what, n)
	}
}

// TestChoosesPerPeer: the ways that the specification prefers are taken where
// there are any, in each family, and change live without a lost packet.
func TestChoosesPerPeer(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h2 h4", routing())
	must(t, l.WaitSessions(ctx))
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	always := func(*Host, *Host) fabric.PathKind { return fabric.PathVXLAN }
	for _, step := range []struct {
		name string
		spec map[string]any
		ways func(from, to *Host) fabric.PathKind
	}{
		{"always", map[string]any{"overlay": "always"}, always},
		{"crossSubnet", map[string]any{"overlay": "crossSubnet"}, BetweenRacks(fabric.PathVXLAN)},
		{"routed", map[string]any{"paths": []string{"bgp", "vxlan"}}, func(*Host, *Host) fabric.PathKind { return fabric.PathBGP }},
		{"one node", map[string]any{"pathRules": []any{map[string]any{"nodes": map[string]any{"rack": "r2"}, "overlay": "always"}}},
			func(from, to *Host) fabric.PathKind {
				if from.Spec.Rack == "r2" {
					return fabric.PathVXLAN
				}
				return BetweenRacks(fabric.PathBGP)(from, to)
			}},
		{"fallback", nil, BetweenRacks(fabric.PathBGP)},
	} {
		spec := maps.Clone(l.Topo.Fabric)
		maps.Copy(spec, step.spec)
		r := underTraffic(ctx, t, l, func() {
			must(t, l.Apply(ctx, spec))
			must(t, l.WaitAllWays(ctx, step.ways))
		})
		wantUntouched(t, step.name, r)
	}
}

// TestLostRouteIsCarriedByTheOverlay: a prefix that is gone from the RIB, while
// every session of the node is up, is reached by the overlay, and by routing
// again when that has been stable. Coming back costs nothing.
func TestLostRouteIsCarriedByTheOverlay(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", routing())
	h1, h4 := l.Host("h1"), l.Host("h4")
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	must(t, l.CutOff(ctx, l.Switch("t1"), true))
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	waitReachable(ctx, t, l)
	must(t, l.WaitSessions(ctx))
	r := underTraffic(ctx, t, l, func() {
		must(t, l.CutOff(ctx, l.Switch("t1"), false))
		for _, h := range []*Host{h1, h4} {
			must(t, h.WaitWays(ctx, l.other(h), "soon by bgp", func(w api.FamilyPath) error {
				if w.Next != string(fabric.PathBGP) && w.Path != string(fabric.PathBGP) {
					return fmt.Errorf("it is %s: %s, next %q", w.Path, w.Reason, w.Next)
				}
				return nil
			}))
		}
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	})
	wantUntouched(t, "back to routing", r)
}

// other is the other one of two hosts.
func (l *Lab) other(h *Host) *Host {
	if l.Hosts[0] == h {
		return l.Hosts[1]
	}
	return l.Hosts[0]
}

// TestSilentSessions: a node whose sessions all die without a word sends by the
// overlay, and by routing when they are back; none of what it sends is lost. What
// is sent to it meanwhile is the switches' affair until they have told each other.
func TestSilentSessions(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h4", routing())
	h1, h4 := l.Host("h1"), l.Host("h4")
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	r := underTraffic(ctx, t, l, func() {
		f, err := h1.Drop(ctx, []string{"input", "output"}, "tcp dport 179", "tcp sport 179")
		must(t, err)
		must(t, h1.WaitWay(ctx, h4, fabric.PathVXLAN))
		must(t, f.Remove(ctx))
		must(t, h1.WaitWay(ctx, h4, fabric.PathBGP))
	})
	for _, f := range r.Flows {
		t.Logf("%s -> %s: %d lost, %d in a row", f.From, f.To, f.Lost+f.LostReplies, f.LongestGap)
		if lost := map[string]int{"h1-a": f.Lost, "h4-a": f.LostReplies}[f.From]; lost > 0 || f.Reordered > 0 {
			t.Errorf("%d packets from h1 to h4 were lost, %d came out of order (%s)", lost, f.Reordered, f.Family)
		}
	}
	waitReachable(ctx, t, l)
}

// TestAgentAwayIsNoDeadPath: while a node's agent is away its kernel answers the
// probes, so nobody leaves a way because of it, nor loses a packet.
func TestAgentAwayIsNoDeadPath(t *testing.T) {
	t.Parallel()
	ctx, l := upPaths(t, "h1 h2 h4", nil)
	h1 := l.Host("h1")
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	before := map[*Host]fabric.PerFamily[api.FamilyPath]{}
	for _, to := range l.Hosts[1:] {
		kind := BetweenRacks(fabric.PathVXLAN)(h1, to)
		must(t, h1.WaitWays(ctx, to, "answering", answers(kind)))
		ways, err := h1.Ways(ctx, to)
		must(t, err)
		before[to] = ways
	}
	r := underTraffic(ctx, t, l, func() {
		for to := range before {
			must(t, to.Agent.Kill())
		}
		must(t, h1.Agent.WaitStatus(ctx, "the others' agents missed", func(s *api.Status) error {
			for _, p := range s.Peers {
				if p.Alive {
					return errors.New(p.Name + " is alive")
				}
			}
			return nil
		}))
		must(t, Pause(ctx, 5*time.Second)) // for some probes
	})
	wantUntouched(t, "agents away", r)
	for to, was := range before {
		ways, err := h1.Ways(ctx, to)
		must(t, err)
		for _, f := range fabric.Families {
			now, was := ways.Get(f), was.Get(f)
			if now.Path != was.Path || now.Switches != was.Switches || now.MTU != was.MTU {
				t.Errorf("%s %s: it was %+v, now it is %+v", to.Spec.Name, f, was, now)
			}
			for _, o := range now.Offers {
				if o.Path == now.Path && o.Probe != "answers" {
					t.Errorf("%s %s: the probes of %s are %s", to.Spec.Name, f, o.Path, o.Probe)
				}
			}
		}
	}
}

// TestFlappingRouteIsLeftAlone: a route that comes and goes is left once, and
// taken again when it stays.
func TestFlappingRouteIsLeftAlone(t *testing.T) {
	t.Parallel()
	const flaps = 4
	ctx, l := upPaths(t, "h1 h4", routing())
	h1, h4 := l.Host("h1"), l.Host("h4")
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	before, err := h4.Ways(ctx, h1)
	must(t, err)
	offered := func(is bool) func(api.FamilyPath) error {
		return func(w api.FamilyPath) error {
			for _, o := range w.Offers {
				if o.Path == string(fabric.PathBGP) && (o.State == "up") == is {
					return nil
				}
			}
			return fmt.Errorf("offers are %+v", w.Offers)
		}
	}
	for range flaps {
		must(t, l.CutOff(ctx, l.Switch("t1"), true))
		must(t, h4.WaitWays(ctx, h1, "not by bgp", offered(false)))
		must(t, l.CutOff(ctx, l.Switch("t1"), false))
		must(t, h4.WaitWays(ctx, h1, "by bgp too", offered(true)))
	}
	after, err := h4.Ways(ctx, h1)
	must(t, err)
	for _, f := range fabric.Families {
		if n := after.Get(f).Switches - before.Get(f).Switches; n >= flaps {
			t.Errorf("%s: %d flaps were followed %d times", f, flaps, n)
		}
	}
	// It is back in the end, if not soon.
	must(t, h4.WaitWays(ctx, h1, "to go back", func(w api.FamilyPath) error {
		if w.Next != string(fabric.PathBGP) && w.Path != string(fabric.PathBGP) {
			return fmt.Errorf("it is %s: %s", w.Path, w.Reason)
		}
		return nil
	}))
}

// TestStrictArrival: packets that come back by another interface pass a host
// whose administrator had rp_filter at strict, in every way.
func TestStrictArrival(t *testing.T) {
	t.Parallel()
	topo, err := ParseTopology([]byte(twoUplinks))
	must(t, err)
	bin, err := binaries()
	must(t, err)
	l := makeLab(t, Options{Topology: topo, Binaries: bin})
	ctx := testContext(t)
	for _, h := range l.Hosts {
		for _, dev := range []string{"all", "default", "eth0", "eth1"} {
			must(t, h.Sysctl("net/ipv4/conf/"+dev+"/rp_filter", "1"))
		}
		// What goes to the other rack leaves by the second uplink, and what comes
		// from there arrives by the first.
		far := torSegment(torNumber(3-h.rack, 1), fabric.IPv4).net
		must(t, h.addRoute(far, torSegment(torNumber(h.rack, 2), fabric.IPv4).gateway))
	}
	must(t, l.Up(ctx))
	wantUntouched(t, "overlay", underTraffic(ctx, t, l, func() {
		must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathVXLAN)))
	}))
	spec := maps.Clone(l.Topo.Fabric)
	spec["overlay"] = fabric.OverlayFallback
	must(t, l.Apply(ctx, spec))
	must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
	wantUntouched(t, "routed", underTraffic(ctx, t, l, func() {}))
}

// twoUplinks are two racks of two ToRs each.
const twoUplinks = `
underlay: mixed
racks:
  - {name: r1, tors: [{name: t1a, kind: frr}, {name: t1b, kind: frr}]}
  - {name: r2, tors: [{name: t2a, kind: frr}, {name: t2b, kind: frr}]}
spines: [{name: s1, kind: frr}]
hosts: [{name: h1, rack: r1}, {name: h4, rack: r2}]
pods: [{name: h1-a, host: h1}, {name: h4-a, host: h4}]
fabric:
  backend: bgp
  overlay: crossSubnet
  bgp: {asn: perNode}
bgp:
  - apiVersion: weft/v1
    kind: BGPPeer
    metadata: {name: tors}
    spec: {nodes: {}, peer: {gateways: all}, asn: external}
`

// TestLostToR: with both ToRs of a rack there, one that is lost costs nothing
// that lasts, be it the one by which the overlay reaches the host.
func TestLostToR(t *testing.T) {
	for _, name := range []string{"t1a", "t1b"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topo, err := ParseTopology([]byte(twoUplinks))
			must(t, err)
			ctx, l := upTopology(t, topo, map[string]any{"overlay": fabric.OverlayFallback})
			must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
			tor := l.Switch(name)
			must(t, tor.Cut())
			waitReachable(ctx, t, l)
			wantUntouched(t, "without "+name, underTraffic(ctx, t, l, func() {}))
			must(t, tor.Restore())
			must(t, l.WaitSessions(ctx))
			must(t, l.WaitAllWays(ctx, BetweenRacks(fabric.PathBGP)))
			wantUntouched(t, "with "+name, underTraffic(ctx, t, l, func() {}))
		})
	}
}

// errNotYet goes on waiting.
var errNotYet = errors.New("not yet")
