package bgp

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// end is the far end of one session of an object.
type end struct {
	addr  netip.Addr   // invalid for an interface or a range
	iface string       // the neighbour is looked up there
	rng   netip.Prefix // anyone in it
	node  *fabric.Peer // nil: not one of the fabric's nodes
	// client: it is a client of ours; reflector: we reflect.
	client, reflector bool
	passive           bool
}

func (e end) String() string {
	switch {
	case e.iface != "":
		return e.iface
	case e.rng.IsValid():
		return e.rng.String()
	}
	return e.addr.String()
}

// sessions adds those of an object that targets one far end or several.
func (p *planner) sessions(out []Session, o *fabric.BGPPeer) []Session {
	ends := p.ends(o)
	out = slices.Grow(out, len(ends))
	if len(p.taken) == 0 {
		p.taken = make(map[netip.Addr]string, len(ends))
	}
	for _, e := range ends {
		s, ok := p.session(o, e)
		if !ok {
			continue
		}
		if e.addr.IsValid() {
			if other := p.taken[e.addr]; other != "" {
				p.fault(peerKind+o.Name, "a session with %s is configured already, as %s", e.addr, other)
				continue
			}
			p.taken[e.addr] = s.Key
		}
		out = append(out, s)
	}
	return out
}

// ranges is the listen range of an object. One that overlaps another's would
// leave it to chance which of the two an incoming session belongs to.
func (p *planner) ranges(o *fabric.BGPPeer, others []Range) []Range {
	if !o.Spec.Nodes.Matches(p.Self.Labels) {
		return nil
	}
	prefix := o.Spec.Peer.Range.Masked()
	for _, r := range others {
		if r.Prefix.Overlaps(prefix) {
			p.fault(peerKind+o.Name, "its range %s overlaps %s of %s", prefix, r.Prefix, r.Template.Key)
			return nil
		}
	}
	reflects := o.Spec.RouteReflector != nil // whoever comes is a client
	s, ok := p.session(o, end{rng: prefix, passive: true, client: reflects, reflector: reflects})
	if !ok {
		return nil
	}
	return []Range{{Prefix: prefix, Template: s}}
}

// ends are the far ends that an object means on this node.
func (p *planner) ends(o *fabric.BGPPeer) []end {
	t := &o.Spec.Peer
	if t.Nodes != nil {
		return p.nodeEnds(o)
	}
	if !o.Spec.Nodes.Matches(p.Self.Labels) {
		return nil
	}
	switch {
	case t.Gateways != "":
		return p.gatewayEnds(o)
	case t.Interface != "":
		return []end{{iface: t.Interface, passive: o.Spec.Passive}}
	case t.Address.IsValid():
		a := t.Address.Unmap()
		if p.isSelf(a) {
			return nil // the object selects the far end too, as {} does
		}
		// A router, say, that must know the pods' subnets to forward to them: with
		// RouteReflector it is a client of the nodes that the object selects.
		reflects := o.Spec.RouteReflector != nil
		return []end{{addr: a, passive: o.Spec.Passive, client: reflects, reflector: reflects}}
	}
	p.fault(peerKind+o.Name, "it names no far end")
	return nil
}

func (p *planner) isSelf(a netip.Addr) bool {
	return a == p.Self.Underlay.IPv4 || a == p.Self.Underlay.IPv6
}

func (p *planner) gatewayEnds(o *fabric.BGPPeer) []end {
	var out []end
	for _, g := range slices.Compact(slices.SortedFunc(slices.Values(p.Gateways), netip.Addr.Compare)) {
		if g = g.Unmap(); !p.isSelf(g) {
			out = append(out, end{addr: g, passive: o.Spec.Passive})
		}
	}
	if len(out) == 0 {
		p.fault(peerKind+o.Name, "this node has no default route, so no gateway to peer with")
	}
	return out
}

