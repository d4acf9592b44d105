package kernel

import (
	"errors"
	"slices"
	"strings"
)

// objects is a table of any kind.
type objects interface {
	tidy()
	pending() []int32
	about(slot int32) (wanted, present, asked bool)
	forget(slot int32)
}

func (t *table[K, V]) pending() []int32 { return t.dirty }

func (t *table[K, V]) about(slot int32) (wanted, present, asked bool) {
	e := &t.entries[slot]
	return e.wanted, e.present, e.asked
}

func (t *table[K, V]) forget(slot int32) { t.dropActual(t.entries[slot].key) }

func (s *state) table(k kind) objects {
	return [kinds]objects{
		links: &s.links, sysctls: &s.sysctls, addrs: &s.addrs, masquerade: &s.nat,
		fdb: &s.fdb, neighs: &s.neighs, nexthops: &s.nexthops, groups: &s.groups, routes: &s.routes,
	}[k]
}

// text names an object as a report shows it.
func (s *state) text(k kind, slot int32) string {
	switch k {
	case links:
		return "link " + s.links.entries[slot].key
	case sysctls:
		return "sysctl " + s.sysctls.entries[slot].key
	case addrs:
		return s.addrs.entries[slot].key.String()
	case fdb:
		return s.fdb.entries[slot].key.String()
	case neighs:
		return s.neighs.entries[slot].key.String()
	case nexthops:
		return Nexthop{ID: s.nexthops.entries[slot].key}.Name()
	case groups:
		return Nexthop{ID: s.groups.entries[slot].key, Group: strange}.Name()
	case routes:
		return s.routes.entries[slot].key.String()
	}
	return natName
}

// holder says who keeps an object from being in place, if somebody does.
func (s *state) holder(k kind, slot int32) string {
	switch k {
	case links:
		e := &s.links.entries[slot]
		if !e.wanted && s.linkStays(e) {
			return "devices that are its ports"
		}
		return s.foreign.links[e.key]
	case nexthops:
		return s.foreign.nexthops[s.nexthops.entries[slot].key]
	case groups:
		return s.foreign.nexthops[s.groups.entries[slot].key]
	case routes:
		if r := s.foreign.sameKey(s.routes.entries[slot].key); r != nil {
			return r.String()
		}
	}
	return ""
}

var errNotHeld = errors.New("the kernel accepted it and holds something else")

// conclude fills in what the report says of objects that are not in place.
func (r *pass) conclude() {
	s := &r.state
	for k := range kinds {
		for _, slot := range s.table(k).pending() {
			name := s.text(k, slot)
			if holder := s.holder(k, slot); holder != "" {
				r.report.Conflicts = append(r.report.Conflicts, Conflict{Object: name, Holder: holder})
				continue
			}
			err := r.failed[ref{k, slot}]
			if err == nil {
				err = errNotHeld
			}
			r.report.Failed = append(r.report.Failed, Failure{Kind: k.String(), Object: name, Err: err})
		}
	}
	for dst := range s.foreign.routes {
		for metric := range s.foreign.metrics {
			key := RouteKey{dst, metric}
			e := s.routes.find(key)
			if shadow := s.foreign.shadow(key); shadow != nil && e != nil && e.wanted {
				r.report.Conflicts = append(r.report.Conflicts, Conflict{Object: key.String(), Holder: shadow.String()})
			}
		}
	}
	slices.SortFunc(r.report.Conflicts, func(a, b Conflict) int { return strings.Compare(a.Object, b.Object) })
	r.report.InSync = len(r.report.Failed)+len(r.report.Conflicts) == 0 && !r.outdated()
}
