package bgp

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// ASNOf is the AS number of a node. Everybody derives it from the same
// records, so a node's own is the one that its peers expect. The error says
// what is missing.
func ASNOf(spec *fabric.BGPSpec, n *fabric.Node) (uint32, error) {
	switch spec.ASN {
	case fabric.ASNPerNode, "":
		if n.Index == 0 {
			return 0, fmt.Errorf("AS number of node %s: its index is not known yet", n.Name)
		}
		const most = 4294967294 - fabric.ASNBase // RFC 6996, section 5
		if n.Index > most {
			return 0, fmt.Errorf("AS number of node %s: index %d is beyond the private AS numbers", n.Name, n.Index)
		}
		return fabric.ASNBase + n.Index, nil
	case fabric.ASNPerLabel:
		label := cmp.Or(spec.ASNLabel, defaultASNLabel)
		value, ok := n.Labels[label]
		if !ok {
			return 0, fmt.Errorf("AS number of node %s: it has no label %s", n.Name, label)
		}
		asn, ok := spec.ASNs[value]
		if !ok || asn == 0 {
			return 0, fmt.Errorf("AS number of node %s: spec.bgp.asns has none for %s=%s", n.Name, label, value)
		}
		return asn, nil
	}
	asn, err := config.ParseASN(spec.ASN)
	if err != nil {
		return 0, fmt.Errorf("AS number of the fabric: %w", err)
	}
	return asn, nil
}

const defaultASNLabel = "rack"

// RouterIDOf is the BGP identifier of a node; invalid while its index is not
// known and it has no IPv4 underlay address. Within an AS it must be unique
// (RFC 6286), as are underlay addresses and indexes. An index is below 2^20,
// so 0.0.0.0/12, where no host is, never meets an underlay address.
func RouterIDOf(spec *fabric.BGPSpec, n *fabric.Node) netip.Addr {
	if a := n.Underlay.IPv4; a.IsValid() && spec.RouterID != fabric.RouterIDIndex {
		return a
	}
	if n.Index == 0 {
		return netip.Addr{}
	}
	var id [4]byte
	binary.BigEndian.PutUint32(id[:], n.Index)
	return netip.AddrFrom4(id)
}

// Merge puts the objects of a node's own file over the fabric's: one of the
// same kind and name replaces. Neither argument is changed; both may be nil.
func Merge(base, own *fabric.BGP) *fabric.BGP {
	switch {
	case own == nil:
		return base
	case base == nil:
		return own
	}
	return &fabric.BGP{
		Peers:    overlay(base.Peers, own.Peers, func(o fabric.BGPPeer) string { return o.Name }),
		Policies: overlay(base.Policies, own.Policies, func(o fabric.BGPPolicy) string { return o.Name }),
		Prefixes: overlay(base.Prefixes, own.Prefixes, func(o fabric.BGPPrefix) string { return o.Name }),
	}
}

func overlay[T any](base, own []T, name func(T) string) []T {
	var out []T
	for _, o := range base {
		if !slices.ContainsFunc(own, func(mine T) bool { return name(mine) == name(o) }) {
			out = append(out, o)
		}
	}
	out = append(out, own...)
	slices.SortFunc(out, func(a, b T) int { return strings.Compare(name(a), name(b)) })
	return out
}
