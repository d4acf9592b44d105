package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// objectTable draws objects of one kind.
func objectTable(k config.Kind, objects []stored, wide bool) *table {
	switch k.Name {
	case "BGPPeer":
		return peerTable(objects, wide)
	case "BGPPolicy":
		return policyTable(objects, wide)
	case "BGPPrefix":
		return prefixTable(objects, wide)
	}
	return fabricTable(objects[0], wide)
}

func fabricTable(o stored, wide bool) *table {
	s := o.Fabric()
	head := []string{"NAME…", "NETWORK", "SUBNETS", "BACKEND", "VNI", "PORT"}
	row := []string{o.Metadata.Name, list(s.Networks()), lengths(s), s.Backend, fmt.Sprint(s.VXLAN.VNI), fmt.Sprint(s.VXLAN.Port)}
	if routes(s) {
		head = []string{"NAME…", "NETWORK", "SUBNETS", "BACKEND", "ASN", "HOLD", "RESTART"}
		row = []string{o.Metadata.Name, list(s.Networks()), lengths(s), s.Backend, s.BGP.ASN, s.BGP.Timers.Hold.String(), restart(s.BGP.GracefulRestart)}
	}
	if wide {
		head = append(head, "DIRECT", "PATHS", "MTU", "MASQUERADE", "TTL", "LIVENESS", "RESERVED", "REVISION")
		mtu := "auto"
		if s.VXLAN.MTU != 0 {
			mtu = fmt.Sprint(s.VXLAN.MTU)
		}
		row = append(row, yesNo(s.VXLAN.DirectRouting), pathsOf(s), mtu, yesNo(s.Masquerade.Enabled),
			s.Lease.TTL.String(), s.Lease.Liveness.String(), list(s.Reserved), fmt.Sprint(o.ModRev))
	}
	t := newTable(wide, head...)
	t.add(row...)
	return t
}

// lengths are those of the subnets, like "/24 /64".
func lengths(s *fabric.Spec) string {
	var out []string
	for _, f := range fabric.Families {
		if s.Network.Get(f).IsValid() {
			out = append(out, fmt.Sprintf("/%d", s.SubnetLength.Get(f)))
		}
	}
	return strings.Join(out, " ")
}

// pathsOf are the ways that nodes choose from, like "direct,bgp,vxlan +2 rules".
func pathsOf(s *fabric.Spec) string {
	var names []string
	for _, kind := range s.Plan().Default(false) {
		names = append(names, string(kind))
	}
	text := strings.Join(names, ",")
	if n := len(s.PathRules); n > 0 {
		text += " +" + count(n, "rule", "rules")
	}
	return text
}

func restart(r fabric.BGPRestart) string {
	if !r.Enabled {
		return "off"
	}
	return r.Time.String()
}

func peerTable(objects []stored, wide bool) *table {
	head := []string{"NAME…", "NODES…", "PEER…", "ASN", "IMPORT…", "EXPORT…"}
	if wide {
		head = append(head, "FAMILIES", "AUTH", "HOPS", "SOURCE", "MAX-PREFIXES", "SENDS", "DESCRIPTION", "REVISION")
	}
	t := newTable(wide, head...)
	for _, o := range objects {
		s, _ := o.Spec.(*fabric.BGPPeerSpec)
		row := []string{o.Metadata.Name, selector(s.Nodes), farEnd(s.Peer), s.ASN, names(s.Import), names(s.Export)}
		if wide {
			row = append(row, names(s.Families), orDash(s.Auth.MD5File), hops(s), source(s), maxPrefixes(s), attributes(s.BGPAttributes), orDash(s.Description), fmt.Sprint(o.ModRev))
		}
		t.add(row...)
	}
	return t
}

func policyTable(objects []stored, wide bool) *table {
	head := []string{"NAME…", "RULES", "ACCEPT", "REJECT", "NEXT"}
	if wide {
		head = append(head, "REVISION")
	}
	t := newTable(wide, head...)
	for _, o := range objects {
		s, _ := o.Spec.(*fabric.BGPPolicySpec)
		n := map[string]int{}
		for _, r := range s.Rules {
			n[r.Action]++
		}
		row := []string{o.Metadata.Name, fmt.Sprint(len(s.Rules)), fmt.Sprint(n[config.ActionAccept]), fmt.Sprint(n[config.ActionReject]), fmt.Sprint(n[config.ActionNext])}
		if wide {
			row = append(row, fmt.Sprint(o.ModRev))
		}
		t.add(row...)
	}
	return t
}

func prefixTable(objects []stored, wide bool) *table {
	head := []string{"NAME…", "NODES…", "PREFIXES…", "HEALTH"}
	if wide {
		head = append(head, "PROBED", "SENDS", "REVISION")
	}
	t := newTable(wide, head...)
	for _, o := range objects {
		s, _ := o.Spec.(*fabric.BGPPrefixSpec)
		health, probed := "-", "-"
		if h := s.Health; h != nil {
			health = strings.TrimSpace(h.HTTP + prefixed(" tcp ", h.TCP) + prefixed(" on ", h.Interface))
			probed = fmt.Sprintf("every %s, up after %d, down after %d", h.Interval, h.Rise, h.Fall)
		}
		row := []string{o.Metadata.Name, selector(s.Nodes), list(s.Prefixes), health}
		if wide {
			row = append(row, probed, attributes(s.BGPAttributes), fmt.Sprint(o.ModRev))
		}
		t.add(row...)
	}
	return t
}

// selector writes labels as people do, "all" for none.
func selector(s fabric.Selector) string {
	if len(s) == 0 {
		return "all"
	}
	var pairs []string
	for _, k := range slices.Sorted(maps.Keys(s)) {
		pairs = append(pairs, k+"="+s[k])
	}
	return strings.Join(pairs, ",")
}

func farEnd(t fabric.BGPTarget) string {
	switch {
	case t.Gateways != "":
		return "gateways"
	case t.Address.IsValid():
		return t.Address.String()
	case t.Interface != "":
		return "dev " + t.Interface
	case t.Range.IsValid():
		return "from " + t.Range.String()
	case len(t.Nodes) == 0:
		return "nodes"
	}
	return "nodes " + selector(t.Nodes)
}

func hops(s *fabric.BGPPeerSpec) string {
	switch {
	case s.Multihop != 0:
		return fmt.Sprintf("ttl %d", s.Multihop)
	case s.GTSM != 0:
		return fmt.Sprintf("gtsm %d", s.GTSM)
	}
	return "-"
}

func source(s *fabric.BGPPeerSpec) string {
	if s.SourceAddress.IsValid() {
		return s.SourceAddress.String()
	}
	return orDash(s.SourceInterface)
}

func maxPrefixes(s *fabric.BGPPeerSpec) string {
	if s.MaxPrefixes == 0 {
		return "-"
	}
	return fmt.Sprint(s.MaxPrefixes)
}

// attributes are those that are attached to routes, in few words.
func attributes(a fabric.BGPAttributes) string {
	out := slices.Concat(a.Communities, a.LargeCommunities)
	if a.MED != nil {
		out = append(out, fmt.Sprintf("med %d", *a.MED))
	}
	if a.LocalPreference != nil {
		out = append(out, fmt.Sprintf("preference %d", *a.LocalPreference))
	}
	if a.Prepend != 0 {
		out = append(out, fmt.Sprintf("prepend %d", a.Prepend))
	}
	return names(out)
}

func names(list []string) string { return orDash(strings.Join(list, " ")) }

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func prefixed(with, s string) string {
	if s == "" {
		return ""
	}
	return with + s
}
