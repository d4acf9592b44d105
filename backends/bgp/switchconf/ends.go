package switchconf

import (
	"fmt"
	"net/netip"
	"strings"

	"github.com/weft-net/weft/fabric"
)

// ends are the nodes' ends of the sessions that an object gives them with the
// switch.
func (d *deriver) ends(o fabric.BGPPeer) []end {
	if len(o.Spec.Peer.Interface) > 0 {
		return d.portEnds(o)
	}
	if d.listens(o) {
		return nil
	}
	var out []end
	for _, local := range d.targets(o.Spec.Peer) {
		var elsewhere []string
		for _, n := range d.Nodes {
			if !o.Spec.Nodes.Matches(n.Labels) {
				continue
			}
			addr := d.addrOf(o, n, local)
			if !addr.IsValid() {
				elsewhere = append(elsewhere, n.Name)
				continue
			}
			e := end{over: fabric.FamilyOf(addr), Neighbor: Neighbor{Node: n.Name, Address: addr, Local: local.Addr()}}
			if e, ok := d.withASN(o, n, e); ok {
				out = append(out, e)
			}
		}
		if len(elsewhere) > 0 {
			d.note("BGPPeer %s: no address in %s is known of %s: left out (if they are there, give it, or listen on the segment)", o.Name, local.Masked(), some(elsewhere))
		}
	}
	return out
}

// some names the first of many.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// listens reports whether sessions are taken from whole segments: several hops
// away is no segment, and what waits for us must be called by name.
func (d *deriver) listens(o fabric.BGPPeer) bool {
	return d.place.Listen && !o.Spec.Passive && !o.Spec.Peer.Range.IsValid() && o.Spec.Multihop <= 1 && o.Spec.GTSM <= 1
}

// ranges are the segments from which an object's sessions are taken.
func (d *deriver) ranges(o fabric.BGPPeer) []Segment {
	if !d.listens(o) {
		return nil
	}
	var out []Segment
	for _, local := range d.targets(o.Spec.Peer) {
		out = append(out, Segment{local.Masked(), local.Addr()})
	}
	return out
}

// targets are those of the switch's addresses that a node connects to, or
// expects to be called from.
func (d *deriver) targets(t fabric.BGPTarget) []netip.Prefix {
	var out []netip.Prefix
	for _, local := range d.place.Addrs {
		if t.Gateways != "" || t.Address == local.Addr() || t.Range.IsValid() && t.Range.Contains(local.Addr()) {
			out = append(out, local)
		}
	}
	return out
}

// addrOf is the address from which a node has its session with one of the
// switch's addresses; invalid where it is not known.
func (d *deriver) addrOf(o fabric.BGPPeer, n Node, local netip.Prefix) netip.Addr {
	over := fabric.FamilyOf(local.Addr())
	if a := o.Spec.SourceAddress; a.IsValid() {
		if fabric.FamilyOf(a) != over {
			return netip.Addr{}
		}
		return a
	}
	if a := onSegment(n, local); a.IsValid() {
		return a
	}
	if o.Spec.Multihop > 1 || o.Spec.GTSM > 1 {
		return n.Underlay.Get(over)
	}
	return netip.Addr{}
}

// onSegment returns the node's address there, invalid if none is known.
func onSegment(n Node, local netip.Prefix) netip.Addr {
	for _, a := range append([]netip.Addr{n.Underlay.IPv4, n.Underlay.IPv6}, n.Addrs...) {
		if a.IsValid() && local.Contains(a) && a != local.Addr() {
			return a
		}
	}
	return netip.Addr{}
}

// withASN completes an end with the node's AS, and notes why it cannot.
func (d *deriver) withASN(o fabric.BGPPeer, n Node, e end) (end, bool) {
	asn, err := d.asnOf(o, n)
	switch {
	case err != nil:
		d.note("BGPPeer %s, node %s: %v", o.Name, n.Name, err)
		return e, false
	case o.Spec.ASN == "internal" && asn != d.place.ASN:
		d.note("BGPPeer %s, node %s: it is in AS %d and expects this switch (AS %d) to be so too", o.Name, n.Name, asn, d.place.ASN)
		return e, false
	case o.Spec.ASN == "external" && asn == d.place.ASN:
		d.note("BGPPeer %s, node %s: it is in AS %d and expects this switch to be in another", o.Name, n.Name, asn)
		return e, false
	}
	e.ASN = asn
	return e, true
}

// portEnds are sessions between link-local addresses, one for each port.
func (d *deriver) portEnds(o fabric.BGPPeer) []end {
	var out []end
	for _, p := range d.place.Ports {
		if p.Node == "" {
			out = append(out, end{over: fabric.IPv6, Neighbor: Neighbor{Port: p.Name}})
			continue
		}
		for _, n := range d.Nodes {
			if !strings.EqualFold(n.Name, p.Node) || !o.Spec.Nodes.Matches(n.Labels) {
				continue
			}
			if e, ok := d.withASN(o, n, end{over: fabric.IPv6, Neighbor: Neighbor{Node: n.Name, Port: p.Name}}); ok {
				out = append(out, e)
			}
		}
	}
	return out
}
