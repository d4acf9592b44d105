package bench

import (
	"context"
	"errors"
	"fmt"
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
	began := time.Now()
	if err := l.StartAgents(ctx); err != nil {
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
