package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weft-net/weft/agent/api"
)

// Up brings everything up: the switches, etcd, the Fabric object and those of
// BGP, all agents, and then the topology's pods.
func (l *Lab) Up(ctx context.Context) error {
	if err := l.StartSwitches(ctx); err != nil {
		return err
	}
	if err := l.Etcd.Start(ctx); err != nil {
		return err
	}
	if err := l.WaitUnderlay(ctx); err != nil {
		return err
	}
	if err := l.Apply(ctx, l.Topo.Fabric); err != nil {
		return err
	}
	if err := l.StartAgents(ctx); err != nil {
		return err
	}
	for _, p := range l.Topo.Pods {
		if _, err := l.AddPod(ctx, l.Host(p.Host), p.Name); err != nil {
			return err
		}
	}
	return l.WaitReachable(ctx)
}

// WaitReachable waits, at most a minute, until every pod reaches every other:
// switches take a while to tell each other what an agent told one of them.
func (l *Lab) WaitReachable(ctx context.Context) error {
	if len(l.Pods()) < 2 {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return waitClean(ctx, "all pods to reach each other", l.PodEndpoints())
}

// WaitSessions waits, at most a minute, until all BGP sessions of all agents
// are established.
func (l *Lab) WaitSessions(ctx context.Context) error {
	for _, h := range l.Hosts {
		if err := h.Agent.WaitBGP(ctx, "all sessions", allEstablished); err != nil {
			return err
		}
	}
	return nil
}

// allEstablished is nil when an agent has sessions, and all of them are up.
func allEstablished(b *api.BGP) error {
	if len(b.Sessions) == 0 {
		return errors.New("there is no session")
	}
	for _, s := range b.Sessions {
		if s.State != "established" {
			return fmt.Errorf("%s is %s: %s", s.Key, s.State, s.Reason)
		}
	}
	return nil
}

// StartAgents starts the agents of all hosts at once and waits until each is
// ready and knows a way to all others.
func (l *Lab) StartAgents(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	for _, h := range l.Hosts {
		g.Go(func() error {
			if err := h.Agent.Start(); err != nil {
				return err
			}
			return h.Agent.WaitStatus(ctx, "ready with all peers", func(s *api.Status) error {
				if !s.Ready {
					return errors.New(strings.Join(s.NotReady, "; "))
				}
				return settled(s, len(l.Hosts)-1)
			})
		})
	}
	return g.Wait()
}

// settled is nil when an agent has as many peers and all are programmed.
func settled(s *api.Status, peers int) error {
	if len(s.Peers) < peers {
		return fmt.Errorf("it knows %d of %d peers", len(s.Peers), peers)
	}
	for _, p := range s.Peers {
		if !p.Programmed || len(p.Subnets) == 0 {
			return fmt.Errorf("no path to %s yet: %s", p.Name, p.Reason)
		}
	}
	return nil
}

// WaitUnderlay waits, at most a minute, until every address of every host
// reaches the machine outside and all others. Where the lab's routes join the
// racks that is so from the beginning.
func (l *Lab) WaitUnderlay(ctx context.Context) error {
	if l.Topo.staticRoutes() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return waitClean(ctx, "the underlay", append(l.UplinkEndpoints(), l.OutsideEndpoint()))
}

// waitClean waits until all ends reach each other in both families.
func waitClean(ctx context.Context, what string, ends []Endpoint) error {
	return await(ctx, what, func() error {
		r, err := Probe(ctx, ends, ProbeOptions{Drain: 300 * time.Millisecond}, 100*time.Millisecond)
		if err != nil {
			return err
		}
		if !r.Clean() {
			return errors.New(strings.Join(r.Losses(), "; "))
		}
		return nil
	})
}

// Apply writes the Fabric object and the topology's BGP objects with `weft
// apply`, as an operator on the first host would. Where spec names no network
// it gets the lab's own.
func (l *Lab) Apply(ctx context.Context, spec map[string]any) error {
	data, err := l.objects(spec)
	if err != nil {
		return err
	}
	file := filepath.Join(l.Dir(), "fabric.yaml")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		return err
	}
	_, err = l.Hosts[0].Weft(ctx, "apply", "-f", file)
	return err
}

// fabricObject is the Fabric object with this spec.
func fabricObject(spec map[string]any) map[string]any {
	spec = maps.Clone(spec)
	if spec == nil {
		spec = map[string]any{}
	}
	if spec["network"] == nil {
		spec["network"] = map[string]any{"ipv4": "10.244.0.0/16", "ipv6": "fd00:10:244::/48"}
	}
	return map[string]any{"apiVersion": "weft/v1", "kind": "Fabric", "metadata": map[string]any{"name": "lab"}, "spec": spec}
}

// Weft runs the weft command on the host, with the agent's configuration.
func (h *Host) Weft(ctx context.Context, args ...string) (string, error) {
	if _, err := os.Stat(h.ConfigFile()); err != nil {
		if err := h.WriteConfig(); err != nil {
			return "", err
		}
	}
	return h.Run(ctx, h.lab.bin.Weft, append(args, "--config", h.ConfigFile())...)
}
