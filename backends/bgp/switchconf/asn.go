package switchconf

import (
	"maps"
	"math"
	"slices"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// sharedASNs are the ASes of a group's neighbours that other nodes of the
// fabric have too, here or elsewhere; of a range all that are shared.
func (d *deriver) sharedASNs(o fabric.BGPPeer, g Group) []uint32 {
	nodes := map[uint32]int{}
	for _, n := range d.Nodes {
		if asn, err := d.asnOf(o, n); err == nil {
			nodes[asn]++
		}
	}
	if asn, ok := d.oneASN(o); ok {
		nodes[asn] = 2 // all that will ever join
	}
	maps.DeleteFunc(nodes, func(asn uint32, n int) bool {
		here := len(g.Ranges) > 0 || slices.ContainsFunc(g.Neighbors, func(n Neighbor) bool { return n.ASN == asn || n.ASN == 0 })
		return n < 2 || !here || asn == d.place.ASN
	})
	return slices.Sorted(maps.Keys(nodes))
}

// onlyPorts reports whether a group's neighbours have ports for addresses: some
// systems name the AS numbers of such ones by group.
func (d *deriver) onlyPorts(g Group) bool {
	return !slices.ContainsFunc(g.Neighbors, func(n Neighbor) bool { return n.Port == "" })
}

// possibleASNs are those with which nodes can come.
func (d *deriver) possibleASNs(o fabric.BGPPeer, g Group) []ASNRange {
	asns := map[uint32]bool{}
	unknown := len(g.Ranges) > 0
	for _, n := range g.Neighbors {
		asns[n.ASN] = true
		unknown = unknown || n.ASN == 0
	}
	if unknown {
		clear(asns)
		asn, one := d.oneASN(o)
		switch {
		case one:
			asns[asn] = true
		case d.Spec.BGP.ASN == fabric.ASNPerLabel:
			for _, asn := range d.Spec.BGP.ASNs {
				asns[asn] = true
			}
		default:
			return []ASNRange{{fabric.ASNBase + 1, math.MaxUint32 - 1}} // RFC 6996
		}
	}
	delete(asns, d.place.ASN)
	var out []ASNRange
	for _, asn := range slices.Sorted(maps.Keys(asns)) {
		if len(out) > 0 && out[len(out)-1].Last+1 == asn {
			out[len(out)-1].Last = asn
			continue
		}
		out = append(out, ASNRange{asn, asn})
	}
	return out
}

// oneASN is the AS that all nodes come with, if that is one.
func (d *deriver) oneASN(o fabric.BGPPeer) (uint32, bool) {
	if o.Spec.LocalASN != 0 {
		return o.Spec.LocalASN, true
	}
	asn, err := config.ParseASN(d.Spec.BGP.ASN)
	return asn, err == nil
}

// asnOf is the AS with which a node comes to this switch.
func (d *deriver) asnOf(o fabric.BGPPeer, n Node) (uint32, error) {
	if o.Spec.LocalASN != 0 {
		return o.Spec.LocalASN, nil
	}
	return bgp.ASNOf(&d.Spec.BGP, &n.Node)
}
