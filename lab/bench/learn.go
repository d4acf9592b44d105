package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/hostile"
)

// Learn is how long speakers take to put a peer's routes into the kernel:
// from the first UPDATE sent to the last route that the kernel announces.
type Learn struct {
	Routes          int
	Weft, FRR, BIRD Usage         // RSS is what the routes added
	Change          time.Duration // median of one more prefix at weft
}

const (
	feederASN  = 64999
	subjectASN = 64998
	// learntBits is the length of the prefixes that the feeder announces.
	learntBits = 26
)

// learntBase is where they lie: in the fabric's network, but reserved, so that
// nobody leases from it.
var learntBase = netip.MustParsePrefix("10.128.0.0/9")

// learntPrefix is the i-th of them.
func learntPrefix(i int) netip.Prefix {
	n := uint32(10)<<24 | 1<<23 | uint32(i)<<(32-learntBits)
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{byte(n >> 24), byte(n >> 16), byte(n >> 8), byte(n)}), learntBits)
}

// learntIndex is its inverse.
func learntIndex(p netip.Prefix) (int, bool) {
	a := p.Addr().As4()
	n := uint32(a[0])<<24 | uint32(a[1])<<16 | uint32(a[2])<<8 | uint32(a[3])
	return int(n&(1<<23-1)) >> (32 - learntBits), p.Bits() == learntBits && learntBase.Contains(p.Addr())
}

// subject is a speaker under test: where it runs, and where its peer listens.
type subject struct {
	*lab.Namespace
	feeder *lab.Namespace
	at     netip.Addr // the feeder's address, from where it listens
	pids   func() []int
	start  func(context.Context) error
}

// learn feeds n routes to weftd, FRR and BIRD, one after the other. perPath of
// them share an AS path, and so a message: 1 is a fabric with an AS per node.
func learn(ctx context.Context, bin lab.Binaries, n, perPath, rounds int) (Learn, error) {
	r := Learn{Routes: n}
	err := withSubjects(bin, func(l *lab.Lab) error {
		if err := l.Etcd.Start(ctx); err != nil {
			return err
		}
		if err := l.Apply(ctx, l.Topo.Fabric); err != nil {
			return err
		}
		for _, s := range []struct {
			name string
			subject
			to     *Usage
			rounds int
		}{
			{"bird", birdSubject(l), &r.BIRD, 0},
			{"frr", frrSubject(l), &r.FRR, 0},
			{"weft", weftSubject(l), &r.Weft, rounds},
		} {
			used, change, err := s.learn(ctx, n, perPath, s.rounds)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			*s.to = used
			if s.rounds > 0 {
				r.Change = change
			}
		}
		return nil
	})
	return r, err
}

// withSubjects builds a lab with a host, an FRR and a BIRD, each next to a
// namespace in which the feeder can listen.
func withSubjects(bin lab.Binaries, do func(*lab.Lab) error) (err error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{
		Racks: []lab.Rack{
			{Name: "rw"},
			{Name: "rf", ToRs: []lab.SwitchSpec{{Name: "frr", Kind: lab.KindFRR}}},
			{Name: "rb", ToRs: []lab.SwitchSpec{{Name: "bird", Kind: lab.KindBIRD}}},
		},
		Hosts: []lab.HostSpec{{Name: "weft", Rack: "rw"}},
		Fabric: map[string]any{
			"backend": "bgp", "network": map[string]any{"ipv4": network.String()}, "reserved": []string{learntBase.String()},
			"subnetLength": map[string]any{"ipv4": learntBits},
		},
		BGP: []map[string]any{{
			"apiVersion": "weft/v1", "kind": "BGPPeer", "metadata": map[string]any{"name": "feeder"},
			"spec": map[string]any{"nodes": map[string]any{}, "peer": map[string]any{"gateways": "all"}, "asn": "external", "families": []string{"ipv4"}},
		}},
	}})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Down()) }()
	return do(l)
}

func weftSubject(l *lab.Lab) subject {
	h := l.Hosts[0]
	tor := l.Switch("rw")
	return subject{
		Namespace: h.Namespace, feeder: tor.Namespace, at: gatewayOf(h.Underlay.IPv4),
		pids:  func() []int { return []int{h.Agent.PID()} },
		start: func(context.Context) error { return h.Agent.Start() },
	}
}

