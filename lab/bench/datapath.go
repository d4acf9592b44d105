package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"runtime"
	"slices"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

// Datapath is the CPU time that one packet of a pod costs on its way to a pod
// of another host, both hosts' shares together: namespaces of one machine hand
// packets over in the sender's own time.
//
// The lab's switch between the hosts works in that time too. What it costs is
// known from two hosts without a fabric, and is taken off: the figures are those
// of hosts on one wire.
type Datapath struct {
	Bare               time.Duration // from one namespace to another, without any fabric
	Switch             time.Duration // what was taken off
	Direct, BGP, VXLAN time.Duration
	// Common is the usual layout of an overlay: a bridge whose packets pass the
	// IP hooks (br_netfilter), and conntrack rules for masquerade.
	Common time.Duration
}

const (
	volley       = 64  // packets per system call
	payload      = 100 // bytes: what is measured is the cost of a packet, not of its bytes
	sinkPort     = 9   // discard (RFC 863); nobody reads there
	datapathWarm = 2000
)

// layout is two hosts on one segment with a pod each.
type layout struct {
	lab   *lab.Lab
	send  *ipv4.PacketConn
	sink  *net.UDPConn
	count func() (int, error) // packets that reached the sink's host
	times []time.Duration     // per packet
}

// datapath measures the layouts in turn, so that a slow spell of the machine
// meets all of them; the median of each counts.
func datapath(ctx context.Context, bin lab.Binaries, packets, rounds int) (d Datapath, err error) {
	var hosts time.Duration
	plans := []struct {
		to   *time.Duration
		open func() (*layout, error)
	}{
		{&d.Bare, func() (*layout, error) { return bareWire(ctx, bin) }},
		{&hosts, func() (*layout, error) { return bareHosts(ctx, bin) }},
		{&d.Direct, func() (*layout, error) { return newLayout(ctx, bin, map[string]any{"paths": []string{"direct"}}, nil) }},
		{&d.BGP, func() (*layout, error) {
			return newLayout(ctx, bin, map[string]any{"backend": "bgp", "paths": []string{"bgp"}}, meshObjects())
		}},
		{&d.VXLAN, func() (*layout, error) { return newLayout(ctx, bin, map[string]any{"overlay": "always"}, nil) }},
		{&d.Common, func() (*layout, error) { return commonLayout(ctx, bin) }},
	}
	layouts := make([]*layout, 0, len(plans))
	defer func() {
		for _, l := range layouts {
			err = errors.Join(err, l.close())
		}
	}()
	for _, p := range plans {
		l, err := p.open()
		if l != nil {
			layouts = append(layouts, l)
		}
		if err == nil {
			err = waitArrival(ctx, l)
		}
		if err != nil {
			return d, err
		}
	}
	for range rounds {
		for _, l := range layouts {
			if err := l.measure(ctx, packets); err != nil {
				return d, err
			}
		}
	}
	for i, l := range layouts {
		slices.Sort(l.times)
		*plans[i].to = l.times[len(l.times)/2]
	}
	d.Switch = hosts - d.Bare
	for _, p := range plans[2:] {
		*p.to -= d.Switch
	}
	return d, nil
}

// bareWire is two namespaces and what joins them.
func bareWire(ctx context.Context, bin lab.Binaries) (*layout, error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{Hosts: twoHosts()}})
	if err != nil {
		return nil, err
	}
	out := &layout{lab: l}
	var ends [2]*lab.Scratch
	for i := range ends {
		if ends[i], err = l.Hosts[i].Scratch(); err != nil {
			return out, err
		}
	}
	at := netip.MustParsePrefix("198.18.250.1/30")
	far := netip.PrefixFrom(at.Addr().Next(), at.Bits())
	if err := lab.Wire(ends[0].Namespace, ends[1].Namespace, at, far); err != nil {
		return out, err
	}
	return out, out.join(ctx, ends[0].Namespace, ends[1].Namespace, far.Addr())
}

// bareHosts is two hosts of a rack without agents.
func bareHosts(ctx context.Context, bin lab.Binaries) (*layout, error) {
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{Hosts: twoHosts()}})
	if err != nil {
		return nil, err
	}
	out := &layout{lab: l}
	return out, out.join(ctx, l.Hosts[0].Namespace, l.Hosts[1].Namespace, l.Hosts[1].Underlay.IPv4)
}

