package config

import (
	"maps"
	"path/filepath"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// The words for the AS of a far end.
const (
	ASNExternal = "external" // any but our own
	ASNInternal = "internal" // our own
)

const (
	minMultihop    = 2 // 1 is what a session has anyway
	maxGTSM        = 254
	maxAllowOwnASN = 10
	maxPolicies    = 16
)

func newBGPPeer() *fabric.BGPPeerSpec { return new(fabric.BGPPeerSpec) }

// completeBGPPeer writes nothing out: what is not set is the Fabric's, which
// may change.
func completeBGPPeer(*fabric.BGPPeerSpec) {}

func validateBGPPeer(s *fabric.BGPPeerSpec) *problem {
	for _, check := range []func(*fabric.BGPPeerSpec) *problem{
		validateSelectors, validateTarget, validatePeerASN, validateSource, validateWhoDials,
		validateHops, validateFamilies, validateReflector, validatePeerPolicies, validateSent,
	} {
		if err := check(s); err != nil {
			return err
		}
	}
	switch {
	case s.Auth.MD5File != "" && !filepath.IsAbs(s.Auth.MD5File):
		// Not quoted: whoever takes it for the password itself wrote a secret.
		return problemf("auth.md5File", "is not an absolute path, want the file on the nodes that holds the password")
	case s.AllowOwnASN > maxAllowOwnASN:
		return problemf("allowOwnASN", "%d is out of range (0 to %d)", s.AllowOwnASN, maxAllowOwnASN)
	}
	if err := checkText(s.Description); err != nil {
		return problemf("description", "%v", err)
	}
	return validateTimers("timers", s.Timers)
}

func validateSelectors(s *fabric.BGPPeerSpec) *problem {
	if err := validateSelector("nodes", s.Nodes); err != nil {
		return err
	}
	if s.Peer.Nodes == nil {
		return nil
	}
	return validateSelector("peer.nodes", s.Peer.Nodes)
}

// validateSelector accepts labels of nodes; none at all have to be asked for.
func validateSelector(path string, s fabric.Selector) *problem {
	if s == nil {
		return problemf(path, "is missing, want labels of nodes like {rack: r1}, or {} for every node")
	}
	for _, key := range slices.Sorted(maps.Keys(s)) {
		if err := checkLabelKey(key); err != nil {
			return problemf(path, "%v", err)
		}
		if err := checkLabelValue(s[key]); err != nil {
			return problemf(join(path, key), "%v", err)
		}
	}
	return nil
}

// validateTarget accepts exactly one far end.
func validateTarget(s *fabric.BGPPeerSpec) *problem {
	t := &s.Peer
	var set []string
	for _, f := range []struct {
		name  string
		isSet bool
	}{
		{"gateways", t.Gateways != ""},
		{"address", t.Address.IsValid()},
		{"interface", t.Interface != ""},
		{"nodes", t.Nodes != nil},
		{"range", t.Range.IsValid()},
	} {
		if f.isSet {
			set = append(set, f.name)
		}
	}
	switch {
	case len(set) == 0:
		return problemf("peer", "is missing, want one of gateways, address, interface, nodes, range (like {gateways: all})")
	case len(set) > 1:
		return problemf("peer."+set[1], "peer.%s is set too, want one of them (an object each)", set[0])
	case t.Gateways != "" && t.Gateways != "all":
		return problemf("peer.gateways", "%q is not supported, want all", t.Gateways)
	}
	if t.Interface != "" {
		if _, err := parseInterface(t.Interface); err != nil {
			return problemf("peer.interface", "%v", err)
		}
	}
	if t.Address.IsValid() {
		if err := checkPeerAddress(t.Address); err != nil {
			return problemf("peer.address", "%v", err)
		}
	}
	if t.Range.IsValid() {
		return validatePrefix("peer.range", t.Range)
	}
	return nil
}

func validatePeerASN(s *fabric.BGPPeerSpec) *problem {
	if s.LocalASN != 0 {
		if err := checkASN(s.LocalASN); err != nil {
			return problemf("localASN", "%v", err)
		}
	}
	switch {
	case s.ASN == "":
		return problemf("asn", "is missing, want the number of the far end, external or internal")
	case s.ASN == ASNExternal && s.Peer.Nodes != nil && s.LocalASN != 0:
		return problemf("asn", "is external, but localASN holds for both ends of sessions between nodes, want internal")
	case s.ASN == ASNExternal, s.ASN == ASNInternal:
		return nil
	}
	if _, err := ParseASN(s.ASN); err != nil {
		return problemf("asn", "%v; want a number, external or internal%s", err, didYouMean(nearest(s.ASN, []string{ASNExternal, ASNInternal})))
	}
	return nil
}

// validateSource checks where a session starts from.
func validateSource(s *fabric.BGPPeerSpec) *problem {
	switch {
	case s.SourceAddress.IsValid() && s.SourceInterface != "":
		return problemf("sourceInterface", "sourceAddress is set too, want one of them")
	case s.SourceInterface != "" && s.Peer.Interface != "":
		return problemf("sourceInterface", "is set, but peer.interface says it already")
	case s.SourceAddress.IsValid():
		if err := checkPeerAddress(s.SourceAddress); err != nil {
			return problemf("sourceAddress", "%v", err)
		}
		if a := s.Peer.Address; a.IsValid() && a.Is4() != s.SourceAddress.Is4() {
			return problemf("sourceAddress", "%s and peer.address %s are not of one family", s.SourceAddress, a)
		}
	case s.SourceInterface != "":
		if _, err := parseInterface(s.SourceInterface); err != nil {
			return problemf("sourceInterface", "%v", err)
		}
	}
	return nil
}

// validateWhoDials refuses what would have no effect on who starts a session.
func validateWhoDials(s *fabric.BGPPeerSpec) *problem {
	if s.Passive && s.Peer.Nodes != nil {
		return problemf("passive", "is set, but nodes settle among themselves who starts a session")
	}
	if !s.Peer.Range.IsValid() {
		return nil
	}
	for _, c := range []struct {
		name  string
		isSet bool
	}{
		{"port", s.Port != 0},
		{"sourceAddress", s.SourceAddress.IsValid()},
		{"sourceInterface", s.SourceInterface != ""},
		{"timers.connectRetry", s.Timers.ConnectRetry != 0},
	} {
		if c.isSet {
			return problemf(c.name, "is set, but sessions of peer.range are started by the far end")
		}
	}
	return nil
}

func validateHops(s *fabric.BGPPeerSpec) *problem {
	switch {
	case s.Multihop != 0 && s.Peer.Interface != "":
		return problemf("multihop", "is set, but the neighbour at peer.interface is on the same link")
	case s.Multihop != 0 && s.GTSM != 0:
		return problemf("gtsm", "multihop is set too, want one of them (gtsm: 3 accepts what is up to 3 hops away)")
	case s.Multihop != 0 && s.Multihop < minMultihop:
		return problemf("multihop", "%d is what a session has anyway (%d to 255, or leave it out)", s.Multihop, minMultihop)
	case s.GTSM > maxGTSM:
		return problemf("gtsm", "%d is out of range (1 for a neighbour on the same link, up to %d)", s.GTSM, maxGTSM)
	}
	return nil
}

func validateFamilies(s *fabric.BGPPeerSpec) *problem {
	for i, f := range s.Families {
		at := item("families", i)
		switch {
		case f != fabric.IPv4.String() && f != fabric.IPv6.String():
			return problemf(at, "%q is not a family, want ipv4 or ipv6", f)
		case slices.Contains(s.Families[:i], f):
			return problemf(at, "%s is listed twice", f)
		}
	}
	return nil
}

func validateReflector(s *fabric.BGPPeerSpec) *problem {
	r := s.RouteReflector
	if r == nil {
		return nil
	}
	id := r.ClusterID
	switch {
	case s.Peer.Nodes == nil && !s.Peer.Address.IsValid() && !s.Peer.Range.IsValid():
		return problemf("routeReflector", "is set, but peer has neither nodes, which picks the reflectors, nor an address or range of clients")
	case s.ASN == ASNExternal:
		return problemf("asn", "is external, but routes are only reflected within an AS (RFC 4456), want internal")
	case !id.IsValid():
		return problemf("routeReflector.clusterID", "is missing, want a number in the form of an IPv4 address, the same for all reflectors of these nodes (like 192.0.2.1)")
	case !id.Is4() || id.IsUnspecified():
		return problemf("routeReflector.clusterID", "%s is not a cluster id (in the form of an IPv4 address, like 192.0.2.1)", id)
	}
	return nil
}

func validatePeerPolicies(s *fabric.BGPPeerSpec) *problem {
	for _, c := range []struct {
		path  string
		names []string
	}{{"import", s.Import}, {"export", s.Export}} {
		if len(c.names) > maxPolicies {
			return problemf(c.path, "names %d policies, want %d at most", len(c.names), maxPolicies)
		}
		for i, name := range c.names {
			if _, err := parseNodeName(name); err != nil {
				return problemf(item(c.path, i), "%q is not the name of a BGPPolicy", name)
			}
			if slices.Contains(c.names[:i], name) {
				return problemf(item(c.path, i), "%s is listed twice", name)
			}
		}
	}
	return nil
}

// validateSent checks what is attached to routes on their way out.
func validateSent(s *fabric.BGPPeerSpec) *problem {
	if s.ASN == ASNExternal && s.LocalPreference != nil {
		return problemf("localPreference", "is not sent to another AS (RFC 4271, section 5.1.5)")
	}
	return validateAttributes("", &s.BGPAttributes)
}

func validateAttributes(path string, a *fabric.BGPAttributes) *problem {
	if err := validateCommunities(join(path, "communities"), a.Communities, ParseCommunity); err != nil {
		return err
	}
	if err := validateCommunities(join(path, "largeCommunities"), a.LargeCommunities, ParseLargeCommunity); err != nil {
		return err
	}
	if a.Prepend > maxPrepend {
		return problemf(join(path, "prepend"), "%d is out of range (0 to %d)", a.Prepend, maxPrepend)
	}
	return nil
}

// validateCommunities accepts a list of communities of one sort in which
// nothing is said twice, whatever the spelling.
func validateCommunities[C comparable](path string, list []string, parse func(string) (C, error)) *problem {
	seen := make(map[C]bool)
	for i, text := range list {
		c, err := parse(text)
		if err != nil {
			return problemf(item(path, i), "%v", err)
		}
		if seen[c] {
			return problemf(item(path, i), "%s is listed twice", text)
		}
		seen[c] = true
	}
	return nil
}
