package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/weft-net/weft/lab"
)

// Converge is a fabric that starts all at once.
type Converge struct {
	Nodes   int
	Wall    time.Duration // until each agent has a route to every other
	RSS     int64         // of all agents, in the end
	Largest int64         // of the largest
	CPU     time.Duration // of all agents
}

// mesh starts n nodes of one AS, each with a session to every other.
func mesh(ctx context.Context, bin lab.Binaries, n int) (Converge, error) {
	return converge(ctx, bin, hosts(n, nil), peerObject("mesh", map[string]any{
		"nodes": map[string]any{}, "peer": map[string]any{"nodes": map[string]any{}}, "asn": "internal",
	}))
}

// reflect starts two route reflectors and n clients.
func reflect(ctx context.Context, bin lab.Binaries, n int) (Converge, error) {
	reflectors := hosts(2, map[string]string{"role": "reflector"})
	return converge(ctx, bin, append(reflectors, hosts(n, map[string]string{"role": "client"})...), peerObject("reflectors", map[string]any{
		"nodes": map[string]any{}, "peer": map[string]any{"nodes": map[string]any{"role": "reflector"}}, "asn": "internal",
		"routeReflector": map[string]any{"clusterID": "198.18.0.1"},
	}))
}

func peerObject(name string, spec map[string]any) map[string]any {
	return map[string]any{"apiVersion": "weft/v1", "kind": "BGPPeer", "metadata": map[string]any{"name": name}, "spec": spec}
}

// hosts are n bare hosts, named after their role.
func hosts(n int, labels map[string]string) []lab.HostSpec {
	out := make([]lab.HostSpec, n)
	for i := range out {
		role := labels["role"]
		if role == "" {
			role = "node"
		}
		out[i] = lab.HostSpec{Name: fmt.Sprintf("%s%d", role[:1], i+1), Rack: fmt.Sprintf("rack%d", 1+i/100), Families: []string{"ipv4"}, Labels: labels}
	}
	return out
}

func converge(ctx context.Context, bin lab.Binaries, hosts []lab.HostSpec, objects ...map[string]any) (r Converge, err error) {
	r.Nodes = len(hosts)
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{
		Hosts: hosts, BGP: objects,
		Fabric: map[string]any{"backend": "bgp", "network": map[string]any{"ipv4": network.String()}, "bgp": map[string]any{"asn": "64512"}},
	}})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if err := l.Etcd.Start(ctx); err != nil {
		return r, err
	}
	if err := l.Apply(ctx, l.Topo.Fabric); err != nil {
		return r, err
	}
	if err := introduce(ctx, l); err != nil {
		return r, err
	}
	began := time.Now()
	for _, h := range l.Hosts {
		if err := h.Agent.Start(); err != nil {
			return r, err
		}
	}
	if err := waitConverged(ctx, l); err != nil {
		return r, err
	}
	r.Wall = time.Since(began)
	for _, h := range l.Hosts {
		u, err := usageOfAll([]int{h.Agent.PID()})
		if err != nil {
			return r, err
		}
		r.RSS, r.CPU, r.Largest = r.RSS+u.RSS, r.CPU+u.CPU, max(r.Largest, u.RSS)
	}
	return r, nil
}

// patience is how long many agents on few cores may take.
const patience = 8 * time.Minute

// waitConverged waits until each host has a route to every other. It asks the
// kernels: the agents have enough to do.
func waitConverged(ctx context.Context, l *lab.Lab) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, h := range l.Hosts {
		for {
			routes, err := h.Routes(network)
			if err != nil {
				return err
			}
			if len(routes) >= len(l.Hosts) { // its own subnet is one
				break
			}
			if err := lab.Pause(ctx, 100*time.Millisecond); err != nil {
				return fmt.Errorf("%s has %d routes of %d: %w", h.Spec.Name, len(routes), len(l.Hosts), err)
			}
		}
	}
	return nil
}

// introduce gives hosts and ToRs permanent neighbour entries for each other.
// All namespaces of a machine share one table of 1024 entries that were learnt
// (net/core/neighbour.c, gc_thresh3), which this many hosts overflow; real ones
// have a table each.
func introduce(ctx context.Context, l *lab.Lab) error {
	type port struct {
		*lab.Namespace
		dev string
		at  netip.Addr
	}
	racks := map[string][]port{}
	for _, h := range l.Hosts {
		racks[h.Spec.Rack] = append(racks[h.Spec.Rack], port{h.Namespace, "eth0", h.Underlay.IPv4})
	}
	for name, ports := range racks {
		ports = append(ports, port{l.Switch(name).Namespace, "lan", gatewayOf(ports[0].at)})
		macs := make([]string, len(ports))
		for i, p := range ports {
			out, err := p.Run(ctx, "ip", "-br", "link", "show", "dev", p.dev)
			if err != nil {
				return err
			}
			words := strings.Fields(out)
			if len(words) < 3 {
				return fmt.Errorf("%s in %s: no MAC address in %q", p.dev, p.Name, out)
			}
			macs[i] = words[2]
		}
		for i, p := range ports {
			var batch strings.Builder
			for j, q := range ports {
				if i != j {
					fmt.Fprintf(&batch, "neigh replace %s lladdr %s dev %s nud permanent\n", q.at, macs[j], p.dev)
				}
			}
			if _, err := p.RunInput(ctx, []byte(batch.String()), "ip", "-batch", "-"); err != nil {
				return err
			}
		}
	}
	return nil
}
