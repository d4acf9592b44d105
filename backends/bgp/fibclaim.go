package bgp

import (
	"math"
	"net/netip"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Claim says that somebody else makes the route to a prefix: the agent, which
// chooses between this way and others. The FIB keeps the objects of its next
// hops as they are, says by which of them the prefix is reached (Via, Take), and
// says nothing of the route itself, whether or not the prefix is learnt yet.
//
// When a claim begins, given is the route that the FIB had made, if there is
// one: it is the caller's from now on, to be removed or replaced as one of the
// caller's own. When a claim ends, the next Take makes the FIB's route again,
// and the caller removes its own in the same Host.Update or before; if the claim
// begins again before that, all is as if it had not ended.
func (f *FIB) Claim(p netip.Prefix, on bool) (given kernel.Route, had bool) {
	p = p.Masked()
	if _, claimed := f.claims[p]; claimed == on || !p.IsValid() {
		return kernel.Route{}, false
	}
	if on {
		f.claims[p] = 0
	} else {
		f.resize(p, 0) // the FIB's own routes say nothing of it
		delete(f.claims, p)
	}
	slot, known := f.index[p]
	if !known {
		return kernel.Route{}, false
	}
	r := &f.routes[slot]
	r.claimed = on
	if !on {
		r.owed = true
		f.list(slot)
		return kernel.Route{}, false
	}
	had = r.given != 0 && !r.owed
	r.owed = false
	if had {
		given = r.route(r.given)
	}
	return given, had
}

// Size says how large the packets are that the route to a claimed prefix lets
// pass, in bytes; 0: the route says nothing. It returns the object by which the
// prefix is reached from now on, 0: none; the next Take gives it, and Via says
// the same after that.
//
// Routes that say different things of the size must not lead to one nexthop
// object, nor to groups that share a member. The kernel keeps with the object
// what it made of the last route for packets that it forwards, metrics included,
// and takes that for all routes by it (net/ipv4/route.c, rt_cache_route;
// net/ipv6/route.c, rt6_make_pcpu_route; seen with 6.18). So there are objects for
// each size; there are few sizes.
func (f *FIB) Size(p netip.Prefix, mtu int) (via uint32) {
	p = p.Masked()
	if _, claimed := f.claims[p]; claimed {
		f.resize(p, uint16(min(mtu, math.MaxUint16)))
	}
	f.settle()
	if slot, known := f.index[p]; known {
		return f.routes[slot].wanted()
	}
	return 0
}

// resize moves the route to a claimed prefix to the objects of another size.
func (f *FIB) resize(p netip.Prefix, size uint16) {
	if f.claims[p] == size {
		return
	}
	f.claims[p] = size
	slot, known := f.index[p]
	if !known {
		return
	}
	r := &f.routes[slot]
	if r.size = size; r.set != nil {
		f.move(slot, f.set(fabric.FamilyOf(p.Addr()), r.set.addrs, size))
	}
}

// Via is the id of the nexthop object or group by which a prefix is reached, as
// of the last Take: the object is among those that it gave. 0: it is not learnt,
// refused, or none of its next hops can be reached.
func (f *FIB) Via(p netip.Prefix) uint32 {
	if slot, known := f.index[p.Masked()]; known {
		return f.routes[slot].given
	}
	return 0
}
