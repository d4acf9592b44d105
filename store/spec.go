package store

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// setSpec takes over a new spec. Which subnets belong to the fabric follows
// from it, so all of them are judged again.
func (v *view) setSpec(spec *fabric.Spec) {
	v.spec = spec
	v.specProblem = ""
	v.staleProblems = true
	for _, r := range slices.Collect(maps.Values(v.subnets)) {
		v.setSubnet(r)
	}
}

// outsideOf says why a subnet does not belong to the fabric, or nothing. Such
// a record must not contend: a /8 written by hand would win against every
// lease inside it.
func outsideOf(spec *fabric.Spec, p netip.Prefix) string {
	if spec == nil {
		return ""
	}
	f := fabric.FamilyOf(p.Addr())
	network := spec.Network.Get(f)
	switch {
	case !network.IsValid():
		return fmt.Sprintf("%v is outside the fabric, which has no %v network", p, f)
	case p.Bits() < network.Bits() || !network.Contains(p.Addr()):
		return fmt.Sprintf("%v is outside the fabric's network %v", p, network)
	case p.Bits() == network.Bits() && spec.SubnetLength.Get(f) != p.Bits():
		return fmt.Sprintf("%v is the whole network, not a subnet of it", p)
	}
	return ""
}
