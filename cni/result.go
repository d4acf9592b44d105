package cni

import (
	"io"
	"net"
	"net/netip"

	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"

	"github.com/weft-net/weft/cni/plumb"
)

// Places of weft's interfaces in its part of a result.
const (
	atBridge = iota
	atHost
	atPod
)

// result describes an attachment. In a chain, what earlier plugins said comes
// first and is left as it is.
func result(r request, bridge *plumb.Link, ends plumb.Ends, pod *plumb.Pod) *current.Result {
	out := &current.Result{CNIVersion: current.ImplementedSpecVersion}
	if r.conf.prev != nil {
		*out = *r.conf.prev
	}
	if !r.conf.options.DNS.IsEmpty() {
		out.DNS = r.conf.options.DNS
	}
	first := len(out.Interfaces)
	mtu := pod.MTU
	if has, err := version.GreaterThanOrEqualTo(r.conf.CNIVersion, "1.1.0"); err != nil || !has {
		mtu = 0 // the field is new in 1.1
	}
	out.Interfaces = append(out.Interfaces,
		&current.Interface{Name: bridge.Name, Mac: bridge.MAC.String()},
		&current.Interface{Name: ends.Host.Name, Mac: ends.Host.MAC.String()},
		&current.Interface{Name: ends.Pod.Name, Mac: ends.Pod.MAC.String(), Mtu: mtu, Sandbox: r.netns},
	)
	for i, a := range pod.Addrs {
		out.IPs = append(out.IPs, &current.IPConfig{
			Interface: current.Int(first + atPod), Address: ipNet(a), Gateway: pod.Gateways[i].AsSlice(),
		})
		out.Routes = append(out.Routes, &types.Route{Dst: ipNet(defaultOf(a.Addr())), GW: pod.Gateways[i].AsSlice()})
	}
	return out
}

// defaultOf is the default destination of an address's family.
func defaultOf(a netip.Addr) netip.Prefix {
	if a.Is4() {
		return netip.PrefixFrom(netip.IPv4Unspecified(), 0)
	}
	return netip.PrefixFrom(netip.IPv6Unspecified(), 0)
}

func ipNet(p netip.Prefix) net.IPNet {
	return net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// answer writes a result in the version that the runtime asked for.
func answer(r request, w io.Writer, res *current.Result) error {
	old, err := res.GetAsVersion(r.conf.CNIVersion)
	if err != nil {
		return err
	}
	now, ok := old.(*current.Result)
	if !ok {
		return old.PrintTo(w)
	}
	doc, err := appendResult(make([]byte, 0, 1024), now)
	if err == nil {
		_, err = w.Write(append(doc, '\n'))
	}
	return err
}
