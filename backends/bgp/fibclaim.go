package bgp

import (
	"net/netip"

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
		f.claims[p] = struct{}{}
	} else {
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

// Via is the id of the nexthop object or group by which a prefix is reached, as
// of the last Take: the object is among those that it gave. 0: it is not learnt,
// refused, or none of its next hops can be reached.
func (f *FIB) Via(p netip.Prefix) uint32 {
	if slot, known := f.index[p.Masked()]; known {
		return f.routes[slot].given
	}
	return 0
}
