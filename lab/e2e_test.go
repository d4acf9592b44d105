package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// upLab brings up a whole fabric: two racks, two pods on each host, and a
// liveness short enough for tests.
func upLab(t *testing.T, topo Topology) (context.Context, *Lab) {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatal(err)
	}
	if err := topo.Complete(); err != nil {
		t.Fatal(err)
	}
	if topo.Pods == nil {
		for _, h := range topo.Hosts {
			topo.Pods = append(topo.Pods, PodSpec{h.Name + "-a", h.Name}, PodSpec{h.Name + "-b", h.Name})
		}
	}
	topo.Fabric = maps.Clone(topo.Fabric)
	if topo.Fabric == nil {
		topo.Fabric = map[string]any{}
	}
	if topo.Fabric["lease"] == nil {
		topo.Fabric["lease"] = map[string]any{"liveness": "5s"}
	}
	l := makeLab(t, Options{Topology: topo, Binaries: bin})
	t.Cleanup(func() {
		if t.Failed() {
			showLogs(t, l)
		}
	})
	ctx := testContext(t)
	if err := l.Up(ctx); err != nil {
		t.Fatal(err)
	}
	return ctx, l
}

// showLogs puts into the test's log what every host's agent and kernel have
// to say.
func showLogs(t *testing.T, l *Lab) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	for _, h := range l.Hosts {
		for _, cmd := range []string{
			"tail -n 25 " + h.Agent.LogFile(), l.bin.Weft + " status --config " + h.ConfigFile(),
			l.bin.Weft + " peers -o yaml --config " + h.ConfigFile(), l.bin.Weft + " migrate status --config " + h.ConfigFile(),
			"ip -4 route", "ip -6 route", "ip nexthop", "ip neigh", "bridge fdb show",
			l.bin.Weft + " bgp peers --config " + h.ConfigFile(), l.bin.Weft + " bgp routes --config " + h.ConfigFile(),
		} {
			words := strings.Fields(cmd)
			out, err := h.Run(ctx, words[0], words[1:]...)
			t.Logf("%s: %s: %v\n%s", h.Spec.Name, cmd, err, out)
		}
	}
}

