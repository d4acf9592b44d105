package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/topologies"
)

// upBGP brings up one of the fabrics that route, with changes to the Fabric's
// spec.
func upBGP(t *testing.T, file []byte, changes ...map[string]any) (context.Context, *Lab) {
	t.Helper()
	topo, err := ParseTopology(file)
	if err != nil {
		t.Fatal(err)
	}
	topo.Fabric = maps.Clone(topo.Fabric)
	topo.Fabric["lease"] = map[string]any{"liveness": "5s"}
	for _, c := range changes {
		maps.Copy(topo.Fabric, c)
	}
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	l := makeLab(t, Options{Topology: topo, Binaries: bin})
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
			showSwitches(t, l)
		}
	})
	ctx := testContext(t)
	must(t, l.Up(ctx))
	waitReachable(ctx, t, l)
	return ctx, l
}

func TestBGPEveryPodReachesEveryOther(t *testing.T) {
	for name, file := range map[string][]byte{
		"mesh": topologies.Mesh, "reflectors": topologies.Reflectors,
		"leafspine": topologies.LeafSpine, "routers": topologies.Routers,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, l := upBGP(t, file)
			r := underTraffic(ctx, t, l, func() {})
			wantClean(t, "all pods", r)
			pods := len(l.Pods())
			if want := 2 * pods * (pods - 1); len(r.Flows) != want {
				t.Errorf("%d flows, want %d: each pod to each other in both families", len(r.Flows), want)
			}
			for _, f := range r.Flows {
				if want := l.Pod(f.From).Addr(f.Family); f.SeenFrom != want {
					t.Errorf("%s -> %s: seen from %s, want the pod's own %s", f.From, f.To, f.SeenFrom, want)
				}
			}
			for _, h := range l.Hosts {
				for _, to := range l.Hosts {
					if h != to {
						waitPath(ctx, t, h, to, string(fabric.PathBGP))
					}
				}
			}
		})
	}
}

func (h *Host) status(ctx context.Context, t *testing.T) *api.Status {
	t.Helper()
	s, err := h.Agent.Status(ctx)
	must(t, err)
	return s
}

// TestBGPUsesBothToRs: each route to another rack goes by both ToRs.
func TestBGPUsesBothToRs(t *testing.T) {
	t.Parallel()
	ctx, l := upBGP(t, topologies.Routers)
	h1, h3 := l.Host("h1"), l.Host("h3")
	for _, p := range h3.status(ctx, t).Lease.Subnets {
		f := fabric.FamilyOf(p.Addr())
		want := []Route{{Dst: p, Hops: []Hop{{torSegment(torNumber(1, 1), f).gateway, "eth0"}, {torSegment(torNumber(1, 2), f).gateway, "eth1"}}}}
		var got []Route
		if err := await(ctx, "both ways", func() (err error) {
			if got, err = h1.Routes(p); err != nil {
				return err
			}
			if !reflect.DeepEqual(want, got) {
				return fmt.Errorf("routes are %v", got)
			}
			return nil
		}); err != nil {
			t.Errorf("%v; want %v", err, want)
		}
	}
}

// TestBGPToRLost: a ToR that loses all its links, or its daemon, takes no pod
// along, and comes back into use.
func TestBGPToRLost(t *testing.T) {
	for _, name := range []string{"t1a", "t2b"} { // FRR, BIRD
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, l := upBGP(t, topologies.LeafSpine)
			tor := l.Switch(name)
			must(t, tor.Cut())
			waitReachable(ctx, t, l)
			wantClean(t, "without "+name, underTraffic(ctx, t, l, func() {}))
			must(t, tor.Restore())
			must(t, l.WaitSessions(ctx))
			waitReachable(ctx, t, l)
			wantClean(t, "with "+name+" again", underTraffic(ctx, t, l, func() {}))

			must(t, tor.Stop(ctx))
			waitReachable(ctx, t, l)
			wantClean(t, name+"'s daemon stopped", underTraffic(ctx, t, l, func() {}))
			must(t, tor.Start(ctx))
			must(t, l.WaitSessions(ctx))
			waitReachable(ctx, t, l)
			wantClean(t, name+"'s daemon back", underTraffic(ctx, t, l, func() {}))
		})
	}
}

// TestBGPUplinkCut: a host that loses one uplink sends by the other at once,
// and receives by it when the ToR has noticed.
func TestBGPUplinkCut(t *testing.T) {
	t.Parallel()
	ctx, l := upBGP(t, topologies.LeafSpine)
	h := l.Host("h1")
	must(t, h.CutUplink(1))
	waitReachable(ctx, t, l)
	wantClean(t, "one uplink cut", underTraffic(ctx, t, l, func() {}))
	must(t, h.Restore())
	must(t, l.WaitSessions(ctx))
	waitReachable(ctx, t, l)
}

