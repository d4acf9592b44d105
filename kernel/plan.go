package kernel

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// state is what is wanted of the kernel and what it holds. Only fold and the
// dumps write the latter.
type state struct {
	ifaces ifaces

	links    table[string, device]
	sysctls  table[string, string]
	addrs    table[Addr, struct{}]
	nat      table[string, string] // the nftables table, in words; one key
	fdb      table[FDBKey, netip.Addr]
	neighs   table[NeighKey, fabric.MAC]
	nexthops table[uint32, gateway]
	groups   table[uint32, Group]
	routes   table[RouteKey, path]

	foreign foreign
	retain  fabric.PerFamily[bool] // see Host.Retain

	hostAddrs map[hostAddr]struct{} // of all devices
	reach     uint64                // see Host.ReachVersion
}

func newState() state {
	return state{
		ifaces: newIfaces(),
		links:  newTable[string, device](), sysctls: newTable[string, string](),
		addrs: newTable[Addr, struct{}](), nat: newTable[string, string](),
		fdb: newTable[FDBKey, netip.Addr](), neighs: newTable[NeighKey, fabric.MAC](),
		nexthops: newTable[uint32, gateway](), groups: newTable[uint32, Group](),
		routes:  newTable[RouteKey, path](),
		foreign: newForeign(), hostAddrs: map[hostAddr]struct{}{},
	}
}

// tidy must run before a plan is made and not while one is carried out.
func (s *state) tidy() {
	s.forgetSysctls()
	s.keep()
	for k := range kinds {
		s.table(k).tidy()
	}
}

// planLinks lists what brings the devices up; the rest of the plan can only be
// made when their indexes are known.
func planLinks(s *state, ops []op) []op {
	return up(ops, links, &s.links, s.linkVerb)
}

// plan lists the steps from what the kernel holds to what is wanted, but for
// devices to be made. It is a function of s alone. At every prefix of it,
// traffic finds what it found before or what it shall find: each object comes
// after those it needs and goes before them, and nothing goes before its
// replacement is there.
func plan(s *state, ops []op) []op {
	ops = up(ops, sysctls, &s.sysctls, nil)
	ops = up(ops, addrs, &s.addrs, nil)
	ops = up(ops, masquerade, &s.nat, nil)
	ops = up(ops, fdb, &s.fdb, nil)
	ops = up(ops, neighs, &s.neighs, nil)
	ops = up(ops, nexthops, &s.nexthops, s.nexthopVerb)
	ops = up(ops, groups, &s.groups, s.groupVerb)
	ops = up(ops, routes, &s.routes, s.routeVerb)

	ops = down(ops, routes, &s.routes, nil)
	ops = down(ops, groups, &s.groups, s.becomesGateway)
	ops = down(ops, nexthops, &s.nexthops, s.becomesGroup)
	ops = down(ops, neighs, &s.neighs, nil)
	ops = down(ops, fdb, &s.fdb, nil)
	ops = down(ops, masquerade, &s.nat, nil)
	ops = down(ops, addrs, &s.addrs, nil)
	return down(ops, links, &s.links, s.linkStays)
}

// up appends what makes wanted entries so. choose, if given, picks the verb,
// or says that somebody else's object is in the way.
func up[K, V comparable](ops []op, k kind, t *table[K, V], choose func(*entry[K, V]) (verb, bool)) []op {
	for _, i := range t.dirty {
		e := &t.entries[i]
		if !e.wanted || e.placed() {
			continue
		}
		v, ok := change, true
		if !e.present {
			v = create
		}
		if choose != nil {
			v, ok = choose(e)
		}
		if ok {
			ops = append(ops, op{kind: k, verb: v, slot: i})
		}
	}
	return ops
}

// down appends what removes entries that are not wanted and that stays, if
// given, does not keep.
func down[K, V comparable](ops []op, k kind, t *table[K, V], stays func(*entry[K, V]) bool) []op {
	for _, i := range t.dirty {
		if e := &t.entries[i]; !e.wanted && e.present && !e.kept && (stays == nil || !stays(e)) {
			ops = append(ops, op{kind: k, verb: destroy, slot: i})
		}
	}
	return ops
}
