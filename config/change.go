package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// CheckChange says what of a change from old to new cannot be done while the
// fabric runs, one reason each; none: it can. old is nil where there is no
// Fabric yet. leases are the subnets on record, reservations included.
//
// Everything under spec.bgp may change: agents do what they can in place, and
// reset one session at a time where they cannot. A subnet length may change
// too: leases stay as they are, and the store checks overlap when it gives out
// new ones.
func CheckChange(old, new *fabric.Spec, leases []fabric.Subnet) []string {
	if len(leases) == 0 {
		return nil
	}
	reasons := checkNetworks(new, leases)
	if old == nil {
		return reasons
	}
	reasons = append(reasons, checkReserved(old, new, leases)...)
	if old.Backend != new.Backend {
		reasons = append(reasons, cuts("backend", old.Backend, new.Backend))
	}
	if old.Backend != BackendVXLAN || new.Backend != BackendVXLAN {
		return reasons
	}
	// The VXLAN device holds these; the kernel changes none of them in place
	// (vxlan_nl2conf in drivers/net/vxlan/vxlan_core.c), and a device made anew
	// on one node after the other cuts the fabric in two meanwhile.
	for _, c := range []struct {
		path     string
		old, new any
	}{
		{"vxlan.vni", old.VXLAN.VNI, new.VXLAN.VNI},
		{"vxlan.port", old.VXLAN.Port, new.VXLAN.Port},
		{"vxlan.udpChecksum", old.VXLAN.UDPChecksum, new.VXLAN.UDPChecksum},
	} {
		if c.old != c.new {
			reasons = append(reasons, cuts(c.path, c.old, c.new))
		}
	}
	return reasons
}

func cuts(path string, old, new any) string {
	return fmt.Sprintf("spec.%s: %v -> %v would cut nodes off from each other while subnets are leased; remove the nodes first", path, old, new)
}

// checkNetworks finds leases that the new networks leave outside.
func checkNetworks(new *fabric.Spec, leases []fabric.Subnet) []string {
	var reasons []string
	for _, f := range fabric.Families {
		network := new.Network.Get(f)
		var outside []netip.Prefix
		for _, l := range leases {
			isOurs := fabric.FamilyOf(l.Prefix.Addr()) == f
			if isOurs && !contains(network, l.Prefix) {
				outside = append(outside, l.Prefix)
			}
		}
		if len(outside) == 0 {
			continue
		}
		what := "without it goes"
		if network.IsValid() {
			what = network.String() + " leaves out"
		}
		reasons = append(reasons, fmt.Sprintf("spec.network.%s: %s what is leased: %s; remove the nodes first", f, what, some(outside)))
	}
	return reasons
}

// checkReserved finds leases in what is newly reserved.
func checkReserved(old, new *fabric.Spec, leases []fabric.Subnet) []string {
	var reasons []string
	for _, r := range new.Reserved {
		if slices.Contains(old.Reserved, r) {
			continue
		}
		var inside []netip.Prefix
		for _, l := range leases {
			if r.Overlaps(l.Prefix) {
				inside = append(inside, l.Prefix)
			}
		}
		if len(inside) > 0 {
			reasons = append(reasons, fmt.Sprintf("spec.reserved: %s overlaps what is leased: %s; remove the nodes first", r, some(inside)))
		}
	}
	return reasons
}

// CheckUnderlay says which addresses of hosts the fabric's networks would
// swallow: packets to these hosts would be sent to pods.
func CheckUnderlay(s *fabric.Spec, nodes []*fabric.Peer) []string {
	var reasons []string
	for _, n := range nodes {
		for _, f := range fabric.Families {
			a, network := n.Underlay.Get(f), s.Network.Get(f)
			if a.IsValid() && network.IsValid() && network.Contains(a) {
				reasons = append(reasons, fmt.Sprintf("spec.network.%s: %s holds %s, the underlay address of node %s", f, network, a, n.Name))
			}
		}
	}
	return reasons
}

func contains(outer, inner netip.Prefix) bool {
	return outer.IsValid() && outer.Bits() <= inner.Bits() && outer.Contains(inner.Addr())
}

// some names the first few prefixes of a list.
func some(list []netip.Prefix) string {
	const most = 3
	names := make([]string, 0, most)
	for _, p := range list[:min(most, len(list))] {
		names = append(names, p.String())
	}
	text := strings.Join(names, ", ")
	if more := len(list) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