// TestBGPAgentKilledLosesNothing: an agent that is killed and started, and
// killed again before it has come up, costs no packet at FRR and BIRD, be it a
// reflector's.
func TestBGPAgentKilledLosesNothing(t *testing.T) {
	for _, tt := range []struct {
		name, host string
		file       []byte
	}{
		{"mesh", "h1", topologies.Mesh},
		{"reflector", "h3", topologies.Reflectors},
		{"client", "h4", topologies.Reflectors},
		{"leafspine", "h3", topologies.LeafSpine},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, l := upBGP(t, tt.file)
			must(t, l.WaitSessions(ctx))
			h := l.Host(tt.host)
			for _, end := range []struct {
				name string
				do   func() error
			}{
				{"killed", h.Agent.Kill},
				{"killed twice", func() error { return errors.Join(h.Agent.Kill(), h.Agent.Start(), h.Agent.Kill()) }},
				{"stopped", func() error { return h.Agent.Stop(ctx) }},
			} {
				r := underTraffic(ctx, t, l, func() {
					must(t, end.do())
					must(t, h.Agent.Start())
					must(t, h.Agent.WaitReady(ctx))
					must(t, l.WaitSessions(ctx))
				})
				wantClean(t, "agent "+end.name+" and started", r)
			}
		})
	}
}

// TestBGPShutdownLeavesNoRoute: after a host's shutdown no switch has a route
// to its pods, and none was lost on the way of the others.
func TestBGPShutdownLeavesNoRoute(t *testing.T) {
	t.Parallel()
	// Were it not taken back, the switches would keep it for that long.
	ctx, l := upBGP(t, topologies.LeafSpine, map[string]any{"bgp": map[string]any{
		"asn": "perNode", "gracefulRestart": map[string]any{"enabled": true, "time": "1h"},
	}})
	h := l.Host("h4")
	subnets := h.status(ctx, t).Lease.Subnets
	held := func() error {
		for _, s := range l.Switches() {
			for _, p := range subnets {
				routes, err := s.Routes(p)
				if err != nil {
					return err
				}
				if len(routes) > 0 {
					return fmt.Errorf("%s has %v", s.Spec.Name, routes)
				}
			}
		}
		return nil
	}
	if held() == nil {
		t.Fatal("no switch has a route before the shutdown")
	}
	others := slices.DeleteFunc(l.PodEndpoints(), func(e Endpoint) bool { return e.Name == "h4-a" })
	m, err := StartMesh(ctx, others, ProbeOptions{Rate: 50})
	must(t, err)
	must(t, h.Agent.ShutDownBGP(ctx))
	must(t, await(ctx, "the routes to go", held))
	r, err := m.Stop(ctx)
	must(t, err)
	wantClean(t, "the others", r)
}

// TestBGPLeavesTheHostAlone: what weft does not own of routes, rules and
// sysctls is the same before its start, while it runs and after its end.
func TestBGPLeavesTheHostAlone(t *testing.T) {
	t.Parallel()
	bin, err := binaries()
	must(t, err)
	topo, err := ParseTopology(topologies.Routers)
	must(t, err)
	l := makeLab(t, Options{Topology: topo, Binaries: bin})
	ctx := testContext(t)
	h := l.Host("h1")
	for _, args := range []string{
		"-4 route add 203.0.113.0/24 via 198.18.1.1 metric 5", "-4 route add unreachable 198.51.100.0/24",
		"-6 route add 2001:db8::/32 via 2001:2:0:1::1 proto static", "-4 rule add to 203.0.113.0/24 lookup 100", "-4 route add default via 198.18.1.1 table 100",
		"nexthop add id 77 via 198.18.101.1 dev eth1", "-4 route add 203.0.113.128/25 nhid 77",
	} {
		must(t, h.Tamper(ctx, "ip", strings.Fields(args)...))
	}
	// Forwarding that is switched on changes other things in the kernel: on a
	// host of containers it is on already.
	must(t, h.Sysctl("net/ipv4/ip_forward", "1"))
	must(t, h.Sysctl("net/ipv6/conf/all/forwarding", "1"))
	before := h.foreign(ctx, t)
	must(t, l.Up(ctx))
	waitReachable(ctx, t, l)
	wantForeign(t, "while it runs", before, h.foreign(ctx, t))
	tor := l.Switch("t1a")
	must(t, tor.Cut())
	waitReachable(ctx, t, l)
	must(t, tor.Restore())
	must(t, l.WaitSessions(ctx))
	must(t, h.Agent.ShutDownBGP(ctx))
	must(t, h.Agent.Stop(ctx))
	wantForeign(t, "after its end", before, h.foreign(ctx, t))
}