// gatewayOf is the first address of a host's segment.
func gatewayOf(a netip.Addr) netip.Addr {
	return netip.PrefixFrom(a, 24).Masked().Addr().Next()
}

func frrSubject(l *lab.Lab) subject {
	return switchSubject(l, "frr", func(near, far netip.Addr) map[string]string {
		return map[string]string{"zebra.conf": "", "vtysh.conf": "", "frr.conf": fmt.Sprintf(`router bgp %d
 bgp router-id %s
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 neighbor %s remote-as %d
 neighbor %s timers connect 1
 address-family ipv4 unicast
  neighbor %s activate
`, subjectASN, near, far, feederASN, far, far)}
	})
}

func birdSubject(l *lab.Lab) subject {
	return switchSubject(l, "bird", func(near, far netip.Addr) map[string]string {
		return map[string]string{"bird.conf": fmt.Sprintf(`router id %s;
protocol device { }
protocol direct { ipv4; }
protocol kernel { ipv4 { import none; export all; }; }
protocol bgp feeder {
	local as %d; neighbor %s as %d; connect retry time 1; connect delay time 1;
	ipv4 { import all; export none; };
}
`, near, subjectASN, far, feederASN)}
	})
}

// switchSubject is a daemon on a switch whose spine is the feeder's place.
func switchSubject(l *lab.Lab, name string, conf func(near, far netip.Addr) map[string]string) subject {
	s := l.Switch(name)
	near, far := s.LinkAddrs(1, fabric.IPv4)
	return subject{
		Namespace: s.Namespace, feeder: l.Switch("spine").Namespace, at: far, pids: s.PIDs,
		start: func(ctx context.Context) error { return s.StartWith(ctx, conf(near, far)) },
	}
}

// learn opens the session, feeds n routes and then, for the rounds, one at a
// time.
func (s subject) learn(ctx context.Context, n, perPath, rounds int) (used Usage, change time.Duration, err error) {
	session, err := s.open(ctx)
	if err != nil {
		return used, 0, err
	}
	defer session.Close()
	routes, err := countRoutes(s.Namespace, n+rounds)
	if err != nil {
		return used, 0, err
	}
	defer routes.stop()
	before, err := usageOfAll(s.pids())
	if err != nil {
		return used, 0, err
	}
	var feed [][]byte // made beforehand: the machine is for the subject
	if err := encode(s.at, 0, n, perPath, func(b []byte) error { feed = append(feed, bytes.Clone(b)); return nil }); err != nil {
		return used, 0, err
	}
	runtime.GC()
	began := time.Now()
	var g errgroup.Group
	g.Go(func() error {
		for _, b := range feed {
			if err := session.Send(b); err != nil {
				return err
			}
		}
		return nil
	})
	if err := errors.Join(routes.wait(ctx, n), g.Wait()); err != nil {
		return used, 0, err
	}
	used.Wall = time.Since(began)
	after, err := settledUsage(ctx, s.pids())
	if err != nil {
		return used, 0, err
	}
	used.CPU, used.RSS = after.CPU-before.CPU, after.RSS-before.RSS
	change, err = s.changes(ctx, session, routes, n, rounds)
	return used, change, err
}

// changes measures single prefixes.
func (s subject) changes(ctx context.Context, session *hostile.Session, routes *routeCount, n, rounds int) (time.Duration, error) {
	alone := time.NewTicker(25 * time.Millisecond)
	defer alone.Stop()
	var took []time.Duration
	for i := n; i < n+rounds; i++ {
		<-alone.C
		began := time.Now()
		if err := errors.Join(announceTo(session, s.at, i, i+1), routes.wait(ctx, i+1)); err != nil {
			return 0, err
		}
		took = append(took, time.Since(began))
	}
	if len(took) == 0 {
		return 0, nil
	}
	slices.Sort(took)
	return took[len(took)/2], nil
}

// open starts the speaker and takes its session.
func (s subject) open(ctx context.Context) (*hostile.Session, error) {
	ln, err := s.feeder.ListenTCP(netip.AddrPortFrom(s.at, 179))
	if err != nil {
		return nil, err
	}
	defer ln.Close()
	if err := s.start(ctx); err != nil {
		return nil, err
	}
	if err := ln.SetDeadline(time.Now().Add(time.Minute)); err != nil {
		return nil, err
	}
	for {
		conn, err := ln.Accept()
		if err != nil {
			return nil, fmt.Errorf("no session: %w", err)
		}
		session, err := hostile.Open(conn, hostile.Config{ASN: feederASN, RouterID: s.at, NoIPv6: true})
		if err == nil {
			return session, session.Send(hostile.Update{}.Bytes()) // end-of-RIB: nothing is waited for
		}
	}
}

