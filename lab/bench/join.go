package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

// Join is a new node in a fabric of Peers nodes.
type Join struct {
	Peers    int
	Floor    Usage
	Weftd    Usage // Wall is from the fork to the first /readyz that says yes
	Requests int   // to etcd, until ready
}

// withPeers builds a lab of bare hosts in one rack with a fabric of n
// simulated peers, and runs do in it.
func withPeers(ctx context.Context, bin lab.Binaries, hosts []lab.HostSpec, n int, do func(*lab.Lab) error) (err error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{Hosts: hosts}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	if err := l.Etcd.Start(ctx); err != nil {
		return err
	}
	if err := l.Apply(ctx, fabricSpec()); err != nil {
		return err
	}
	c, err := connect(l)
	if err != nil {
		return err
	}
	defer c.Close()
	if err := fill(ctx, c, n); err != nil {
		return err
	}
	return do(l)
}

// join measures one new node.
func join(ctx context.Context, bin lab.Binaries, n int) (Join, error) {
	j := Join{Peers: n}
	hosts := []lab.HostSpec{{Name: "weft"}, {Name: "floor"}}
	err := withPeers(ctx, bin, hosts, n, func(l *lab.Lab) error {
		bare, h := l.Host("floor"), l.Host("weft")
		began := time.Now()
		out, err := bare.Run(ctx, bin.Lab, FloorCommand, l.Etcd.Endpoints(fabric.IPv4)[0])
		if err != nil {
			return err
		}
		if err := json.Unmarshal([]byte(out), &j.Floor); err != nil {
			return fmt.Errorf("the floor's answer %q: %w", out, err)
		}
		j.Floor.Wall = time.Since(began)
		if j.Weftd, err = startMeasured(ctx, h); err != nil {
			return err
		}
		_, page, err := get(ctx, h.Namespace, "http://127.0.0.1:9479/metrics")
		if err != nil {
			return err
		}
		j.Requests = int(sumMetric(page, "weft_etcd_requests_total"))
		return errors.Join(programmed(ctx, bare, n), programmed(ctx, h, n))
	})
	return j, err
}

// startMeasured starts the agent and waits until it is ready. It asks the
// small health page: the full status of 10000 peers would cost more than what
// is measured.
func startMeasured(ctx context.Context, h *lab.Host) (Usage, error) {
	began := time.Now()
	if err := h.Agent.Start(); err != nil {
		return Usage{}, err
	}
	if err := waitReady(ctx, h); err != nil {
		return Usage{}, err
	}
	wall := time.Since(began)
	u, err := usageOf(h.Agent.PID())
	u.Wall = wall
	return u, err
}

func waitReady(ctx context.Context, h *lab.Host) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for {
		code, body, err := get(ctx, h.Namespace, "http://127.0.0.1:9479/readyz")
		if err == nil && code == http.StatusOK {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("weftd is not ready: %d %s %w; see %s", code, strings.TrimSpace(body), errors.Join(err, ctx.Err()), h.Agent.LogFile())
		case <-tick.C:
		}
	}
}

// programmed checks that a host has a route to each peer.
func programmed(ctx context.Context, h *lab.Host, n int) error {
	out, err := h.Run(ctx, "ip", "-4", "-o", "route", "show", "proto", fmt.Sprint(158))
	if err != nil {
		return err
	}
	routes := 0
	for line := range strings.Lines(out) {
		if strings.Contains(line, "nhid") {
			routes++
		}
	}
	if routes != n {
		return fmt.Errorf("%s has %d routes to peers, want %d", h.Spec.Name, routes, n)
	}
	return nil
}
