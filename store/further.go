package store

import (
	"net/netip"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// demand is what the agent asks of its share beyond one subnet per family.
type demand struct {
	want     fabric.PerFamily[int] // subnets; fewer than one count as one
	giveBack []netip.Prefix        // own subnets that are not needed
}

// Want says how many subnets of each family the node would like to have. The
// session claims what is missing as soon as it can; what cannot be had is said in
// Lease.Denied. Fewer than it has take nothing away: GiveBack does. Any goroutine
// may call it.
func (ss *Session) Want(n fabric.PerFamily[int]) {
	ss.mu.Lock()
	same := ss.demand.want == n
	ss.demand.want = n
	ss.mu.Unlock()
	if !same {
		ss.wake()
	}
}

// GiveBack gives an own subnet up for another node to have. The caller has made
// sure that none of its addresses is in use or will be. It is done once a Lease
// without the subnet is reported, and there is no way to call it off: the
// transaction may be under way. The node's last subnet of a family is replaced
// in the same transaction. Any goroutine may call it.
func (ss *Session) GiveBack(p netip.Prefix) {
	ss.mu.Lock()
	known := slices.Contains(ss.demand.giveBack, p)
	if !known {
		ss.demand.giveBack = append(slices.Clone(ss.demand.giveBack), p)
	}
	ss.mu.Unlock()
	if !known {
		ss.wake()
	}
}

// demands is what is asked for now.
func (ss *Session) demands() demand {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return ss.demand
}

// gaveBack forgets subnets that are the node's no longer: it may lease them anew
// some day.
func (ss *Session) gaveBack(done []netip.Prefix) {
	if len(done) == 0 {
		return
	}
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.demand.giveBack = slices.DeleteFunc(slices.Clone(ss.demand.giveBack), func(p netip.Prefix) bool { return slices.Contains(done, p) })
}

// ownSubnets are the records in force of the node's subnets of a family, oldest
// first, without those that it gives back: these are dropped.
func (v *view) ownSubnets(c claimant, f fabric.Family, t *txn) (own []*record) {
	var unwanted []*record
	for _, r := range v.owned[c.self.ID] {
		switch p := r.subnet.Prefix; {
		case fabric.FamilyOf(p.Addr()) != f:
		case slices.Contains(c.giveBack, p):
			unwanted = append(unwanted, r)
		default:
			own = append(own, r)
		}
	}
	t.dropSubnets(unwanted)
	slices.SortFunc(own, byAge)
	return own
}

// byAge orders records, the oldest first.
func byAge(a, b *record) int {
	if a.olderThan(b) {
		return -1
	}
	return 1
}

// before are the subnets that the node had and can have again, which it takes
// back before any other: its pods are still there. One that is merely gone from
// etcd is put back as it was; one of an earlier life must fit the fabric of now.
func (v *view) before(c claimant, f fabric.Family) (out []netip.Prefix) {
	length := v.spec.SubnetLength.Get(f)
	for _, s := range c.had {
		r := v.subnets[s.Prefix]
		switch {
		case fabric.FamilyOf(s.Prefix.Addr()) != f || slices.Contains(c.giveBack, s.Prefix):
		case r != nil && r.subnet.Owner == c.self.ID: // it has it
		case !c.live && (s.Prefix.Bits() != length || v.isReserved(s.Prefix)):
		case v.free(c, s.Prefix):
			out = append(out, s.Prefix)
		}
	}
	return out
}
