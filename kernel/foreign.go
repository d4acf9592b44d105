package kernel

import (
	"fmt"
	"net/netip"
)

// foreign is what others put where weft has, or wants, an object. It is only
// looked at, never touched.
type foreign struct {
	links    map[string]string // name -> what it is
	nexthops map[uint32]string
	routes   map[netip.Prefix][]foreignRoute // by destinations that are wanted
	// metrics are those of all routes ever wanted: with these few, routes to a
	// destination are found without a second index.
	metrics map[uint32]bool
}

type foreignRoute struct {
	metric   uint32
	protocol uint8
	dev      string
}

func (r foreignRoute) String() string {
	s := fmt.Sprintf("a route of protocol %d metric %d", r.protocol, r.metric)
	if r.dev != "" {
		s += " dev " + r.dev
	}
	return s
}

func newForeign() foreign {
	return foreign{links: map[string]string{}, nexthops: map[uint32]string{}, routes: map[netip.Prefix][]foreignRoute{}, metrics: map[uint32]bool{}}
}

// foldForeignRoute looks at a route that is not weft's. Those in its way are
// collected by dumps alone: outside of one, they ask for one.
func (s *state) foldForeignRoute(r routeMessage, dumping bool) (stale bool) {
	i := s.ifaces.byIndex[r.oif]
	if i.own != "" {
		return false // the kernel's connected routes on our own devices
	}
	if dumping {
		if s.wantsRouteTo(r.Dst) {
			s.foreign.routes[r.Dst] = append(s.foreign.routes[r.Dst], foreignRoute{r.Metric, r.protocol, i.name})
		}
		return false
	}
	e := s.routes.find(r.RouteKey)
	return e != nil && e.present || len(s.foreign.routes[r.Dst]) > 0 || s.wantsRouteTo(r.Dst)
}

func (s *state) wantsRouteTo(dst netip.Prefix) bool {
	for metric := range s.foreign.metrics {
		if e := s.routes.find(RouteKey{dst, metric}); e != nil && e.wanted {
			return true
		}
	}
	return false
}

// sameKey returns the foreign route at k, or nil.
func (f *foreign) sameKey(k RouteKey) *foreignRoute {
	for i, r := range f.routes[k.Dst] {
		if r.metric == k.Metric {
			return &f.routes[k.Dst][i]
		}
	}
	return nil
}

// shadow returns a foreign route that the kernel prefers to k, or nil.
func (f *foreign) shadow(k RouteKey) *foreignRoute {
	if k.Dst.Bits() == 0 && k.Metric >= LastResort {
		return nil // it is there to yield
	}
	for i, r := range f.routes[k.Dst] {
		if r.metric < k.Metric {
			return &f.routes[k.Dst][i]
		}
	}
	return nil
}
