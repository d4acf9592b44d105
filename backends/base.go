package backends

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// BridgeName is the bridge that pods are attached to.
const BridgeName = kernel.Prefix + "0"

// BridgeMAC is the bridge's address, fixed so that pods' neighbour caches
// outlive the bridge.
func BridgeMAC(id fabric.NodeID) fabric.MAC { return fabric.DeriveMAC("bridge", string(id)) }

// blackholeMetric puts a blackhole behind every other route to the same
// prefix (the bridge's connected route above all).
const blackholeMetric = 1 << 31

// Base is what a node has for its pods, whichever way leads to the peers: the
// bridge with the gateway's addresses, a blackhole behind its subnets,
// masquerade, and the switches without which a host does not forward.
func Base(in Input) kernel.Objects {
	objs := kernel.Objects{
		Links:   []kernel.Link{{Name: BridgeName, Kind: kernel.Bridge, MAC: BridgeMAC(in.Self), MTU: DeviceMTU(in)}},
		Sysctls: sysctls(in),
	}
	for _, p := range in.Subnets {
		objs.Addrs = append(objs.Addrs, kernel.Addr{Link: BridgeName, Prefix: netip.PrefixFrom(p.Addr().Next(), p.Bits())})
		objs.Routes = append(objs.Routes, kernel.Route{RouteKey: kernel.RouteKey{Dst: p, Metric: blackholeMetric}, Type: kernel.Blackhole})
	}
	if in.Spec.Masquerade.Enabled {
		objs.Masquerade = kernel.Masquerade{Sources: words(in.Spec.Networks()), Except: words(in.Spec.Masquerade.Except)}
	}
	return objs
}

// words joins prefixes in a canonical order.
func words(prefixes []netip.Prefix) string {
	out := make([]string, len(prefixes))
	for i, p := range prefixes {
		out[i] = p.Masked().String()
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}
