package config

import (
	"cmp"
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
	return append(reasons, checkPlan(old, new)...)
}

// checkPlan finds what only a migration can change while nodes send to each
// other. The VXLAN device holds its VNI, port and checksums; the kernel changes
// none of them in place (vxlan_nl2conf in drivers/net/vxlan/vxlan_core.c), and a
// device made anew on one node after the other cuts the fabric in two meanwhile.
func checkPlan(old, new *fabric.Spec) []string {
	var reasons []string
	const moves = " moves them one after the other"
	if old.Backend != new.Backend {
		reasons = append(reasons, cuts("backend", old.Backend, new.Backend, fmt.Sprintf("`weft migrate %s-to-%s`", old.Backend, new.Backend)+moves))
	}
	if len(reasons) == 0 {
		reasons = checkSwap(old, new)
	}
	if !encapsulates(old) || !encapsulates(new) {
		return reasons
	}
	a, b := old.VXLAN, new.VXLAN
	if a.VNI != b.VNI {
		reasons = append(reasons, cuts("vxlan.vni", a.VNI, b.VNI, fmt.Sprintf("`weft migrate vxlan --vni %d`", b.VNI)+moves))
	}
	if a.Port != b.Port {
		reasons = append(reasons, cuts("vxlan.port", a.Port, b.Port, fmt.Sprintf("`weft migrate vxlan --port %d`", b.Port)+moves))
	}
	if a.UDPChecksum != b.UDPChecksum {
		reasons = append(reasons, cuts("vxlan.udpChecksum", a.UDPChecksum, b.UDPChecksum, "`weft migrate vxlan --udp-checksum` does it, together with another --port or --vni"))
	}
	if a.Generation != b.Generation {
		reasons = append(reasons, fmt.Sprintf("spec.vxlan.generation: %d -> %d: only `weft migrate` counts it; leave it out of the file", a.Generation, b.Generation))
	}
	return reasons
}

func encapsulates(s *fabric.Spec) bool { return s.Plan().Uses(s.PathRules, fabric.PathVXLAN) }
func routes(s *fabric.Spec) bool       { return s.Plan().Routes(s.PathRules) }

// checkSwap refuses to take the overlay away while nobody speaks BGP yet, and the
// other way round: what is there goes at once, and sessions, or the peers' devices,
// are there some time later.
func checkSwap(old, new *fabric.Spec) []string {
	const hint = "; keep both for a while (overlay: fallback), or have all on one segment and say paths: [direct]"
	switch {
	case encapsulates(old) && !encapsulates(new) && !routes(old) && routes(new):
		return []string{"spec.paths: the overlay would go before any BGP session is there" + hint}
	case routes(old) && !routes(new) && !encapsulates(old) && encapsulates(new):
		return []string{"spec.paths: BGP would go before the overlay is there" + hint}
	}
	return nil
}

func cuts(path string, old, new any, instead string) string {
	return fmt.Sprintf("spec.%s: %v -> %v would cut nodes off from each other while subnets are leased; %s", path, old, new, instead)
}

// CheckMigration says what a new spec changes that a migration, which is under
// way, decides; nothing if m is nil. old is nil where there is no Fabric, as
// after the loss of etcd: then the new one must be what the nodes still go by.
func CheckMigration(m *fabric.Migration, old, new *fabric.Spec) []string {
	if m == nil {
		return nil
	}
	was, now := m.From, new.Plan()
	if old != nil {
		was = old.Plan()
	}
	var reasons []string
	for i, next := range planFields(now) {
		if field := planFields(was)[i]; field != next {
			reasons = append(reasons, fmt.Sprintf("spec.%s: %s -> %s cannot change while a migration is under way (`weft migrate status`)", field.path, field.text, next.text))
		}
	}
	return reasons
}

// planField is a field of a plan and its value in words.
type planField struct{ path, text string }

func planFields(p fabric.Plan) []planField {
	names := make([]string, len(p.Paths))
	for i, kind := range p.Paths {
		names[i] = string(kind)
	}
	return []planField{
		{"backend", p.Backend},
		{"paths", cmp.Or(strings.Join(names, ", "), "the default")},
		{"overlay", cmp.Or(p.Overlay, "the default")},
		{"vxlan.vni", fmt.Sprint(p.VXLAN.VNI)},
		{"vxlan.port", fmt.Sprint(p.VXLAN.Port)},
		{"vxlan.directRouting", fmt.Sprint(p.VXLAN.DirectRouting)},
		{"vxlan.mtu", fmt.Sprint(p.VXLAN.MTU)},
		{"vxlan.udpChecksum", fmt.Sprint(p.VXLAN.UDPChecksum)},
		{"vxlan.generation", fmt.Sprint(p.VXLAN.Generation)},
	}
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
