package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"github.com/weft-net/weft/fabric"
)

// Conflict is an object that cannot do what it says because of another one.
type Conflict struct {
	Kind, Name string // of the object
	Path       string // of the value, like "spec.import[0]"
	Text       string // what is wrong with it
	// Missing is set where the other object is one that there is none of.
	Missing bool
}

// CheckObjects says in what objects that are fine by themselves contradict
// each other or the Fabric. bgp and spec may be nil. Without nodes it finds what
// is wrong whatever their labels are.
func CheckObjects(bgp *fabric.BGP, spec *fabric.Spec, nodes []*fabric.Peer) []Conflict {
	if bgp == nil {
		return nil
	}
	c := checker{bgp: bgp, spec: spec, nodes: nodes}
	for i := range bgp.Peers {
		p := &bgp.Peers[i]
		c.at("BGPPeer", p.Name)
		c.names(p)
		if spec != nil {
			c.families(&p.Spec)
			c.asn(&p.Spec)
			c.keepalive(&p.Spec)
		}
		c.sessions(p, bgp.Peers[:i])
	}
	for i := range bgp.Policies {
		c.at("BGPPolicy", bgp.Policies[i].Name)
		c.peers(&bgp.Policies[i].Spec)
	}
	for i := range bgp.Prefixes {
		p := &bgp.Prefixes[i]
		c.at("BGPPrefix", p.Name)
		c.prefixes(p, bgp.Prefixes[:i])
	}
	return c.found
}

// checker goes from object to object and collects.
type checker struct {
	bgp   *fabric.BGP
	spec  *fabric.Spec
	nodes []*fabric.Peer

	kind, name string // of the object that is looked at
	found      []Conflict
}

func (c *checker) at(kind, name string) { c.kind, c.name = kind, name }

func (c *checker) report(path, format string, args ...any) {
	c.found = append(c.found, Conflict{Kind: c.kind, Name: c.name, Path: join("spec", path), Text: fmt.Sprintf(format, args...)})
}

// missing reports a name that is not among those that there are.
func (c *checker) missing(path, kind, name string, known []string) {
	c.report(path, "there is no %s %s%s", kind, name, didYouMean(nearest(name, known)))
	c.found[len(c.found)-1].Missing = true
}

// names finds policies that are not there.
func (c *checker) names(p *fabric.BGPPeer) {
	var known []string
	for _, policy := range c.bgp.Policies {
		known = append(known, policy.Name)
	}
	for _, l := range []struct {
		path  string
		names []string
	}{{"import", p.Spec.Import}, {"export", p.Spec.Export}} {
		for i, name := range l.names {
			if !slices.Contains(known, name) {
				c.missing(item(l.path, i), "BGPPolicy", name, known)
			}
		}
	}
}

// peers finds sessions that are not there.
func (c *checker) peers(s *fabric.BGPPolicySpec) {
	var known []string
	for _, p := range c.bgp.Peers {
		known = append(known, p.Name)
	}
	for i := range s.Rules {
		for j, name := range s.Rules[i].Match.Peers {
			_, err := netip.ParseAddr(name)
			if err != nil && !slices.Contains(known, name) {
				c.missing(item(item("rules", i)+".match.peers", j), "BGPPeer", name, known)
			}
		}
	}
}

func (c *checker) families(s *fabric.BGPPeerSpec) {
	for i, name := range s.Families {
		for _, f := range fabric.Families {
			if f.String() == name && !c.spec.Network.Get(f).IsValid() {
				c.report(item("families", i), "%s is not a family of the fabric: its network.%s is not set", name, name)
			}
		}
	}
}

// asn finds far ends that cannot be in the AS they are said to be in.
func (c *checker) asn(s *fabric.BGPPeerSpec) {
	own := c.spec.BGP.ASN
	remote, isNumber := asNumber(s.ASN)
	common, isCommon := asNumber(own)
	perNode := own == fabric.ASNPerNode
	isOther := isNumber && (perNode || isCommon && remote != common)
	switch {
	case s.LocalASN != 0: // then the Fabric's number is not told
	case s.ASN == ASNInternal && perNode:
		c.report("asn", "is internal, but the Fabric's bgp.asn is perNode: nobody else has a node's AS")
	case s.RouteReflector != nil && isOther:
		c.report("routeReflector", "is set, but the far end is not in the nodes' AS, within which alone routes are reflected")
	case s.Peer.Nodes != nil && (isOther || isCommon && s.ASN == ASNExternal):
		c.report("asn", "is %s, but the nodes' is %s, by the Fabric's bgp.asn", s.ASN, own)
	}
}

