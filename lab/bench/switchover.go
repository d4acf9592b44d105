package bench

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/hostile"
)

// Switchover is what it costs to send to many peers by another path.
type Switchover struct {
	Peers int
	// To is the move from the overlay to BGP, between the first route that the
	// kernel announces and the last; Messages what it announces meanwhile about
	// routes, nexthop objects, neighbours and forwarding entries.
	To       time.Duration
	Messages int
	// Back is the fallback to the overlay, from the withdrawal of all routes to
	// the last route in the kernel; Lost the same for the end of the session.
	Back, Lost time.Duration
}

// switchover measures a node with n simulated peers whose subnets a router
// announces, withdraws and announces again, and whose session it ends at last.
func switchover(ctx context.Context, bin lab.Binaries, n int) (r Switchover, err error) {
	r.Peers = n
	err = withSubjects(bin, func(l *lab.Lab) error {
		if err := l.Etcd.Start(ctx); err != nil {
			return err
		}
		if err := l.Apply(ctx, l.Topo.Fabric); err != nil {
			return err
		}
		c, err := connect(l)
		if err != nil {
			return err
		}
		defer c.Close()
		if err := fillRouted(ctx, c, n); err != nil {
			return err
		}
		return r.measure(ctx, l)
	})
	return r, err
}

func (r *Switchover) measure(ctx context.Context, l *lab.Lab) error {
	moves, err := watchMoves(l.Hosts[0].Namespace)
	if err != nil {
		return err
	}
	defer moves.stop()
	s := weftSubject(l)
	session, err := s.open(ctx)
	if err != nil {
		return err
	}
	defer session.Close()
	if err := moves.wait(ctx, r.Peers); err != nil {
		return fmt.Errorf("by the overlay: %w", err)
	}
	to := func() error {
		moves.reset()
		if err := encode(s.at, 0, r.Peers, perRack, func(b []byte) error { return session.Send(bytes.Clone(b)) }); err != nil {
			return err
		}
		return moves.wait(ctx, r.Peers)
	}
	if err := to(); err != nil {
		return fmt.Errorf("to BGP: %w", err)
	}
	r.To, r.Messages = moves.span(), moves.messages()

	moves.reset()
	began := time.Now()
	if err := withdraw(session, r.Peers); err != nil {
		return err
	}
	if err := moves.wait(ctx, r.Peers); err != nil {
		return fmt.Errorf("back to the overlay: %w", err)
	}
	r.Back = moves.at().Sub(began)

	if err := to(); err != nil {
		return fmt.Errorf("to BGP again: %w", err)
	}
	moves.reset()
	began = time.Now()
	session.Close()
	if err := moves.wait(ctx, r.Peers); err != nil {
		return fmt.Errorf("to the overlay when the session ended: %w", err)
	}
	r.Lost = moves.at().Sub(began)
	return nil
}

// withdraw takes back the first n routes.
func withdraw(session *hostile.Session, n int) error {
	for i := 0; i < n; i += perRack {
		var prefixes []netip.Prefix
		for j := i; j < min(i+perRack, n); j++ {
			prefixes = append(prefixes, learntPrefix(j))
		}
		if err := session.Send(hostile.Withdraw(prefixes).Bytes()); err != nil {
			return err
		}
	}
	return nil
}

// fillRouted writes the records of n peers with the prefixes that the feeder
// announces.
func fillRouted(ctx context.Context, c *clientv3.Client, n int) error {
	lease, err := c.Grant(ctx, 3600)
	if err != nil {
		return fmt.Errorf("simulated peers: %w", err)
	}
	for i := range n {
		node := peer(i + 1)
		node.Receives = []fabric.PathKind{fabric.PathVXLAN, fabric.PathBGP}
		_, err := c.Txn(ctx).Then(
			clientv3.OpPut(prefix+"nodes/"+node.Name, text(node)),
			clientv3.OpPut(prefix+"alive/"+node.Name, text(map[string]any{"id": node.ID, "instance": "bench"}), clientv3.WithLease(lease.ID)),
			clientv3.OpPut(subnetKey(learntPrefix(i)), text(fabric.Subnet{Owner: node.ID, Epoch: 1})),
		).Commit()
		if err != nil {
			return fmt.Errorf("simulated peers: %w", err)
		}
	}
	return nil
}

// moves watches the routes to the simulated peers.
type moves struct {
	stop func()

	mu          sync.Mutex // guards what follows
	moved       map[int]bool
	first, last time.Time
	count       int
}

func watchMoves(n *lab.Namespace) (*moves, error) {
	var conn *rtnl.Conn
	err := n.Do(func() (err error) {
		conn, err = rtnl.Listen(64<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEXTHOP, unix.RTNLGRP_NEIGH)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	m := &moves{moved: map[int]bool{}}
	var g errgroup.Group
	g.Go(func() error {
		for ctx.Err() == nil {
			if ok, err := conn.Wait(50); err != nil || !ok {
				continue
			}
			if err := conn.Drain(m.see); err != nil {
				return err
			}
		}
		return nil
	})
	m.stop = func() { cancel(); _ = g.Wait(); conn.Close() }
	return m, nil
}

func (m *moves) see(msg rtnl.Message) {
	m.mu.Lock()
	defer m.mu.Unlock()
	i, ok := learntRoute(msg)
	if !ok && len(m.moved) == 0 { // what comes before the first route prepares it
		return
	}
	m.count++
	if !ok {
		return
	}
	m.last = time.Now()
	if len(m.moved) == 0 {
		m.first = m.last
	}
	m.moved[i] = true
}

func (m *moves) reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.moved, m.count = map[int]bool{}, 0
}

func (m *moves) span() time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last.Sub(m.first)
}

func (m *moves) at() time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.last
}

func (m *moves) messages() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.count
}

// wait waits until so many routes have moved.
func (m *moves) wait(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	for {
		m.mu.Lock()
		have := len(m.moved)
		m.mu.Unlock()
		if have >= n {
			return nil
		}
		if err := lab.Pause(ctx, time.Millisecond); err != nil {
			return fmt.Errorf("%d of %d routes moved: %w", have, n, err)
		}
	}
}