// nodeEnds are the nodes on the other side of a pair: an object means one
// session for each node that Nodes selects and each that Peer.Nodes does, and
// both ends configure it. With RouteReflector the latter reflect; two of them
// are no clients of each other (RFC 4456, section 4).
func (p *planner) nodeEnds(o *fabric.BGPPeer) []end {
	near, far := o.Spec.Nodes.Matches(p.Self.Labels), o.Spec.Peer.Nodes.Matches(p.Self.Labels)
	if !near && !far {
		return nil
	}
	reflects := o.Spec.RouteReflector != nil && far
	out := make([]end, 0, len(p.Peers))
	for _, peer := range p.Peers {
		isFar := o.Spec.Peer.Nodes.Matches(peer.Labels)
		if peer.ID == p.Self.ID || !(near && isFar || far && o.Spec.Nodes.Matches(peer.Labels)) {
			continue
		}
		a := p.common(peer)
		if !a.IsValid() {
			p.fault(peerKind+o.Name, "node %s and this one have no underlay address of one family", peer.Name)
			continue
		}
		e := end{addr: a, node: peer, reflector: reflects, client: reflects && !isFar}
		e.passive = p.waitsFor(peer, e.client, o.Spec.RouteReflector != nil && isFar && !far)
		out = append(out, e)
	}
	return out
}

