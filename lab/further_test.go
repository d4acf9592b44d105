package lab

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/topologies"
)

// small makes a node's IPv4 subnet one of 13 pods, and its IPv6 one that is
// never full.
func small(change map[string]any) map[string]any {
	change["subnetLength"] = map[string]any{"ipv4": 28, "ipv6": 64}
	return change
}

// leasedBy are the IPv4 and the IPv6 subnets of a host.
func leasedBy(s *api.Status) (of fabric.PerFamily[[]netip.Prefix]) {
	for _, p := range s.Lease.Subnets {
		f := fabric.FamilyOf(p.Addr())
		of.Set(f, append(of.Get(f), p))
	}
	return of
}

// TestFurtherSubnets puts forty pods on a host whose subnets have room for
// thirteen. None is refused, no packet of those that were there is lost, and
// those in the further subnets are reached from the other host.
func TestFurtherSubnets(t *testing.T) {
	for name, up := range map[string]func(*testing.T) (context.Context, *Lab){
		"vxlan": func(t *testing.T) (context.Context, *Lab) {
			return upLab(t, Topology{
				Racks: []Rack{{Name: "r1"}, {Name: "r2"}}, Hosts: []HostSpec{{Name: "h1"}, {Name: "h2", Rack: "r2"}},
				Pods: []PodSpec{{"h1-a", "h1"}, {"h2-a", "h2"}}, Fabric: small(map[string]any{"overlay": fabric.OverlayAlways}),
			})
		},
		"bgp": func(t *testing.T) (context.Context, *Lab) { return upBGP(t, topologies.Mesh, small(map[string]any{})) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, l := up(t)
			waitReachable(ctx, t, l)
			h := l.Host("h1")
			first := leasedBy(h.status(ctx, t)).IPv4[0]
			wantClean(t, "while it grew", underTraffic(ctx, t, l, func() { fill(ctx, t, l, h, 40) }))

			s := h.status(ctx, t)
			leased := leasedBy(s)
			if len(leased.IPv4) < 4 || len(leased.IPv6) != 1 || leased.IPv4[0] != first || !s.Ready {
				t.Errorf("%d pods on %v; the first was %v", 41, s.Lease.Subnets, first)
			}
			ends := []Endpoint{l.Pod("h2-a").Endpoint()}
			for _, subnet := range leased.IPv4[:4] {
				i := slices.IndexFunc(l.Pods(), func(p *Pod) bool { return p.Host == h && subnet.Contains(p.Addr(fabric.IPv4)) })
				if i < 0 {
					t.Fatalf("no pod has an address of %v", subnet)
				}
				ends = append(ends, l.Pods()[i].Endpoint())
			}
			r, err := Probe(ctx, ends, ProbeOptions{}, 300*time.Millisecond)
			must(t, err)
			wantClean(t, "to and from all subnets", r)
			wantUnmasqueraded(t, l, r)
			wantFlannelFile(t, h, first)
			restart(ctx, t, h)
			if again := h.status(ctx, t); !slices.Equal(again.Lease.Subnets, s.Lease.Subnets) {
				t.Errorf("after a restart it has %v, had %v", again.Lease.Subnets, s.Lease.Subnets)
			}
		})
	}
}

// fill adds n pods, one after the other.
func fill(ctx context.Context, t *testing.T, l *Lab, h *Host, n int) {
	t.Helper()
	for i := range n {
		if _, err := l.AddPod(ctx, h, fmt.Sprintf("%s-f%d", h.Spec.Name, i)); err != nil {
			t.Fatal(err)
		}
	}
}

func wantUnmasqueraded(t *testing.T, l *Lab, r Report) {
	t.Helper()
	for _, f := range r.Flows {
		if want := l.Pod(f.From).Addr(f.Family); f.SeenFrom != want {
			t.Errorf("%s -> %s: seen from %s, want the pod's own %s", f.From, f.To, f.SeenFrom, want)
		}
	}
}

// wantFlannelFile checks that flannel's file still has the subnet it had.
func wantFlannelFile(t *testing.T, h *Host, first netip.Prefix) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(h.RunDir(), "subnet.env"))
	must(t, err)
	if want := fmt.Sprintf("FLANNEL_SUBNET=%s/%d\n", first.Addr().Next(), first.Bits()); !strings.Contains(string(text), want) {
		t.Errorf("flannel's file has not %q:\n%s", want, text)
	}
}

// restart kills a host's agent, starts another and waits until it is ready.
func restart(ctx context.Context, t *testing.T, h *Host) {
	t.Helper()
	must(t, h.Agent.Kill())
	must(t, h.Agent.Start())
	must(t, h.Agent.WaitReady(ctx))
}
