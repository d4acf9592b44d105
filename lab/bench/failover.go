package bench

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
	"github.com/weft-net/weft/lab"
)

// Failover is the loss of one of a rack's two ToRs under traffic.
type Failover struct {
	Routes   int           // of the host, through both
	Out      time.Duration // the longest silence, either way
	Nexthops int           // nexthop objects that the host wrote or lost meanwhile
	Changed  int           // routes that it wrote or lost until the traffic was back
}

// probeRate is the number of packets per second of each flow: a silence is
// measured in steps of its inverse.
const probeRate = 500

// failover cuts the first ToR of the first host while pods of two racks talk
// to each other. The other host announces n prefixes besides its subnet.
func failover(ctx context.Context, bin lab.Binaries, n int) (r Failover, err error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: twoRacks(n)})
	if err != nil {
		return r, err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if err := l.Up(ctx); err != nil {
		return r, err
	}
	h := l.Hosts[0]
	if r.Routes, err = waitRoutes(ctx, h, n); err != nil {
		return r, err
	}
	mesh, err := lab.StartMesh(ctx, l.PodEndpoints(), lab.ProbeOptions{Rate: probeRate})
	if err != nil {
		return r, err
	}
	writes, err := countWrites(h.Namespace)
	if err != nil {
		return r, err
	}
	cut := func() error {
		if err := lab.Pause(ctx, 500*time.Millisecond); err != nil {
			return err
		}
		if err := l.Switch("t1a").Cut(); err != nil {
			return err
		}
		// The carrier goes a moment later; the kernel may shrink the groups by
		// itself and say nothing.
		for began := time.Now(); writes.nexthops.Load() == 0 && time.Since(began) < 2*time.Second; {
			if err := lab.Pause(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		if err := lab.Pause(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		r.Nexthops, r.Changed = int(writes.nexthops.Load()), int(writes.routes.Load())
		return lab.Pause(ctx, 3*time.Second)
	}()
	writes.stop()
	report, err := mesh.Stop(ctx)
	if err = errors.Join(cut, err); err != nil {
		return r, err
	}
	r.Out = time.Duration(report.Total().LongestGap) * time.Second / probeRate
	return r, nil
}

// perObject is how many prefixes one BGPPrefix object may have.
const perObject = 4096

// twoRacks is two dual-homed hosts, in racks of two ToRs each, the second of
// which announces n more prefixes.
func twoRacks(n int) lab.Topology {
	objects := []map[string]any{
		peerObject("tors", map[string]any{"nodes": map[string]any{}, "peer": map[string]any{"gateways": "all"}, "asn": "external"}),
	}
	for from := 0; from < n; from += perObject {
		var prefixes []string
		for i := from; i < min(from+perObject, n); i++ {
			prefixes = append(prefixes, learntPrefix(i).String())
		}
		objects = append(objects, map[string]any{
			"apiVersion": "weft/v1", "kind": "BGPPrefix", "metadata": map[string]any{"name": fmt.Sprintf("many-%d", from)},
			"spec": map[string]any{"nodes": map[string]any{"rack": "r2"}, "prefixes": prefixes},
		})
	}
	tors := func(rack int) []lab.SwitchSpec {
		return []lab.SwitchSpec{
			{Name: fmt.Sprintf("t%da", rack), Kind: lab.KindRouter}, {Name: fmt.Sprintf("t%db", rack), Kind: lab.KindRouter},
		}
	}
	return lab.Topology{
		Underlay: lab.UnderlayBGP,
		Racks:    []lab.Rack{{Name: "r1", ToRs: tors(1)}, {Name: "r2", ToRs: tors(2)}},
		Spines:   []lab.SwitchSpec{{Name: "s1", Kind: lab.KindRouter}},
		Hosts:    []lab.HostSpec{{Name: "h1", Rack: "r1"}, {Name: "h2", Rack: "r2"}},
		// Several, so that some flows take the ToR that goes.
		Pods: []lab.PodSpec{
			{Name: "h1-a", Host: "h1"}, {Name: "h1-b", Host: "h1"}, {Name: "h1-c", Host: "h1"},
			{Name: "h2-a", Host: "h2"}, {Name: "h2-b", Host: "h2"}, {Name: "h2-c", Host: "h2"},
		},
		Fabric: map[string]any{
			"backend": "bgp", "network": map[string]any{"ipv4": network.String()}, "reserved": []string{learntBase.String()},
			"subnetLength": map[string]any{"ipv4": learntBits},
		},
		BGP: objects,
	}
}

// waitRoutes waits until a host has more than n routes with two next hops.
func waitRoutes(ctx context.Context, h *lab.Host, n int) (have int, err error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for have <= n {
		all, err := h.Routes(network)
		if err != nil {
			return have, err
		}
		have = 0
		for _, r := range all {
			if len(r.Hops) == 2 {
				have++
			}
		}
		if err := lab.Pause(ctx, 100*time.Millisecond); err != nil {
			return have, fmt.Errorf("%d of %d routes by two ToRs: %w", have, n+1, err)
		}
	}
	return have, nil
}

// writeCount counts what the kernel says of a namespace's IPv4 routes and its
// nexthop objects.
type writeCount struct {
	nexthops, routes atomic.Int64
	stop             func()
}

func countWrites(n *lab.Namespace) (*writeCount, error) {
	var conn *rtnl.Conn
	err := n.Do(func() (err error) {
		conn, err = rtnl.Listen(64<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEXTHOP)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &writeCount{}
	var g errgroup.Group
	g.Go(func() error {
		for ctx.Err() == nil {
			if ok, err := conn.Wait(50); err != nil || !ok {
				continue
			}
			if err := conn.Drain(c.see); err != nil {
				return err
			}
		}
		return nil
	})
	c.stop = func() { cancel(); _ = g.Wait(); conn.Close() }
	return c, nil
}

func (c *writeCount) see(m rtnl.Message) {
	switch m.Type {
	case unix.RTM_NEWNEXTHOP, unix.RTM_DELNEXTHOP:
		c.nexthops.Add(1)
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		c.routes.Add(1)
	}
}