// common is the address of a node in a family that both have, IPv4 first:
// both ends come to the same family.
func (p *planner) common(peer *fabric.Peer) netip.Addr {
	for _, f := range fabric.Families {
		if a := peer.Underlay.Get(f); a.IsValid() && p.Self.Underlay.Get(f).IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

// waitsFor reports whether the other node dials. One of the two does, so that
// their connections never collide (RFC 4271, section 6.8): clients dial their
// reflectors, and else the node with the smaller id dials.
func (p *planner) waitsFor(peer *fabric.Peer, client, reflector bool) bool {
	if client || reflector {
		return client
	}
	return p.Self.ID > peer.ID
}

// session is the configuration of one session.
func (p *planner) session(o *fabric.BGPPeer, e end) (Session, bool) {
	spec := &o.Spec
	far := e.String()
	s := Session{
		Key: o.Name + "/" + far,
		Opening: Opening{
			Address: e.addr, Interface: e.iface, Passive: e.passive,
			SourceAddress: spec.SourceAddress.Unmap(), SourceInterface: spec.SourceInterface,
			Port: cmp.Or(spec.Port, fabric.BGPPort), Multihop: spec.Multihop, GTSM: spec.GTSM,
			AllowOwnASN: spec.AllowOwnASN, ReflectorClient: e.client,
		},
		MaxPrefixes: cmp.Or(spec.MaxPrefixes, fabric.BGPMaxPrefixes),
		NextHopSelf: spec.NextHopSelf, Description: spec.Description,
	}
	if e.node != nil && spec.Port == 0 {
		s.Port = p.global.Port // that of every node
	}
	if s.Description == "" && e.node != nil {
		s.Description = "node " + e.node.Name
	}
	if e.reflector {
		s.ClusterID = spec.RouteReflector.ClusterID
	}
	if s.SourceAddress.IsValid() && e.addr.IsValid() && s.SourceAddress.Is4() != e.addr.Is4() {
		p.fault(peerKind+o.Name, "source address %s cannot reach %s: they are of different families", s.SourceAddress, e.addr)
		return Session{}, false
	}
	if !p.numbers(o, e, &s) || !p.families(o, e, &s) {
		return Session{}, false
	}
	p.timers(spec.Timers, &s)
	if s.Password, s.HeldDown = p.secret(spec.Auth.MD5File); s.HeldDown != "" {
		p.fault(peerKind+o.Name, "%s", s.HeldDown) // a session that is up may go on, see Stage
	}
	external := s.RemoteASN != cmp.Or(s.LocalASN, p.global.ASN)
	if external && e.client {
		s.ReflectorClient, s.ClusterID = false, netip.Addr{}
		p.fault(peerKind+o.Name, "routes are not reflected to %s: it is in another AS (RFC 4456)", far)
	}
	rules := p.rules(o, far, external)
	s.Import, s.Export = rules.in, rules.out
	return s, true
}

// numbers sets the AS numbers of both ends.
func (p *planner) numbers(o *fabric.BGPPeer, e end, s *Session) bool {
	local := cmp.Or(o.Spec.LocalASN, p.global.ASN)
	if local != p.global.ASN {
		s.LocalASN = local
	}
	switch o.Spec.ASN {
	case config.ASNInternal:
		s.RemoteASN = local
	case config.ASNExternal:
	default:
		n, err := config.ParseASN(o.Spec.ASN)
		if err != nil {
			p.fault(peerKind+o.Name, "asn: %v", err)
			return false
		}
		s.RemoteASN = n
	}
	if e.node == nil {
		return true
	}
	// A node's number is known, whatever the object leaves open.
	remote := o.Spec.LocalASN
	if remote == 0 {
		var err error
		if remote, err = ASNOf(&p.Spec.BGP, &e.node.Node); err != nil {
			p.fault(peerKind+o.Name, "%v", err)
			return false
		}
	}
	switch {
	case o.Spec.ASN == config.ASNExternal && remote == local:
		p.fault(peerKind+o.Name, "asn is external, but node %s is in AS %d like this one", e.node.Name, remote)
		return false
	case o.Spec.ASN != config.ASNExternal && remote != s.RemoteASN:
		p.fault(peerKind+o.Name, "asn is %s (AS %d), but node %s is in AS %d", o.Spec.ASN, s.RemoteASN, e.node.Name, remote)
		return false
	}
	s.RemoteASN = remote
	return true
}

// families sets which families a session carries. Where gateways are peers and
// nothing else is asked for, those of a family carry it, so that a switch with
// an address of each is not told everything twice.
func (p *planner) families(o *fabric.BGPPeer, e end, s *Session) bool {
	for _, f := range fabric.Families {
		asked := slices.Contains(o.Spec.Families, f.String())
		if len(o.Spec.Families) == 0 {
			asked = p.Spec.Network.Get(f).IsValid() && (o.Spec.Peer.Gateways == "" || p.carries(e.addr, f))
		}
		s.Families.Set(f, asked)
	}
	over4 := e.addr.Is4() || e.rng.IsValid() && e.rng.Addr().Is4()
	if s.Families.IPv6 && over4 && !p.Self.Underlay.IPv6.IsValid() {
		s.Families.IPv6 = false
		p.fault(peerKind+o.Name, "IPv6 routes cannot be told to %s: this node has no IPv6 underlay address for their next hop", e)
	}
	if s.Families == (fabric.PerFamily[bool]{}) {
		p.fault(peerKind+o.Name, "no family is left for the session with %s", e)
		return false
	}
	return true
}

func (p *planner) carries(gateway netip.Addr, f fabric.Family) bool {
	of := func(g netip.Addr) bool { return fabric.FamilyOf(g.Unmap()) == f }
	return of(gateway) || !slices.ContainsFunc(p.Gateways, of)
}

// timers come from the object, else from the Fabric, else are the defaults. A
// keepalive that is inherited never exceeds a third of the hold time (RFC
// 4271, section 4.4).
func (p *planner) timers(own fabric.BGPTimers, s *Session) {
	all := p.Spec.BGP.Timers
	pick := func(values ...fabric.Duration) time.Duration { return time.Duration(cmp.Or(values...)) }
	s.Hold = pick(own.Hold, all.Hold, fabric.BGPHold)
	s.Keepalive = min(pick(own.Keepalive, all.Keepalive, fabric.BGPKeepalive), max(s.Hold/3, time.Second).Truncate(time.Second))
	s.ConnectRetry = pick(own.ConnectRetry, all.ConnectRetry, fabric.BGPConnectRetry)
}

// maxPassword is the longest key of TCP-MD5 (TCP_MD5SIG_MAXKEYLEN in
// include/uapi/linux/tcp.h).
const maxPassword = 80

// secret is the password from a file, or why the session must not come up
// without it.
func (p *planner) secret(path string) (Secret, string) {
	if path == "" {
		return "", ""
	}
	c, ok := p.Secrets[path]
	switch {
	case !ok:
		return "", "password file " + path + " has not been read yet"
	case c.Err != "":
		return "", "password file " + path + ": " + c.Err
	case c.Secret == "":
		return "", "password file " + path + " is empty"
	case len(c.Secret) > maxPassword:
		return "", "password file " + path + " holds more than 80 bytes"
	}
	return c.Secret, ""
}