func twoHosts() []lab.HostSpec {
	return []lab.HostSpec{{Name: "h1", Rack: "r1"}, {Name: "h2", Rack: "r1"}}
}

// meshObjects is a session between every two nodes.
func meshObjects() []map[string]any {
	return []map[string]any{peerObject("mesh", map[string]any{"nodes": map[string]any{}, "peer": map[string]any{"nodes": map[string]any{}}, "asn": "internal"})}
}

func newLayout(ctx context.Context, bin lab.Binaries, spec map[string]any, bgp []map[string]any) (_ *layout, err error) {
	spec["network"] = map[string]any{"ipv4": network.String()}
	if bgp != nil {
		spec["bgp"] = map[string]any{"asn": "64512"}
	}
	l, err := lab.New(lab.Options{Binaries: bin, Topology: lab.Topology{
		Hosts:  twoHosts(),
		Pods:   []lab.PodSpec{{Name: "h1-a", Host: "h1"}, {Name: "h2-a", Host: "h2"}},
		Fabric: spec, BGP: bgp,
	}})
	if err != nil {
		return nil, err
	}
	out := &layout{lab: l}
	if err := l.Up(ctx); err != nil {
		return out, err
	}
	if err := quietBridge(l); err != nil {
		return out, err
	}
	to := l.Pod("h2-a")
	return out, out.join(ctx, l.Pod("h1-a").Namespace, to.Namespace, to.Addr(fabric.IPv4))
}

// join opens the sockets.
func (l *layout) join(ctx context.Context, from, to *lab.Namespace, at netip.Addr) (err error) {
	dst := netip.AddrPortFrom(at, sinkPort)
	if l.sink, err = to.ListenUDP(dst); err != nil {
		return err
	}
	if err := l.sink.SetReadBuffer(1); err != nil {
		return err
	}
	conn, err := from.Dial(ctx, "udp4", dst.String())
	if err != nil {
		return err
	}
	l.send = ipv4.NewPacketConn(conn.(net.PacketConn))
	l.count = func() (n int, err error) {
		err = to.Do(func() error { n, err = udpArrivals(); return err })
		return n, err
	}
	return nil
}

func (l *layout) close() error {
	if l.send != nil {
		l.send.Close()
	}
	if l.sink != nil {
		l.sink.Close()
	}
	return l.lab.Down()
}

// waitArrival sends until a packet arrives: the first must wait for a route, or
// for neighbours to be found.
func waitArrival(ctx context.Context, l *layout) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		before, err := l.count()
		if err != nil {
			return err
		}
		if err := l.volleys(1); err != nil {
			return err
		}
		if err := lab.Pause(ctx, 50*time.Millisecond); err != nil {
			return fmt.Errorf("no packet arrives: %w", err)
		}
		if after, err := l.count(); err != nil || after > before {
			return err
		}
	}
}

// measure sends the packets from one CPU, which does all that happens to them
// until they lie at the far pod's socket.
func (l *layout) measure(ctx context.Context, packets int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var all, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &all); err != nil {
		return fmt.Errorf("affinity: %w", err)
	}
	one.Set(firstCPU(&all))
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("affinity: %w", err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &all) }()
	if err := l.volleys(datapathWarm / volley); err != nil {
		return err
	}
	before, err := l.count()
	if err != nil {
		return err
	}
	began := time.Now()
	if err := l.volleys(packets / volley); err != nil {
		return err
	}
	took := time.Since(began)
	sent := packets / volley * volley
	for end := time.Now().Add(time.Second); ; {
		after, err := l.count()
		if err != nil {
			return err
		}
		if after-before >= sent {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("%d of %d packets arrived", after-before, sent)
		}
		if err := lab.Pause(ctx, time.Millisecond); err != nil {
			return err
		}
	}
	l.times = append(l.times, took/time.Duration(sent))
	return nil
}

func firstCPU(set *unix.CPUSet) int {
	for i := range 1024 {
		if set.IsSet(i) {
			return i
		}
	}
	return 0
}

func (l *layout) volleys(n int) error {
	msgs := make([]ipv4.Message, volley)
	data := make([]byte, payload)
	for i := range msgs {
		msgs[i].Buffers = [][]byte{data}
	}
	for range n {
		for rest := msgs; len(rest) > 0; {
			k, err := l.send.WriteBatch(rest, 0)
			if err != nil {
				return fmt.Errorf("send: %w", err)
			}
			rest = rest[k:]
		}
	}
	return nil
}
