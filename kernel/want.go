package kernel

import "net/netip"

// SetWant replaces the whole wanted state.
func (h *Host) SetWant(w Objects) {
	s := &h.state
	keep(&s.links, w.Links, func(l Link) string { return l.Name })
	keep(&s.sysctls, w.Sysctls, func(c Sysctl) string { return c.Path })
	keep(&s.addrs, w.Addrs, Addr.normal)
	keep(&s.fdb, w.FDB, func(f FDB) FDBKey { return f.FDBKey })
	keep(&s.neighs, w.Neighs, func(n Neigh) NeighKey { return n.normal() })
	singles, sets := split(w.Nexthops)
	keep(&s.nexthops, singles, func(n Nexthop) uint32 { return n.ID })
	keep(&s.groups, sets, func(n Nexthop) uint32 { return n.ID })
	keep(&s.routes, w.Routes, func(r Route) RouteKey { return r.normal() })
	h.setMasquerade(w.Masquerade)
	h.add(w)
}

// keep ends the wishes for all objects but those in want.
func keep[K, V comparable, O any](t *table[K, V], want []O, key func(O) K) {
	if len(t.entries) == len(t.free) {
		return
	}
	keys := make(map[K]bool, len(want))
	for _, o := range want {
		keys[key(o)] = true
	}
	t.keepWant(keys)
}

// Update changes the wanted state: the objects in remove go unless they are
// in add too or are wanted with another value by now; those in add come.
func (h *Host) Update(remove, add Objects) {
	s := &h.state
	for _, o := range remove.Links {
		s.links.dropWant(o.Name, wantedDevice(o))
	}
	for _, o := range remove.Sysctls {
		s.sysctls.dropWant(o.Path, o.Value)
	}
	for _, o := range remove.Addrs {
		s.addrs.dropWant(o.normal(), struct{}{})
	}
	for _, o := range remove.FDB {
		s.fdb.dropWant(o.FDBKey, o.Dst.Unmap())
	}
	for _, o := range remove.Neighs {
		s.neighs.dropWant(o.normal(), o.MAC)
	}
	for _, o := range remove.Nexthops {
		if o.Group != "" {
			s.groups.dropWant(o.ID, o.Group)
		} else {
			s.nexthops.dropWant(o.ID, wantedGateway(o))
		}
	}
	for _, o := range remove.Routes {
		s.routes.dropWant(o.normal(), wantedPath(o))
	}
	if add.Masquerade != (Masquerade{}) {
		h.setMasquerade(add.Masquerade)
	} else if remove.Masquerade == h.masq {
		h.setMasquerade(Masquerade{})
	}
	h.add(add)
}

func (h *Host) add(w Objects) {
	s := &h.state
	s.fdb.reserve(len(w.FDB))
	s.neighs.reserve(len(w.Neighs))
	s.nexthops.reserve(len(w.Nexthops))
	s.routes.reserve(len(w.Routes))
	watch := func(name string) { s.ifaces.watched[name] = true }
	for _, o := range w.Links {
		s.links.setWant(o.Name, wantedDevice(o))
		watch(o.Name)
		watch(o.VXLAN.Uplink)
	}
	for _, o := range w.Sysctls {
		if e := s.sysctls.find(o.Path); e == nil || !e.wanted {
			h.staleSysctl = true
		}
		s.sysctls.setWant(o.Path, o.Value)
	}
	for _, o := range w.Addrs {
		s.addrs.setWant(o.normal(), struct{}{})
	}
	for _, o := range w.FDB {
		s.fdb.setWant(o.FDBKey, o.Dst.Unmap())
	}
	for _, o := range w.Neighs {
		s.neighs.setWant(o.normal(), o.MAC)
	}
	for _, o := range w.Nexthops {
		if o.Group != "" { // an id is one object: the later wish counts
			s.nexthops.endWant(o.ID)
			s.groups.setWant(o.ID, o.Group)
			continue
		}
		s.groups.endWant(o.ID)
		s.nexthops.setWant(o.ID, wantedGateway(o))
		watch(o.Link)
	}
	for _, o := range w.Routes {
		key := o.normal()
		s.routes.setWant(key, wantedPath(o))
		s.foreign.metrics[key.Metric] = true
	}
}

// split tells nexthop objects with a gateway from groups.
func split(all []Nexthop) (singles, sets []Nexthop) {
	for _, n := range all {
		if n.Group != "" {
			sets = append(sets, n)
		} else {
			singles = append(singles, n)
		}
	}
	return singles, sets
}

func (a Addr) normal() Addr {
	a.Prefix = netip.PrefixFrom(a.Prefix.Addr().Unmap(), a.Prefix.Bits())
	return a
}

func (k NeighKey) normal() NeighKey {
	k.Addr = k.Addr.Unmap()
	return k
}