// announceTo sends routes from..to-1, each as a message of its own.
func announceTo(session *hostile.Session, nextHop netip.Addr, from, to int) error {
	return encode(nextHop, from, to, 1, session.Send)
}

// encode hands out the messages in pieces; send may not keep them.
func encode(nextHop netip.Addr, from, to, perPath int, send func([]byte) error) error {
	var piece []byte
	for i := from; i < to; i += perPath {
		var prefixes []netip.Prefix
		for j := i; j < min(i+perPath, to); j++ {
			prefixes = append(prefixes, learntPrefix(j))
		}
		piece = append(piece, hostile.Route(nextHop, []uint32{feederASN, fabric.ASNBase + 1<<20 + uint32(i)}, prefixes).Bytes()...)
		if len(piece) > 32<<10 || i+perPath >= to {
			if err := send(piece); err != nil {
				return err
			}
			piece = piece[:0]
		}
	}
	return nil
}

// settledUsage waits until the processes hold no less memory than a second
// before: what a burst takes for a moment is not what its routes cost.
func settledUsage(ctx context.Context, pids []int) (Usage, error) {
	last := int64(-1)
	for range 10 {
		if err := lab.Pause(ctx, 3*time.Second); err != nil {
			return Usage{}, err
		}
		u, err := usageOfAll(pids)
		if err != nil || last >= 0 && u.RSS >= last*99/100 {
			return u, err
		}
		last = u.RSS
	}
	return usageOfAll(pids)
}

// usageOfAll adds up processes; RSS is what they hold now.
func usageOfAll(pids []int) (sum Usage, err error) {
	for _, pid := range pids {
		u, err := usageOf(pid)
		if err != nil {
			return sum, err
		}
		sum.CPU += u.CPU
		rss, err := statusBytes(pid, "VmRSS:")
		if err != nil {
			return sum, err
		}
		sum.RSS += rss
	}
	return sum, nil
}

// routeCount counts the different learnt routes that the kernel announces.
type routeCount struct {
	reached chan progress // newest only
	stop    func()
}

// progress is how many routes there are, and the first that is not.
type progress struct{ total, missing int }

func countRoutes(n *lab.Namespace, most int) (*routeCount, error) {
	var conn *rtnl.Conn
	err := n.Do(func() (err error) {
		conn, err = rtnl.Listen(64<<20, unix.RTNLGRP_IPV4_ROUTE)
		return err
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	c := &routeCount{reached: make(chan progress, 1)}
	var g errgroup.Group
	g.Go(func() error { return c.count(ctx, conn, make([]bool, most)) })
	c.stop = func() { cancel(); _ = g.Wait(); conn.Close() }
	return c, nil
}

func (c *routeCount) count(ctx context.Context, conn *rtnl.Conn, seen []bool) error {
	total := 0
	for ctx.Err() == nil {
		if ok, err := conn.Wait(50); err != nil || !ok {
			continue
		}
		err := conn.Drain(func(m rtnl.Message) {
			if i, ok := learntRoute(m); ok && i < len(seen) && !seen[i] {
				seen[i] = true
				total++
			}
		})
		if err != nil {
			return err
		}
		select {
		case <-c.reached:
		default:
		}
		c.reached <- progress{total, slices.Index(seen, false)}
	}
	return nil
}

func learntRoute(m rtnl.Message) (i int, ok bool) {
	if m.Type != unix.RTM_NEWROUTE || len(m.Data) < unix.SizeofRtMsg {
		return 0, false
	}
	_ = rtnl.Attrs(m.Data[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		if typ == unix.RTA_DST {
			i, ok = learntIndex(netip.PrefixFrom(rtnl.Addr(v), int(m.Data[1])))
		}
	})
	return i, ok
}

func (c *routeCount) wait(ctx context.Context, n int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var last progress
	for last.total < n {
		select {
		case last = <-c.reached:
		case <-ctx.Done():
			return fmt.Errorf("%d of %d routes reached the kernel, not %s: %w", last.total, n, learntPrefix(max(last.missing, 0)), ctx.Err())
		}
	}
	return nil
}
