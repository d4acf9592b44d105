package backends

import (
	"slices"

	"github.com/weft-net/weft/kernel"
)

// sysctls are the switches without which a host does not forward for its
// pods. They are per device where the kernel has them so.
func sysctls(in Input, tunnels []string) []kernel.Sysctl {
	var out []kernel.Sysctl
	set := func(path, value string) { out = append(out, kernel.Sysctl{Path: path, Value: value}) }
	own := append(slices.Clone(tunnels), BridgeName)
	devices := append(slices.Clone(own), in.uplinks()...)
	if in.Spec.Network.IPv4.IsValid() {
		set("net/ipv4/ip_forward", "1")
		for _, d := range devices {
			set("net/ipv4/conf/"+d+"/forwarding", "1")
		}
		// The two directions between two nodes may take different paths while a
		// path changes, and always may where there are several uplinks; strict
		// filtering would drop one (RFC 3704, section 2.3).
		for _, d := range devices {
			if d != BridgeName {
				set("net/ipv4/conf/"+d+"/rp_filter", "2")
			}
		}
	}
	v6 := in.Spec.Network.IPv6.IsValid()
	for _, d := range own {
		if !v6 {
			set("net/ipv6/conf/"+d+"/disable_ipv6", "1") // no link-local noise in an IPv4 fabric
			continue
		}
		set("net/ipv6/conf/"+d+"/disable_ipv6", "0")
		set("net/ipv6/conf/"+d+"/accept_dad", "0")
		set("net/ipv6/conf/"+d+"/accept_ra", "0")
	}
	if v6 {
		// With forwarding on, 1 means that router advertisements are ignored
		// from now on (Documentation/networking/ip-sysctl.rst): a host that
		// gets its default route from them would lose it.
		if in.Underlay.AcceptRA && in.Underlay.Interface != "" {
			set("net/ipv6/conf/"+in.Underlay.Interface+"/accept_ra", "2")
		}
		set("net/ipv6/conf/all/forwarding", "1")
		for _, d := range devices {
			set("net/ipv6/conf/"+d+"/forwarding", "1")
		}
	}
	return out
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
