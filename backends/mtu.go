package backends

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// Overheads of VXLAN in bytes: outer IP header, UDP, VXLAN and the inner
// Ethernet header (RFC 7348, section 5).
const (
	overheadIPv4 = 20 + 8 + 8 + 14
	overheadIPv6 = 40 + 8 + 8 + 14
)

// What every host must accept in one packet, bytes (RFC 791, section 3.2; RFC
// 8200, section 5): less is not believed of anybody.
const (
	smallestIPv4 = 576
	smallestIPv6 = 1280
)

// Outer is the family of the overlay's outer packets from a host with these
// underlay addresses. A VXLAN device speaks one family only
// (drivers/net/vxlan/vxlan_core.c, vxlan_sock_add): IPv4 where the host has it.
func Outer(underlay fabric.PerFamily[netip.Addr]) fabric.Family {
	if underlay.IPv4.IsValid() {
		return fabric.IPv4
	}
	return fabric.IPv6
}

// Overhead is what the overlay adds to a packet, bytes.
func Overhead(outer fabric.Family) int {
	if outer == fabric.IPv6 {
		return overheadIPv6
	}
	return overheadIPv4
}

// host is what the MTU of a host's pods depends on.
type host struct {
	mtu      int // of its underlay
	underlay fabric.PerFamily[netip.Addr]
}

func (in *Input) host() host { return host{in.Underlay.MTU, in.Underlay.Addrs} }

// carries is the size of the largest packet that every way of plan p carries
// from and to host h, bytes.
func carries(spec *fabric.Spec, p fabric.Plan, h host) int {
	if p.Uses(spec.PathRules, fabric.PathVXLAN) {
		return h.mtu - Overhead(Outer(h.underlay))
	}
	return h.mtu
}

// pods is the size of the largest packet that pods of host h send by plan p: what
// all its ways carry, unless the operator knows better.
func pods(spec *fabric.Spec, p fabric.Plan, h host) int {
	if p.VXLAN.MTU != 0 {
		return p.VXLAN.MTU
	}
	return carries(spec, p, h)
}

// PodMTU is the MTU of this host's pods, bytes: by the specification's plan,
// whatever is being moved to.
func PodMTU(in Input) int { return pods(in.Spec, in.InForce()[0], in.host()) }

// DeviceMTU is that of the bridge, bytes: what pods send by any of the plans
// passes it.
func DeviceMTU(in Input) int {
	most := 0
	for _, p := range in.InForce() {
		most = max(most, pods(in.Spec, p, in.host()))
	}
	return most
}

// PeerMTU is the size of the largest packet, bytes, that this host's pods can
// send to those of r by a plan: no more than these take, and than the plan's
// ways carry between the two hosts. What probes find out may be less. A claim of
// r's that cannot be true is not believed.
func PeerMTU(in Input, plan fabric.Plan, r *fabric.Peer) int {
	far := host{r.MTU, r.Underlay}
	most := min(pods(in.Spec, plan, in.host()), carries(in.Spec, plan, in.host()))
	for _, theirs := range [...]int{pods(in.Spec, in.InForce()[0], far), carries(in.Spec, plan, far)} {
		if theirs >= in.smallest() {
			most = min(most, theirs)
		}
	}
	return most
}

// smallest is what the pods of every host can take.
func (in *Input) smallest() int {
	if in.Spec.Network.IPv6.IsValid() {
		return smallestIPv6
	}
	return smallestIPv4
}

// RouteMTU is what the routes of a family must say for packets to be no larger
// than most, bytes; 0: nothing, as pods send none that are.
func RouteMTU(in Input, f fabric.Family, most int) int {
	smallest := smallestIPv4
	if f == fabric.IPv6 {
		smallest = smallestIPv6
	}
	if most = max(most, smallest); most >= PodMTU(in) {
		return 0
	}
	return most
}