// underTraffic runs do while every pod sends to every other, and returns what
// became of the packets.
func underTraffic(ctx context.Context, t *testing.T, l *Lab, do func()) Report {
	t.Helper()
	m, err := StartMesh(ctx, l.PodEndpoints(), ProbeOptions{Rate: 50})
	if err != nil {
		t.Fatal(err)
	}
	stopped := false
	defer func() { // do may end the test
		if !stopped {
			_, _ = m.Stop(ctx)
		}
	}()
	m.waitRounds(ctx, t, 20)
	do()
	m.waitRounds(ctx, t, 20)
	stopped = true
	r, err := m.Stop(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// waitRounds waits until every flow has sent n more requests.
func (m *Mesh) waitRounds(ctx context.Context, t *testing.T, n uint64) {
	t.Helper()
	sent := func(f *flow) uint64 {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.sent
	}
	want := map[*flow]uint64{}
	for _, f := range m.flows {
		want[f] = sent(f) + n
	}
	must(t, await(ctx, "traffic", func() error {
		for f, n := range want {
			if sent(f) < n {
				return errors.New("not yet")
			}
		}
		return nil
	}))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// wantClean fails the test if anything was lost.
func wantClean(t *testing.T, what string, r Report) {
	t.Helper()
	if !r.Clean() || r.Total().Sent == 0 {
		t.Errorf("%s: %s\n%s", what, r.Summary(), strings.Join(r.Losses(), "\n"))
	}
}

// waitPath waits until one host reaches another by the given path.
func waitPath(ctx context.Context, t *testing.T, from, to *Host, path string) {
	t.Helper()
	must(t, from.Agent.WaitStatus(ctx, fmt.Sprintf("path to %s %s", to.Spec.Name, path), func(s *api.Status) error {
		for _, p := range s.Peers {
			if p.Name == to.Spec.Name && p.Path == path && (p.Programmed || path == "none") {
				return nil
			}
		}
		return fmt.Errorf("peers are %+v", s.Peers)
	}))
}

// waitReachable waits until all pods reach each other in both families.
func waitReachable(ctx context.Context, t *testing.T, l *Lab) {
	t.Helper()
	must(t, l.WaitReachable(ctx))
}

func TestEveryPodReachesEveryOther(t *testing.T) {
	for _, e := range []EtcdSpec{{Server: "real"}, {Server: "real", TLS: true}, {Server: "embedded"}} {
		t.Run(e.String(), func(t *testing.T) {
			t.Parallel()
			ctx, l := upLab(t, Topology{Etcd: e})
			h1, h2, h3 := l.Hosts[0], l.Hosts[1], l.Hosts[2]
			waitPath(ctx, t, h1, h2, string(fabric.PathDirect))
			waitPath(ctx, t, h1, h3, string(fabric.PathVXLAN))
			waitPath(ctx, t, h3, h2, string(fabric.PathVXLAN))
			r := underTraffic(ctx, t, l, func() {})
			wantClean(t, "mesh", r)
			if len(r.Flows) != 60 {
				t.Errorf("%d flows, want 6 x 5 in both families", len(r.Flows))
			}
			for _, f := range r.Flows {
				if want := l.Pod(f.From).Addr(f.Family); f.SeenFrom != want {
					t.Errorf("%s -> %s: seen from %s, want the pod's own %s", f.From, f.To, f.SeenFrom, want)
				}
			}
			for _, p := range l.Pods() {
				if err := p.Check(ctx); err != nil {
					t.Errorf("CHECK of %s: %v", p.Name, err)
				}
			}
		})
	}
}

// TestUnderlayOfOneFamily carries pods of both families over hosts that have
// IPv6 alone, or IPv4 alone.
func TestUnderlayOfOneFamily(t *testing.T) {
	for _, f := range fabric.Families {
		t.Run(f.String(), func(t *testing.T) {
			t.Parallel()
			one := []string{f.String()}
			ctx, l := upLab(t, Topology{Hosts: []HostSpec{{Name: "h1", Families: one}, {Name: "h2", Families: one}, {Name: "h3", Rack: "r2", Families: one}},
				Racks: []Rack{{Name: "r1"}, {Name: "r2"}}})
			waitReachable(ctx, t, l)
			wantClean(t, "mesh", underTraffic(ctx, t, l, func() {}))
		})
	}
}

func TestFullPacketsPass(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	s, err := l.Hosts[0].Agent.Status(ctx)
	must(t, err)
	const headers = 40 + 8 // IPv6 and UDP
	r, err := Probe(ctx, l.PodEndpoints(), ProbeOptions{Size: s.MTU - headers}, 300*time.Millisecond)
	must(t, err)
	wantClean(t, fmt.Sprintf("packets of the pods' MTU, %d", s.MTU), r)
	to := l.Pod("h3-a")
	stream, err := StartTCP(ctx, l.Pod("h1-a").Namespace, to.Namespace, to.Addr(fabric.IPv4), 8<<20)
	must(t, err)
	must(t, await(ctx, "4 MiB", func() error {
		if n := stream.Received(); n < 4<<20 {
			return fmt.Errorf("%d bytes", n)
		}
		return nil
	}))
	report, err := stream.Stop()
	must(t, err)
	if report.Received != report.Sent {
		t.Errorf("%+v", report)
	}
}

func TestPodsComeAndGo(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	gone := l.Pod("h1-a")
	must(t, l.RemovePod(ctx, gone))
	p, err := l.AddPod(ctx, l.Hosts[0], "late")
	must(t, err)
	for _, a := range p.Addrs {
		for _, b := range gone.Addrs {
			if a == b {
				t.Errorf("%s was handed out again at once", a)
			}
		}
	}
	waitReachable(ctx, t, l)
}

func TestMasqueradeLeavesTheFabricOnly(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	pod := l.Pod("h1-a")
	r, err := Probe(ctx, []Endpoint{pod.Endpoint(), l.OutsideEndpoint()}, ProbeOptions{From: pod.Name}, 200*time.Millisecond)
	must(t, err)
	wantClean(t, "to the outside", r)
	if len(r.Flows) != 2 {
		t.Errorf("%d flows, want one per family", len(r.Flows))
	}
	for _, f := range r.Flows {
		if want := pod.Host.Underlay.Get(f.Family); f.SeenFrom != want {
			t.Errorf("outside sees %s, want the host's %s", f.SeenFrom, want)
		}
	}
}
