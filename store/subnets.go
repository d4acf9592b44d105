package store

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// maxEnclosing bounds the compares per subnet; etcd takes 128 in one
// transaction (--max-txn-ops). See claimsSubnet why the rest is not needed.
const maxEnclosing = 48

// planSubnets finds the node's subnets and claims one more of each family that
// has fewer than are wanted: one at a time, so that a transaction stays within
// what etcd takes (see maxEnclosing). A node that has none yet gets all families
// or nothing; one that has some keeps them.
func (v *view) planSubnets(c claimant, p *plan) {
	p.state = Leased
	claims := &txn{prefix: p.txn.prefix}
	kept := false
	for _, f := range fabric.Families {
		if !v.spec.Network.Get(f).IsValid() {
			continue
		}
		own := v.ownSubnets(c, f, p.txn)
		kept = kept || len(own) > 0
		for _, r := range own {
			p.subnets = append(p.subnets, v.keepSubnet(c, r, p))
		}
		missing := max(1, c.want.Get(f), len(own)+len(v.before(c, f))) - len(own)
		if missing <= 0 {
			continue
		}
		prefix, ok := v.choose(c, f)
		switch {
		case ok:
			p.subnets = append(p.subnets, v.claimSubnet(c, prefix, claims))
			p.partial = p.partial || missing > 1
		case len(own) == 0:
			p.state, p.reason = Exhausted, v.exhausted(f)
		default:
			p.denied.Set(f, v.poolExhausted(f))
		}
	}
	p.gone = c.giveBack
	if p.state == Exhausted && kept {
		p.state = Leased // with what it has; the reason says what is missing
	}
	if p.state == Exhausted {
		p.subnets = nil
		return
	}
	p.txn.cmps = append(p.txn.cmps, claims.cmps...)
	p.txn.ops = append(p.txn.ops, claims.ops...)
}

// keepSubnet writes an own record again where its lease or its value is not
// what it should be.
func (v *view) keepSubnet(c claimant, r *record, p *plan) fabric.Subnet {
	s := *r.subnet
	s.EtcdLease = c.leaseOf(s)
	_, bad := v.bad[r.key]
	if bad || r.lease != s.EtcdLease {
		p.txn.unchanged(r.key, r.mod)
		p.txn.put(r.key, encodeJSON(s), s.EtcdLease)
		p.unbound = append(p.unbound, clientv3.LeaseID(r.lease))
	}
	return s
}

// leaseOf is the lease that a record of this node is bound to: a reservation
// is not bound to any.
func (c *claimant) leaseOf(s fabric.Subnet) int64 {
	if s.For != "" {
		return 0
	}
	return int64(c.long.id)
}

// claimSubnet takes a free subnet, or the reservation for this node.
func (v *view) claimSubnet(c claimant, prefix netip.Prefix, t *txn) fabric.Subnet {
	s := fabric.Subnet{Prefix: prefix, Owner: c.self.ID, Epoch: c.epoch}
	if r := v.subnets[prefix]; r != nil {
		s.For = r.subnet.For
	}
	if i := slices.IndexFunc(c.had, func(h fabric.Subnet) bool { return h.Prefix == prefix }); i >= 0 && c.live {
		s.Epoch, s.For = c.had[i].Epoch, cmp.Or(s.For, c.had[i].For)
	}
	s.EtcdLease = c.leaseOf(s)
	key := subnetKey(prefix)
	t.claimsSubnet(v.spec, prefix, v.keyRev(key))
	t.put(key, encodeJSON(s), s.EtcdLease)
	return s
}

// choose picks the subnet to claim: the one to be put back, the one reserved
// for this node, the one it had in an earlier life, or a free one.
func (v *view) choose(c claimant, f fabric.Family) (netip.Prefix, bool) {
	network, length := v.spec.Network.Get(f), v.spec.SubnetLength.Get(f)
	before := v.before(c, f)
	if len(before) > 0 && c.live {
		return before[0], true
	}
	for _, p := range v.reservedFor(c.self.Name, f) {
		if v.free(c, p) && !slices.Contains(c.giveBack, p) {
			return p, true
		}
	}
	if len(before) > 0 {
		return before[0], true
	}
	avoid := slices.Concat(c.avoid, c.giveBack)
	req := ipam.Request{Network: network, Length: length, Reserved: v.spec.Reserved, Taken: v.taken(c.self), Seed: string(c.self.ID), Avoid: avoid}
	if p, ok := ipam.Choose(req); ok {
		return p, true
	}
	// Rather what a peer had that is held back than nothing: etcd says it is free.
	if len(v.hold.held) == 0 {
		return netip.Prefix{}, false
	}
	req.Taken = v.recorded(c.self)
	return ipam.Choose(req)
}

