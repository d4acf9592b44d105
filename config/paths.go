package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// maxGeneration bounds how often a fabric can have moved its overlay.
const maxGeneration = 1 << 20

// validatePaths checks spec.paths, overlay, pathRules and probe.
func validatePaths(s *fabric.Spec) *problem {
	if err := validatePathList("", s.Paths, s.Overlay); err != nil {
		return err
	}
	for i := range s.PathRules {
		if err := validatePathRule(item("pathRules", i), &s.PathRules[i]); err != nil {
			return err
		}
	}
	if s.Probe.Port == 0 {
		return problemf("probe.port", "0 is not a UDP port (1 to 65535)")
	}
	return nil
}

func validatePathRule(path string, r *fabric.PathRule) *problem {
	if err := validateSelector(join(path, "nodes"), r.Nodes); err != nil {
		return err
	}
	if r.Peers != nil { // nil: all
		if err := validateSelector(join(path, "peers"), r.Peers); err != nil {
			return err
		}
	}
	if r.Paths == nil && r.Overlay == "" {
		return problemf(path, "has neither paths nor overlay, want one of them")
	}
	return validatePathList(path, r.Paths, r.Overlay)
}

// validatePathList checks a list of paths, or the word for one; both may be
// left out.
func validatePathList(path string, list []fabric.PathKind, overlay string) *problem {
	if list == nil {
		return validateOverlay(join(path, "overlay"), overlay)
	}
	path = join(path, "paths")
	switch {
	case overlay != "":
		return problemf(path, "overlay is set too, which is a word for such a list; want one of them")
	case len(list) == 0:
		return problemf(path, "is empty, pods would reach no other node (want some of direct, bgp, vxlan, the preferred one first)")
	}
	known := []string{string(fabric.PathDirect), string(fabric.PathBGP), string(fabric.PathVXLAN)}
	for i, kind := range list {
		name := string(kind)
		switch {
		case !slices.Contains(known, name):
			return problemf(item(path, i), "%q is not a path, want direct, bgp or vxlan%s", name, didYouMean(nearest(name, known)))
		case slices.Contains(list[:i], kind):
			return problemf(item(path, i), "%s is listed twice", name)
		}
	}
	return nil
}

func validateOverlay(path, word string) *problem {
	known := []string{fabric.OverlayAlways, fabric.OverlayCrossSubnet, fabric.OverlayFallback, fabric.OverlayNever}
	if word != "" && !slices.Contains(known, word) {
		return problemf(path, "%q does not say when to encapsulate, want %s%s", word, strings.Join(known, ", "), didYouMean(nearest(word, known)))
	}
	return nil
}

// CheckPlan says what is wrong with a plan for a fabric with this spec, nil if
// nothing is; without a spec, what is wrong for any.
func CheckPlan(spec *fabric.Spec, p fabric.Plan) error {
	if err := validatePathList("", p.Paths, p.Overlay); err != nil {
		return err
	}
	if spec == nil {
		spec = &fabric.Spec{Network: fabric.PerFamily[netip.Prefix]{IPv4: netip.PrefixFrom(netip.IPv4Unspecified(), 0)}} // its MTUs are the widest range
	}
	if err := validateBackend(p.Apply(spec)); err != nil {
		return err
	}
	return nil
}

// CheckMove says why a running fabric cannot move from one plan to another, nil
// if it can. Two overlays exist side by side meanwhile, so the kernel must be able
// to tell them apart: the generation counts them, and no two devices have one
// VNI and port (vxlan_vni_in_use in drivers/net/vxlan/vxlan_core.c).
func CheckMove(from, to fabric.Plan) error {
	a, b := from.VXLAN, to.VXLAN
	same := a.VNI == b.VNI && a.Port == b.Port
	switch {
	case same && a.UDPChecksum != b.UDPChecksum:
		return fmt.Errorf("vxlan.udpChecksum: %v -> %v needs another vxlan.port or vxlan.vni as well: a host has one device for each", a.UDPChecksum, b.UDPChecksum)
	case same && a.Generation != b.Generation:
		return fmt.Errorf("vxlan.generation: %d -> %d, but it is the same overlay", a.Generation, b.Generation)
	case !same && b.Generation != a.Generation+1:
		return fmt.Errorf("vxlan.generation: %d -> %d, want %d: it is the next overlay", a.Generation, b.Generation, a.Generation+1)
	}
	return nil
}

// KeepGeneration gives a spec from a file the generation of the overlay that
// the stored one has. Migrations count it; whoever writes files need not know.
func KeepGeneration(stored, written *fabric.Spec) {
	if stored != nil && written.VXLAN.Generation == 0 {
		written.VXLAN.Generation = stored.VXLAN.Generation
	}
}
