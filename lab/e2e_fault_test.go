package lab

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

func TestAgentKilledLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	for _, h := range l.Hosts {
		r := underTraffic(ctx, t, l, func() {
			must(t, h.Agent.Kill())
			must(t, h.Agent.Start())
			must(t, h.Agent.WaitReady(ctx))
		})
		wantClean(t, "agent on "+h.Spec.Name+" killed and started", r)
		wantNoWrites(ctx, t, h)
	}
}

func TestAgentRestartLosesNothingAndWritesNothing(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	h := l.Hosts[2]
	before, err := h.Agent.Status(ctx)
	must(t, err)
	r := underTraffic(ctx, t, l, func() { must(t, h.Agent.Restart(ctx)) })
	wantClean(t, "agent stopped and started", r)
	wantNoWrites(ctx, t, h)
	after, err := h.Agent.Status(ctx)
	must(t, err)
	if got, want := fmt.Sprint(after.Lease.Subnets), fmt.Sprint(before.Lease.Subnets); got != want {
		t.Errorf("leases %s after the restart, %s before", got, want)
	}
}

// wantNoWrites fails if the host's agent has written to the kernel since its
// start.
func wantNoWrites(ctx context.Context, t *testing.T, h *Host) {
	t.Helper()
	s, err := h.Agent.Status(ctx)
	must(t, err)
	if s.Writes != 0 {
		t.Errorf("the agent on %s wrote %d netlink messages although all was in place", h.Spec.Name, s.Writes)
	}
}

func TestEtcdAwayLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	h := l.Hosts[0]
	r := underTraffic(ctx, t, l, func() {
		must(t, l.Etcd.Stop(ctx))
		must(t, h.Agent.WaitStatus(ctx, "etcd missed", func(s *api.Status) error {
			if s.Etcd.Connected {
				return errors.New("it says that it is connected")
			}
			return nil
		}))
		late, err := l.AddPod(ctx, h, "late")
		must(t, err)
		must(t, l.RemovePod(ctx, late))
		must(t, h.Agent.Restart(ctx)) // from the snapshot on disk
		_, err = l.AddPod(ctx, h, "later")
		must(t, err)
		must(t, l.Etcd.Start(ctx))
		must(t, h.Agent.WaitStatus(ctx, "etcd found", func(s *api.Status) error {
			if !s.Etcd.Connected || s.Etcd.Cached {
				return errors.New("not yet")
			}
			return nil
		}))
	})
	wantClean(t, "etcd stopped and started", r)
	waitReachable(ctx, t, l)
}

// TestEtcdWipedLosesNothing: the agents put their records back as they were.
func TestEtcdWipedLosesNothing(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	before := map[string]string{}
	for _, h := range l.Hosts {
		s, err := h.Agent.Status(ctx)
		must(t, err)
		before[h.Spec.Name] = fmt.Sprint(s.Lease.Subnets)
	}
	r := underTraffic(ctx, t, l, func() {
		must(t, l.Etcd.Wipe(ctx))
		must(t, l.Etcd.Start(ctx))
		must(t, l.Apply(ctx, l.Topo.Fabric))
		must(t, await(ctx, "all leases to be back in etcd", func() error {
			out, err := l.Hosts[0].Weft(ctx, "leases", "-o", "json")
			if err != nil {
				return err
			}
			for _, h := range l.Hosts {
				if !strings.Contains(out, h.Spec.Name) {
					return fmt.Errorf("%s is not in %s", h.Spec.Name, out)
				}
			}
			return nil
		}))
	})
	wantClean(t, "etcd wiped", r)
	for _, h := range l.Hosts {
		must(t, h.Agent.WaitReady(ctx))
		s, err := h.Agent.Status(ctx)
		must(t, err)
		if got := fmt.Sprint(s.Lease.Subnets); got != before[h.Spec.Name] {
			t.Errorf("%s holds %s, before the wipe %s", h.Spec.Name, got, before[h.Spec.Name])
		}
	}
	waitReachable(ctx, t, l)
}