// free reports whether the node can claim p, as far as this view knows.
func (v *view) free(c claimant, p netip.Prefix) bool {
	if outsideOf(v.spec, p) != "" || slices.ContainsFunc(c.avoid, p.Overlaps) {
		return false
	}
	ok := true
	v.order.overlapping(p, func(r *record) {
		mine := r.subnet.Prefix == p && (r.subnet.Owner == c.self.ID || r.subnet.Owner == "" && r.subnet.For == c.self.Name)
		ok = ok && mine
	})
	for key, b := range v.bad {
		ok = ok && (!b.prefix.IsValid() || !v.blocked(b.prefix).Overlaps(p) || c.live && key == subnetKey(p))
	}
	return ok
}

func (v *view) isReserved(p netip.Prefix) bool {
	return slices.ContainsFunc(v.spec.Reserved, p.Overlaps)
}

// reservedFor lists the unused reservations for a node, oldest address first.
func (v *view) reservedFor(name string, f fabric.Family) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range v.order.recs {
		if r.subnet.For == name && r.subnet.Owner == "" && fabric.FamilyOf(r.subnet.Prefix.Addr()) == f {
			out = append(out, r.subnet.Prefix)
		}
	}
	return out
}

// taken lists what a new subnet must not overlap: all that is recorded, and
// the subnets of peers that are held, which are most likely still in use.
func (v *view) taken(self fabric.Node) []netip.Prefix {
	out := v.recorded(self)
	for id, p := range v.hold.held {
		for _, s := range p.Subnets {
			if id != self.ID {
				out = append(out, s.Prefix)
			}
		}
	}
	return out
}

// recorded lists what the claim's compares would trip over: every subnet key
// but the reservations for this node.
func (v *view) recorded(self fabric.Node) []netip.Prefix {
	out := make([]netip.Prefix, 0, len(v.subnets))
	for p, r := range v.subnets {
		if r.subnet.Owner != "" || r.subnet.For != self.Name {
			out = append(out, v.blocked(p))
		}
	}
	for _, b := range v.bad {
		if b.prefix.IsValid() {
			out = append(out, v.blocked(b.prefix))
		}
	}
	return out
}

// blocked is what the key of p keeps others from: p, or, where p does not
// belong to the fabric, only the one subnet whose key begins as p's does.
func (v *view) blocked(p netip.Prefix) netip.Prefix {
	if outsideOf(v.spec, p) == "" {
		return p
	}
	length := v.spec.SubnetLength.Get(fabric.FamilyOf(p.Addr()))
	return netip.PrefixFrom(p.Addr(), max(length, p.Bits()))
}

func (v *view) exhausted(f fabric.Family) string {
	leased, reserved := 0, 0
	for p, r := range v.subnets {
		switch {
		case fabric.FamilyOf(p.Addr()) != f || r.outside != "":
		case r.subnet.Owner == "":
			reserved++
		default:
			leased++
		}
	}
	return fmt.Sprintf("%s (%d leased, %d reserved for nodes, %d prefixes kept out by spec.reserved)", v.poolExhausted(f), leased, reserved, len(v.spec.Reserved))
}

// poolExhausted is the same without the numbers, which change all the time.
func (v *view) poolExhausted(f fabric.Family) string {
	return fmt.Sprintf("pool exhausted: no subnet of length %d is free in %v", v.spec.SubnetLength.Get(f), v.spec.Network.Get(f))
}

// claimsSubnet demands that nothing overlaps p but its own key, which must be
// as it was at mod (0: absent). What lies inside p has keys in one range.
// What encloses p is compared key by key. Whatever has been claimed under
// another Fabric object is in the view that chose p, as the transaction
// compares the object's revision too; so those near p in length would do.
func (t *txn) claimsSubnet(spec *fabric.Spec, p netip.Prefix, mod int64) {
	key := subnetKey(p)
	from, to := subnetRange(p)
	t.absent(from, key)
	t.unchanged(key, mod)
	t.absent(key+"\x00", to)
	network := spec.Network.Get(fabric.FamilyOf(p.Addr()))
	for bits := max(network.Bits()+1, p.Bits()-maxEnclosing); bits < p.Bits(); bits++ {
		q := netip.PrefixFrom(p.Addr(), bits).Masked()
		if q.Addr() != p.Addr() { // else it begins as p does: in the range above
			t.unchanged(subnetKey(q), 0)
		}
	}
}

// lost returns why a subnet that the node believes to own is not its own any
// more: somebody else's record is there. A record that is merely gone is not
// lost yet; the node puts it back.
func (v *view) lostTo(self fabric.NodeID, s fabric.Subnet) string {
	if r := v.subnets[s.Prefix]; r != nil && r.subnet.Owner == self && r.lost != "" {
		return fmt.Sprintf("%v is not ours: %s", s.Prefix, r.lost)
	}
	why := ""
	v.order.overlapping(s.Prefix, func(r *record) {
		if !r.inForce() || r.subnet.Owner == self {
			return
		}
		who := "reserved for " + r.subnet.For
		if r.subnet.Owner != "" {
			who = "owned by " + v.nameOf(r.subnet.Owner)
		}
		if own := v.subnets[s.Prefix]; own == nil || !own.inForce() || own.subnet.Owner != self {
			why = fmt.Sprintf("%v is %s by now (%s)", r.subnet.Prefix, who, r.key)
		}
	})
	return why
}