func asNumber(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil
}

// keepalive compares with the hold time where that is the Fabric's.
func (c *checker) keepalive(s *fabric.BGPPeerSpec) {
	hold := c.spec.BGP.Timers.Hold
	if s.Timers.Hold == 0 && hold != 0 && s.Timers.Keepalive > hold/keepalivesPerHold {
		c.report("timers.keepalive", "%s is more than a third of the Fabric's hold (%s)", s.Timers.Keepalive, hold)
	}
}

// sessions finds objects that would make the same session.
func (c *checker) sessions(p *fabric.BGPPeer, before []fabric.BGPPeer) {
	for i := range before {
		q := &before[i]
		var near, far string
		if p.Spec.Peer.Nodes != nil && q.Spec.Peer.Nodes != nil {
			near, far = c.pair(&p.Spec, &q.Spec)
		} else if far = sameFarEnd(&p.Spec.Peer, &q.Spec.Peer); far != "" {
			near = c.meet(p.Spec.Nodes, q.Spec.Nodes)[0]
		}
		if near != "" {
			c.report("peer", "BGPPeer %s has the session of %s with %s too", q.Name, near, far)
		}
	}
}

// sameFarEnd names what two targets have in common on any node, "" for
// nothing.
func sameFarEnd(a, b *fabric.BGPTarget) string {
	switch {
	case a.Gateways != "" && b.Gateways != "":
		return "its gateways"
	case a.Address.IsValid() && a.Address == b.Address:
		return a.Address.String()
	case a.Interface != "" && a.Interface == b.Interface:
		return a.Interface
	case a.Range.IsValid() && b.Range.IsValid() && a.Range.Overlaps(b.Range):
		return b.Range.String()
	}
	return ""
}

// pair names two nodes between which both objects have a session, whichever
// side of the objects they are on.
func (c *checker) pair(p, q *fabric.BGPPeerSpec) (string, string) {
	for _, ends := range [][4]fabric.Selector{
		{p.Nodes, q.Nodes, p.Peer.Nodes, q.Peer.Nodes},
		{p.Nodes, q.Peer.Nodes, p.Peer.Nodes, q.Nodes},
	} {
		for _, near := range c.meet(ends[0], ends[1]) {
			for _, far := range c.meet(ends[2], ends[3]) {
				if near != "" && far != "" && (near != far || near == anyNode) { // none has one with itself
					return near, far
				}
			}
		}
	}
	return "", ""
}

const anyNode = "every node that both select"

// meet names up to two nodes that two selectors have in common, or any where
// one selector takes in all of the other; the rest is "".
func (c *checker) meet(a, b fabric.Selector) (both [2]string) {
	n := 0
	for _, node := range c.nodes {
		if n < len(both) && a.Matches(node.Labels) && b.Matches(node.Labels) {
			both[n] = "node " + node.Name
			n++
		}
	}
	if n == 0 && (a.Matches(b) || b.Matches(a)) {
		both[0] = anyNode
	}
	return both
}

// prefixes finds what belongs to leases, and what two objects announce.
func (c *checker) prefixes(p *fabric.BGPPrefix, before []fabric.BGPPrefix) {
	for i, prefix := range p.Spec.Prefixes {
		at := item("prefixes", i)
		if network, ok := c.leasable(prefix); ok {
			c.report(at, "%s overlaps the fabric's network %s, which nodes lease from (list it under reserved in the Fabric)", prefix, network)
		}
		for j := range before {
			q := &before[j]
			if !slices.Contains(q.Spec.Prefixes, prefix) {
				continue
			}
			if where := c.meet(p.Spec.Nodes, q.Spec.Nodes)[0]; where != "" {
				c.report(at, "BGPPrefix %s announces %s too, on %s", q.Name, prefix, where)
			}
		}
	}
}

// leasable finds the network of which a node could lease what overlaps p.
func (c *checker) leasable(p netip.Prefix) (netip.Prefix, bool) {
	if c.spec == nil || slices.ContainsFunc(c.spec.Reserved, func(r netip.Prefix) bool { return contains(r, p) }) {
		return netip.Prefix{}, false
	}
	for _, network := range c.spec.Networks() {
		if network.Overlaps(p) {
			return network, true
		}
	}
	return netip.Prefix{}, false
}
