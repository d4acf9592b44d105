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
	switch {
	case s.ASN == ASNInternal && perNode && s.LocalASN == 0:
		c.report("asn", "is internal, but the Fabric's bgp.asn is perNode: nobody else has a node's AS")
	case s.RouteReflector != nil && (perNode || isNumber && isCommon && remote != common):
		c.report("routeReflector", "is set, but the Fabric's bgp.asn is %s: routes are only reflected within an AS", own)
	case s.Peer.Nodes != nil && isCommon && s.LocalASN == 0 && s.ASN == ASNExternal:
		c.report("asn", "is external, but every node has AS %s", own)
	case s.Peer.Nodes != nil && isNumber && isCommon && remote != common:
		c.report("asn", "is %s, but every node has AS %s", s.ASN, own)
	case s.Peer.Nodes != nil && isNumber && perNode:
		c.report("asn", "is %s, but every node has an AS of its own, want external", s.ASN)
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
		for _, near := range c.meet(p.Spec.Nodes, q.Spec.Nodes) {
			if far := c.farEnd(&p.Spec, &q.Spec, near); far != "" {
				c.report("peer", "BGPPeer %s has a session with %s too, on %s", q.Name, far, near)
				break
			}
		}
	}
}

// farEnd names a far end that two objects have in common for a node that both
// select, "" where there is none.
func (c *checker) farEnd(p, q *fabric.BGPPeerSpec, near string) string {
	a, b := &p.Peer, &q.Peer
	switch {
	case a.Gateways != "" && b.Gateways != "":
		return "the gateways"
	case a.Address.IsValid() && a.Address == b.Address:
		return a.Address.String()
	case a.Interface != "" && a.Interface == b.Interface:
		return a.Interface
	case a.Range.IsValid() && b.Range.IsValid() && a.Range.Overlaps(b.Range):
		return b.Range.String()
	case a.Nodes != nil && b.Nodes != nil:
		for _, far := range c.meet(a.Nodes, b.Nodes) {
			if far != near || far == anyNode { // no node has a session with itself
				return far
			}
		}
	}
	return ""
}

const anyNode = "every node that both select"

// meet names nodes that two selectors have in common, two at most; or any,
// where one selector takes in all of the other.
func (c *checker) meet(a, b fabric.Selector) []string {
	var both []string
	for _, n := range c.nodes {
		if len(both) < 2 && a.Matches(n.Labels) && b.Matches(n.Labels) {
			both = append(both, "node "+n.Name)
		}
	}
	if len(both) == 0 && (a.Matches(b) || b.Matches(a)) {
		both = append(both, anyNode)
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
			if both := c.meet(p.Spec.Nodes, q.Spec.Nodes); len(both) > 0 {
				c.report(at, "BGPPrefix %s announces %s too, on %s", q.Name, prefix, both[0])
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