// TestTamperingIsRepaired takes things away behind the agent's back.
func TestTamperingIsRepaired(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	h := l.Hosts[2]
	vtep := func() string {
		out, err := h.Run(ctx, "cat", "/proc/sys/net/ipv4/conf/weft.1/forwarding")
		must(t, err)
		link, err := h.link("weft.1")
		must(t, err)
		return out + link.Attrs().HardwareAddr.String()
	}
	before := vtep()
	commands := []string{
		"ip link del weft.1",
		"ip link set weft.1 down",
		"ip link set weft.1 mtu 1300",
		"ip link set weft0 down",
		"nft delete table inet weft",
		"sysctl -q -w net.ipv4.conf.weft/1.forwarding=0",
	}
	s, err := h.Agent.Status(ctx)
	must(t, err)
	for _, p := range s.Peers[0].Subnets {
		commands = append(commands, fmt.Sprintf("ip route del %s metric 158", p))
	}
	// One by one: `ip neigh flush` and its like go on until nothing is left, and
	// give up on an agent that is faster.
	each := func(list, remove string, pick func(words []string) []any) {
		words := strings.Fields(list)
		out, err := h.Run(ctx, words[0], words[1:]...)
		must(t, err)
		for line := range strings.Lines(out) {
			if args := pick(strings.Fields(line)); args != nil {
				commands = append(commands, fmt.Sprintf(remove, args...))
			}
		}
	}
	each("ip nexthop show proto 158", "ip nexthop del id %s", func(w []string) []any { return []any{w[1]} })
	each("ip neigh show dev weft.1 nud permanent", "ip neigh del %s dev weft.1", func(w []string) []any { return []any{w[0]} })
	each("ip -4 -o addr show dev weft0", "ip addr del %s dev weft0", func(w []string) []any { return []any{w[3]} })
	each("ip -6 -o addr show dev weft0 scope global", "ip addr del %s dev weft0", func(w []string) []any { return []any{w[3]} })
	each("bridge fdb show dev weft.1", "bridge fdb del %s dev weft.1 dst %s", func(w []string) []any {
		if len(w) < 3 || w[1] != "dst" {
			return nil
		}
		return []any{w[0], w[2]}
	})
	for _, cmd := range commands {
		words := strings.Fields(cmd)
		must(t, h.Tamper(ctx, words[0], words[1:]...))
		waitReachable(ctx, t, l)
		must(t, h.Agent.WaitReady(ctx))
	}
	if after := vtep(); after != before {
		t.Errorf("the VTEP is %q, was %q", after, before)
	}
	s, err = h.Agent.Status(ctx)
	must(t, err)
	for _, kind := range []string{"link", "route", "nexthop", "neighbour", "fdb", "address", "masquerade", "sysctl"} {
		if s.Repaired[kind] == 0 {
			t.Errorf("no repair of kind %s is counted: %v", kind, s.Repaired)
		}
	}
	must(t, await(ctx, "the guards of pods to be repaired", func() error { return guardsRepaired(ctx, h) }))
}

// guardsRepaired takes the guards of a host's pods away until a repair has been
// counted, and reports whether they are all there again. (The table that comes
// with the first pods is no repair.)
func guardsRepaired(ctx context.Context, h *Host) error {
	s, err := h.Agent.Status(ctx)
	if err != nil {
		return err
	}
	ports, err := h.Run(ctx, "nft", "list", "set", "bridge", "weft", "ports")
	if err != nil {
		return err
	}
	if n := strings.Count(ports, `"weft`); n != 2 {
		return fmt.Errorf("%d ports are guarded, want those of both pods: %s", n, ports)
	}
	if s.Repaired["guard"] == 0 {
		return errors.Join(h.Tamper(ctx, "nft", "delete", "table", "bridge", "weft"), errors.New("no repair of kind guard is counted yet"))
	}
	return nil
}

func TestNodeJoins(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	r := underTraffic(ctx, t, l, func() {
		h, err := l.AddHost(HostSpec{Name: "h4", Rack: "r2"})
		must(t, err)
		must(t, h.Agent.Start())
		must(t, h.Agent.WaitReady(ctx))
		waitPath(ctx, t, l.Hosts[0], h, string(fabric.PathVXLAN))
		waitPath(ctx, t, l.Hosts[2], h, string(fabric.PathDirect))
		_, err = l.AddPod(ctx, h, "h4-a")
		must(t, err)
	})
	wantClean(t, "a node joins", r)
	waitReachable(ctx, t, l)
}

func TestNodeRemoved(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	h1, gone := l.Hosts[0], l.Hosts[2]
	s, err := gone.Agent.Status(ctx)
	must(t, err)
	must(t, gone.Agent.Stop(ctx))
	// It is refused while the alive key lasts.
	must(t, await(ctx, "the node to be removed", func() error {
		_, err := h1.Weft(ctx, "node", "remove", gone.Spec.Name)
		return err
	}))
	must(t, await(ctx, "the node's routes to go", func() error {
		for _, family := range []string{"-4", "-6"} {
			out, err := h1.Run(ctx, "ip", family, "route", "show", "proto", "158")
			if err != nil {
				return err
			}
			for _, p := range s.Lease.Subnets {
				if strings.Contains(out, p.String()) {
					return errors.New(out)
				}
			}
		}
		return nil
	}))
	must(t, h1.Agent.WaitReady(ctx))
}

// TestAgentGoneIsNotHostGone: a frozen agent's host keeps its paths; a host
// that answers nothing gets none, until it is back.
func TestAgentGoneIsNotHostGone(t *testing.T) {
	t.Parallel()
	ctx, l := upLab(t, Topology{})
	h1, h3 := l.Hosts[0], l.Hosts[2]
	r := underTraffic(ctx, t, l, func() {
		must(t, h3.Agent.Freeze())
		must(t, h1.Agent.WaitStatus(ctx, "h3's agent missed", func(s *api.Status) error {
			for _, p := range s.Peers {
				if p.Name == "h3" && !p.Alive && p.Path == string(fabric.PathVXLAN) {
					return nil
				}
			}
			return fmt.Errorf("peers are %+v", s.Peers)
		}))
	})
	wantClean(t, "agent frozen", r)

	must(t, h3.Cut())
	waitPath(ctx, t, h1, h3, "unreachable")
	r, err := Probe(ctx, []Endpoint{l.Pod("h1-a").Endpoint(), l.Pod("h3-a").Endpoint()}, ProbeOptions{From: "h1-a", Drain: 1}, 0)
	must(t, err)
	if r.Total().Received != 0 {
		t.Error("a cut host answered")
	}

	must(t, h3.Restore())
	must(t, h3.Agent.Thaw())
	waitPath(ctx, t, h1, h3, string(fabric.PathVXLAN))
	waitReachable(ctx, t, l)
}
