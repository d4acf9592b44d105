package bench

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
	"github.com/weft-net/weft/lab"
)

// Lease is how long a lease takes from etcd to the kernel. Both times begin
// when the put is sent.
type Lease struct {
	Peers, Rounds int
	Put           time.Duration // median, until etcd has answered
	Route         time.Duration // median, until the kernel has announced the route
	RouteP99      time.Duration
}

// lease writes rounds new subnets of simulated peers, one at a time.
func lease(ctx context.Context, bin lab.Binaries, peers, rounds int) (Lease, error) {
	r := Lease{Peers: peers, Rounds: rounds}
	err := withPeers(ctx, bin, []lab.HostSpec{{Name: "weft"}}, peers, func(l *lab.Lab) error {
		if _, err := startMeasured(ctx, l.Hosts[0]); err != nil {
			return err
		}
		puts, routes, err := writeLeases(ctx, l, peers, rounds)
		if err != nil {
			return err
		}
		slices.Sort(puts)
		slices.Sort(routes)
		r.Put, r.Route, r.RouteP99 = puts[len(puts)/2], routes[len(routes)/2], routes[len(routes)*99/100]
		return nil
	})
	return r, err
}

func writeLeases(ctx context.Context, l *lab.Lab, peers, rounds int) (puts, routes []time.Duration, err error) {
	c, err := connect(l)
	if err != nil {
		return nil, nil, err
	}
	defer c.Close()
	seen, stop, err := watchRoutes(l.Hosts[0].Namespace)
	if err != nil {
		return nil, nil, err
	}
	defer stop()
	// Each comes alone: what a burst costs is another question.
	alone := time.NewTicker(25 * time.Millisecond)
	defer alone.Stop()
	for i := range rounds {
		<-alone.C
		subnet := subnetOf(40000 + i)
		value := text(fabric.Subnet{Owner: peer(1 + i%peers).ID, Epoch: 1})
		began := time.Now()
		if _, err := c.Put(ctx, subnetKey(subnet), value); err != nil {
			return nil, nil, err
		}
		puts = append(puts, time.Since(began))
		at, err := waitRoute(ctx, seen, subnet)
		if err != nil {
			return nil, nil, err
		}
		routes = append(routes, at.Sub(began))
	}
	return puts, routes, nil
}

// arrival is a route that the kernel announced, and when.
type arrival struct {
	dst netip.Prefix
	at  time.Time
}

// watchRoutes reports new IPv4 routes in a namespace until stop is called.
func watchRoutes(n *lab.Namespace) (<-chan arrival, func(), error) {
	var conn *rtnl.Conn
	err := n.Do(func() (err error) {
		conn, err = rtnl.Listen(4<<20, unix.RTNLGRP_IPV4_ROUTE)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	out := make(chan arrival, 1<<16)
	var done atomic.Bool
	var g errgroup.Group
	g.Go(func() error {
		defer close(out)
		for !done.Load() {
			if ok, err := conn.Wait(50); err != nil || !ok {
				continue
			}
			now := time.Now()
			if err := conn.Drain(func(m rtnl.Message) { announce(out, m, now) }); err != nil {
				return err
			}
		}
		return nil
	})
	return out, func() { done.Store(true); _ = g.Wait(); conn.Close() }, nil
}

func announce(out chan<- arrival, m rtnl.Message, now time.Time) {
	if m.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
		return
	}
	bits := int(m.Data[1])
	_ = rtnl.Attrs(m.Data[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		if typ == unix.RTA_DST {
			select {
			case out <- arrival{netip.PrefixFrom(rtnl.Addr(v), bits), now}:
			default: // nobody reads: the wait will say so
			}
		}
	})
}

func waitRoute(ctx context.Context, seen <-chan arrival, want netip.Prefix) (time.Time, error) {
	timeout := time.NewTimer(10 * time.Second)
	defer timeout.Stop()
	for {
		select {
		case a, ok := <-seen:
			if !ok {
				return time.Time{}, fmt.Errorf("route %s: the kernel's announcements ended", want)
			}
			if a.dst == want {
				return a.at, nil
			}
		case <-timeout.C:
			return time.Time{}, fmt.Errorf("route %s did not come within 10 s", want)
		case <-ctx.Done():
			return time.Time{}, ctx.Err()
		}
	}
}
