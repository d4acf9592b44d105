package backends

import (
	"slices"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

type settings []kernel.Sysctl

func (s *settings) set(path, value string) {
	*s = append(*s, kernel.Sysctl{Path: path, Value: value})
}

// sysctls are the switches without which a host does not forward for its
// pods. They are per device where the kernel has them so.
func sysctls(in Input) []kernel.Sysctl {
	var out settings
	routes := slices.ContainsFunc(in.InForce(), func(p fabric.Plan) bool { return p.Routes(in.Spec.PathRules) })
	for _, f := range fabric.Families {
		if !in.Spec.Network.Get(f).IsValid() {
			continue
		}
		if routes {
			// Among equal ways the kernel is to choose by addresses and ports: by
			// addresses alone, all that two pods say to each other would take one.
			out.set("net/"+f.String()+"/fib_multipath_hash_policy", "1")
		}
		if f == fabric.IPv4 {
			out.set("net/ipv4/ip_forward", "1")
			// What the overlay learns of the underlay's MTU counts for what is
			// forwarded into it. Without this, outer packets that must not be
			// fragmented are a black hole where the underlay shrinks.
			out.set("net/ipv4/ip_forward_use_pmtu", "1")
			continue
		}
		// With forwarding on, 1 means that router advertisements are ignored
		// from now on (Documentation/networking/ip-sysctl.rst): a host that
		// gets its default route from them would lose it.
		if in.Underlay.AcceptRA && in.Underlay.Interface != "" {
			out.set("net/ipv6/conf/"+in.Underlay.Interface+"/accept_ra", "2")
		}
		out.set("net/ipv6/conf/all/forwarding", "1")
	}
	for _, d := range in.uplinks() {
		out.forward(in.Spec, d)
		out.loose(in.Spec, d)
	}
	out.forward(in.Spec, BridgeName)
	out.own(in.Spec, BridgeName)
	return out
}

// TunnelSysctls are the switches of a device of weft's own that leads to peers.
func TunnelSysctls(spec *fabric.Spec, name string) []kernel.Sysctl {
	var out settings
	out.forward(spec, name)
	out.loose(spec, name)
	out.own(spec, name)
	return out
}

// forward lets packets through that come by the device.
func (s *settings) forward(spec *fabric.Spec, name string) {
	for _, f := range fabric.Families {
		if spec.Network.Get(f).IsValid() {
			s.set("net/"+f.String()+"/conf/"+name+"/forwarding", "1")
		}
	}
}

// loose lets packets come by another way than they go. The two directions
// between two nodes may take different paths while a path changes, and always
// may where there are several uplinks; strict filtering would drop one (RFC
// 3704, section 2.3).
func (s *settings) loose(spec *fabric.Spec, name string) {
	if spec.Network.IPv4.IsValid() {
		s.set("net/ipv4/conf/"+name+"/rp_filter", "2")
	}
}

// own keeps a device of weft's own from speaking for itself.
func (s *settings) own(spec *fabric.Spec, name string) {
	if !spec.Network.IPv6.IsValid() {
		s.set("net/ipv6/conf/"+name+"/disable_ipv6", "1") // no link-local noise in an IPv4 fabric
		return
	}
	s.set("net/ipv6/conf/"+name+"/disable_ipv6", "0")
	s.set("net/ipv6/conf/"+name+"/accept_dad", "0")
	s.set("net/ipv6/conf/"+name+"/accept_ra", "0")
}

// uplinks are all devices by which packets of the fabric leave and arrive.
func (in *Input) uplinks() []string {
	var out []string
	for _, d := range append([]string{in.Underlay.Interface}, in.Uplinks...) {
		if d != "" && !slices.Contains(out, d) {
			out = append(out, d)
		}
	}
	return out
}
