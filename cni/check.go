package cni

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/cni/record"
	"github.com/weft-net/weft/ipam"
)

// settling is how long CHECK waits for what passes by itself after an ADD, and
// settleEvery how often it looks.
const (
	settling    = 3 * time.Second
	settleEvery = 20 * time.Millisecond
)

// promise is what the runtime was told of an attachment, by weft's ADD and by
// the plugins after it in the chain.
type promise struct {
	bridge, host string
	mac          string // of the pod's interface; empty: nobody said
	addrs        []netip.Prefix
	routes       []plumb.Route  // through the bridge's addresses
	record       *record.Record // what ADD noted; nil: it is lost
}

// check compares the slot files and the kernel with what the runtime was told.
func check(ctx context.Context, r request, s Streams) error {
	want, err := promised(r)
	if err != nil {
		return fail(types.ErrInvalidNetworkConfig, err, "prevResult")
	}
	files, err := slots(r.conf, s)
	if err != nil {
		return err
	}
	have, err := files.Lookup(ctx, r.Attachment)
	if err != nil {
		return fail(types.ErrIOFailure, err, "slot files")
	}
	for _, a := range want.addrs {
		if !slices.Contains(have, a.Addr()) {
			return fail(codeMismatch, nil, "address %s is not allocated to %s", a.Addr(), r.Attachment)
		}
	}
	ns, err := openNetns(r.netns)
	if err != nil {
		return err
	}
	defer ns.Close()
	sockets, err := plumb.DialBoth(ns.fd)
	if err != nil {
		return fail(codeKernel, err, "netlink")
	}
	defer sockets.Close()
	if err := want.settled(ctx, sockets, r.Attachment); err != nil {
		return fail(codeMismatch, err, "check %s", r.Attachment)
	}
	return nil
}

// settled compares until there is a verdict that lasts: the runtime may take a
// CHECK right after the ADD for the last word (CNI specification, CHECK).
func (p promise) settled(ctx context.Context, s plumb.Sockets, a ipam.Attachment) error {
	ctx, cancel := context.WithTimeout(ctx, settling)
	defer cancel()
	tick := time.NewTicker(settleEvery)
	defer tick.Stop()
	for {
		err := p.compare(s, a)
		if !errors.Is(err, errSettling) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-tick.C:
		}
	}
}

// promised finds weft's own part in the previous result. The plugins after weft
// may have added to it, taken away from it, and changed the MAC address.
func promised(r request) (promise, error) {
	var p promise
	if r.conf.prev == nil {
		return p, errors.New("CHECK needs it")
	}
	host := r.HostInterface()
	at := -1
	for i, l := range r.conf.prev.Interfaces {
		switch {
		case l.Sandbox == "" && l.Name == host && i > 0:
			p.bridge, p.host = r.conf.prev.Interfaces[i-1].Name, host
		case l.Sandbox != "" && l.Name == r.Interface:
			at, p.mac = i, l.Mac
		}
	}
	if p.host == "" || at < 0 {
		return p, fmt.Errorf("it lacks the interfaces %s and %s", host, r.Interface)
	}
	var err error
	if p.record, err = record.Read(r.conf.RunDir, r.Attachment); err != nil {
		p.record = nil // it describes; an attachment works without
	}
	if err := p.readAddrs(r.conf.prev, at); err != nil {
		return p, err
	}
	if len(p.addrs) == 0 {
		return p, fmt.Errorf("it lacks the addresses of %s", r.Interface)
	}
	p.readRoutes(r.conf.prev)
	return p, nil
}

// readAddrs takes the addresses of weft's interface, which is number at: of
// those that it has, the ones that weft gave it.
func (p *promise) readAddrs(prev *current.Result, at int) error {
	for _, ip := range prev.IPs {
		if ip.Interface == nil || *ip.Interface != at {
			continue
		}
		prefix, ok := prefixOf(ip.Address)
		if !ok {
			return fmt.Errorf("%v is not an address", ip.Address.IP)
		}
		if p.record == nil || slices.Contains(p.record.Addrs, prefix) {
			p.addrs = append(p.addrs, prefix)
		}
	}
	return nil
}

// readRoutes takes the routes through the addresses of the bridge.
func (p *promise) readRoutes(prev *current.Result) {
	gateways := p.gateways()
	for _, r := range prev.Routes {
		dst, ok := prefixOf(r.Dst)
		gw, isAddr := netip.AddrFromSlice(r.GW)
		if gw = gw.Unmap(); ok && isAddr && slices.Contains(gateways, gw) {
			p.routes = append(p.routes, plumb.Route{Dst: dst, Gateway: gw})
		}
	}
}

// gateways are the bridge's addresses in the subnets of the pod's.
func (p *promise) gateways() []netip.Addr {
	var out []netip.Addr
	for _, a := range p.addrs {
		out = append(out, nodefile.Gateway(a))
	}
	return out
}

func prefixOf(n net.IPNet) (netip.Prefix, bool) {
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if a = a.Unmap(); !ok || bits != a.BitLen() {
		return netip.Prefix{}, false
	}
	return netip.PrefixFrom(a, ones), true
}
