package cni

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/containernetworking/cni/pkg/types"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/ipam"
)

// promise is what ADD said of an attachment.
type promise struct {
	bridge, host, mac string
	addrs             []netip.Prefix
	gateways          []netip.Addr
}

// check compares the slot files and the kernel with what ADD answered.
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
	sockets, err := plumb.DialBoth(int(ns.Fd()))
	if err != nil {
		return fail(codeKernel, err, "netlink")
	}
	defer sockets.Close()
	if err := want.compare(sockets, r.Attachment); err != nil {
		return fail(codeMismatch, err, "check %s", r.Attachment)
	}
	return nil
}

// promised finds weft's own interfaces in the previous result.
func promised(r request) (promise, error) {
	var p promise
	if r.conf.prev == nil {
		return p, errors.New("CHECK needs it")
	}
	list := r.conf.prev.Interfaces
	host := r.HostInterface()
	at := -1
	for i, l := range list {
		switch {
		case l.Sandbox == "" && l.Name == host && i > 0:
			p.bridge, p.host = list[i-1].Name, host
		case l.Sandbox != "" && l.Name == r.Interface:
			at, p.mac = i, l.Mac
		}
	}
	if p.host == "" || at < 0 {
		return p, fmt.Errorf("it lacks the interfaces %s and %s", host, r.Interface)
	}
	for _, ip := range r.conf.prev.IPs {
		if ip.Interface == nil || *ip.Interface != at {
			continue
		}
		a, ok := netip.AddrFromSlice(ip.Address.IP)
		ones, _ := ip.Address.Mask.Size()
		if !ok {
			return p, fmt.Errorf("%v is not an address", ip.Address.IP)
		}
		prefix := netip.PrefixFrom(a.Unmap(), ones)
		p.addrs = append(p.addrs, prefix)
		p.gateways = append(p.gateways, nodefile.Gateway(prefix))
	}
	if len(p.addrs) == 0 {
		return p, fmt.Errorf("it lacks the addresses of %s", r.Interface)
	}
	return p, nil
}

func (p promise) compare(s plumb.Sockets, a ipam.Attachment) error {
	bridge, err := plumb.GetLink(s.Host, p.bridge)
	if err != nil {
		return err
	}
	if bridge == nil || bridge.Kind != "bridge" {
		return fmt.Errorf("bridge %s is gone", p.bridge)
	}
	host, err := plumb.GetLink(s.Host, p.host)
	if err != nil {
		return err
	}
	pod, err := plumb.GetLink(s.Pod, a.Interface)
	if err != nil {
		return err
	}
	switch {
	case host == nil:
		return fmt.Errorf("host interface %s is gone", p.host)
	case host.Master != bridge.Index:
		return fmt.Errorf("host interface %s is not a port of %s", p.host, p.bridge)
	case !host.Up:
		return fmt.Errorf("host interface %s is down", p.host)
	case pod == nil:
		return fmt.Errorf("interface %s is gone", a.Interface)
	case !pod.Up:
		return fmt.Errorf("interface %s is down", a.Interface)
	case pod.MAC.String() != p.mac:
		return fmt.Errorf("interface %s has address %s, was given %s", a.Interface, pod.MAC, p.mac)
	}
	return p.compareAddrs(s, pod)
}

// compareAddrs checks that the pod has its addresses and default routes; more
// than these is the pod's own business.
func (p promise) compareAddrs(s plumb.Sockets, pod *plumb.Link) error {
	addrs, err := plumb.Addresses(s.Pod, pod.Index)
	if err != nil {
		return err
	}
	gateways, err := plumb.DefaultGateways(s.Pod, pod.Index)
	if err != nil {
		return err
	}
	for i, a := range p.addrs {
		if !slices.Contains(addrs, a) {
			return fmt.Errorf("interface %s has lost address %s", pod.Name, a)
		}
		if !slices.Contains(gateways, p.gateways[i]) {
			return fmt.Errorf("the default route via %s is gone", p.gateways[i])
		}
	}
	return nil
}
