package config

import (
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

const (
	maxVNI = 1<<24 - 1 // RFC 7348 section 5
	// maxMTU leaves room for VXLAN over IPv6 (70 bytes) in the largest packet.
	maxMTU = 65535 - 70
	// etcd's smallest lease is its election timeout rounded up, 2 s by default.
	minLiveness = 2 * time.Second
	maxTTL      = 10 * 365 * 24 * time.Hour
	// maxMinFree keeps a node with a single pod from leasing on and on.
	maxMinFree = 90
	// maxSubnetsMost bounds what each node adds to every other's routes.
	maxSubnetsMost = 64
	// minReturnAfter is the quarantine of a freed address (ipam.Quarantine): the
	// node that leases the subnet next knows nothing of it.
	minReturnAfter = 2 * time.Minute
)

// minMTU is the smallest that a link may have: RFC 791 section 3.2, RFC 8200
// section 5.
var minMTU = fabric.PerFamily[int]{IPv4: 576, IPv6: 1280}

// longestSubnet leaves addresses for the bridge and for at least one pod.
var longestSubnet = fabric.PerFamily[int]{IPv4: 30, IPv6: 126}

// unusable are addresses that no pod can have, and why (RFC 6890).
var unusable = []struct {
	prefix netip.Prefix
	what   string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "this network"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("255.255.255.255/32"), "broadcast"},
	{netip.MustParsePrefix("::/8"), "loopback and other special addresses"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
}

// validateSpec checks a complete spec by itself. What depends on leases or on
// the hosts' addresses is CheckChange's and CheckUnderlay's matter.
func validateSpec(s *fabric.Spec) *problem {
	if len(s.Networks()) == 0 {
		return problemf("network", "is missing, want ipv4, ipv6 or both (like {ipv4: 10.244.0.0/16})")
	}
	for _, f := range fabric.Families {
		if err := validateFamily(s, f); err != nil {
			return err
		}
	}
	for _, check := range []func(*fabric.Spec) *problem{validateReserved, validateBackend, validatePaths, validateBGP, validateLease, validateAddresses} {
		if err := check(s); err != nil {
			return err
		}
	}
	return validatePrefixes("masquerade.except", s.Masquerade.Except)
}

func validateFamily(s *fabric.Spec, f fabric.Family) *problem {
	network, length := s.Network.Get(f), s.SubnetLength.Get(f)
	path, lengthPath := "network."+f.String(), "subnetLength."+f.String()
	if !network.IsValid() {
		if length != 0 {
			return problemf(lengthPath, "is set, but %s is not", path)
		}
		return nil
	}
	if got := fabric.FamilyOf(network.Addr()); got != f && !network.Addr().Is4In6() {
		return problemf(path, "%s is %s, it belongs under network.%s", network, got, got)
	}
	if err := validatePrefix(path, network); err != nil {
		return err
	}
	for _, u := range unusable {
		if u.prefix.Overlaps(network) {
			return problemf(path, "%s holds %s (%s), which pods cannot have", network, u.prefix, u.what)
		}
	}
	longest := longestSubnet.Get(f)
	switch {
	case network.Bits() > longest:
		return problemf(path, "%s is too small, a node's subnet alone has a /%d or more", network, longest)
	case length < network.Bits():
		return problemf(lengthPath, "%d leaves no subnet: the network %s is smaller than one node's /%d", length, network, length)
	case length > longest:
		return problemf(lengthPath, "%d leaves no room for pods, the longest is %d", length, longest)
	}
	return nil
}

// validatePrefix accepts a network in its canonical form.
func validatePrefix(path string, p netip.Prefix) *problem {
	switch {
	case !p.IsValid():
		return problemf(path, "is not a network (like 10.244.0.0/16 or fd00:10:244::/48)")
	case p.Addr().Is4In6():
		if p.Bits() >= 96 {
			p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
		}
		return problemf(path, "is an IPv4 network written as IPv6 (did you mean %s?)", p.Masked())
	case p != p.Masked():
		return problemf(path, "%s has host bits set (did you mean %s?)", p, p.Masked())
	}
	return nil
}

// validatePrefixes accepts a list in which nothing is said twice.
func validatePrefixes(path string, list []netip.Prefix) *problem {
	for i, p := range list {
		at := fmt.Sprintf("%s[%d]", path, i)
		if err := validatePrefix(at, p); err != nil {
			return err
		}
		if j := slices.IndexFunc(list[:i], p.Overlaps); j >= 0 {
			return problemf(at, "%s overlaps %s, which is listed before it", p, list[j])
		}
	}
	return nil
}

func validateReserved(s *fabric.Spec) *problem {
	if err := validatePrefixes("reserved", s.Reserved); err != nil {
		return err
	}
	for i, p := range s.Reserved {
		at := fmt.Sprintf("reserved[%d]", i)
		j := slices.IndexFunc(s.Networks(), p.Overlaps)
		if j < 0 {
			return problemf(at, "%s is not in the fabric's network, so nothing of it would be leased anyway", p)
		}
		if n := s.Networks()[j]; p.Bits() <= n.Bits() {
			return problemf(at, "%s leaves no subnet of %s", p, n)
		}
	}
	return nil
}

func validateBackend(s *fabric.Spec) *problem {
	switch known := []string{BackendVXLAN, BackendBGP}; {
	case !slices.Contains(known, s.Backend):
		return problemf("backend", "%q is not a backend, want vxlan or bgp%s", s.Backend, didYouMean(nearest(s.Backend, known)))
	case s.VXLAN.VNI == 0 || s.VXLAN.VNI > maxVNI:
		return problemf("vxlan.vni", "%d is out of range (1 to %d)", s.VXLAN.VNI, maxVNI)
	case s.VXLAN.Port == 0:
		return problemf("vxlan.port", "0 is not a UDP port (1 to 65535)")
	case s.VXLAN.Generation < 0 || s.VXLAN.Generation > maxGeneration:
		return problemf("vxlan.generation", "%d is out of range (0 to %d)", s.VXLAN.Generation, maxGeneration)
	case s.VXLAN.MTU == 0:
		return nil
	}
	for _, f := range fabric.Families {
		least := minMTU.Get(f)
		if s.Network.Get(f).IsValid() && (s.VXLAN.MTU < least || s.VXLAN.MTU > maxMTU) {
			return problemf("vxlan.mtu", "%d is out of range for %s (%d to %d, or 0 to choose by the underlay's)", s.VXLAN.MTU, f, least, maxMTU)
		}
	}
	return nil
}

func validateLease(s *fabric.Spec) *problem {
	ttl, liveness := time.Duration(s.Lease.TTL), time.Duration(s.Lease.Liveness)
	switch {
	case liveness < minLiveness:
		return problemf("lease.liveness", "%s is too short, etcd keeps no lease under %s", s.Lease.Liveness, minLiveness)
	case liveness%time.Second != 0:
		return problemf("lease.liveness", "%s is not whole seconds", s.Lease.Liveness)
	case ttl%time.Second != 0:
		return problemf("lease.ttl", "%s is not whole seconds", s.Lease.TTL)
	case ttl <= liveness:
		return problemf("lease.ttl", "%s is not longer than lease.liveness (%s): a node that stops would lose its subnet at once", s.Lease.TTL, s.Lease.Liveness)
	case ttl > maxTTL:
		return problemf("lease.ttl", "%s is more than 10 years", s.Lease.TTL)
	}
	return nil
}

func validateAddresses(s *fabric.Spec) *problem {
	switch a := s.Addresses; {
	case a.MinFree < 0 || a.MinFree > maxMinFree:
		return problemf("addresses.minFree", "%d is out of range (0 to %d percent)", a.MinFree, maxMinFree)
	case a.MaxSubnets < 1 || a.MaxSubnets > maxSubnetsMost:
		return problemf("addresses.maxSubnets", "%d is out of range (1 to %d)", a.MaxSubnets, maxSubnetsMost)
	case time.Duration(a.ReturnAfter) < minReturnAfter:
		return problemf("addresses.returnAfter", "%s is too short, a freed address rests for %s before another pod may have it", a.ReturnAfter, fabric.Duration(minReturnAfter))
	}
	return nil
}
