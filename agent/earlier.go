package agent

import (
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// adopt takes over how the kernel reaches the peers since an earlier life of the
// agent: a restart is no reason to choose anew. Held is kernel.Host.Held.
func (w *ways) adopt(held func(kernel.RouteKey) (kernel.Route, bool), peers []*fabric.Peer) {
	for _, p := range peers {
		if p.ID == w.self.ID {
			continue
		}
		for _, f := range fabric.Families {
			adopted := false
			for prefix := range p.SubnetsOf(f) {
				r, ok := held(kernel.RouteKey{Dst: prefix, Metric: kernel.Metric})
				path := w.leadsBy(r.Nexthop, p, f)
				if ok && path.Kind == fabric.PathBGP {
					w.leave(prefix)
				}
				if ok && path.Kind != "" && !adopted {
					w.adoptPath(p.ID, f, inForce{path, r.MTU})
					adopted = true
				}
			}
		}
	}
}

// leadsBy is the path that a route of weft's own to a peer takes; its Kind is
// empty where it is none that this agent knows.
func (w *ways) leadsBy(nexthop uint32, p *fabric.Peer, f fabric.Family) fabric.Path {
	direct := fabric.Path{Kind: fabric.PathDirect}
	switch {
	case nexthop == 0: // unreachable, or not there
		return fabric.Path{}
	case nexthop == kernel.SharedNexthop(nexthop):
		return fabric.Path{Kind: fabric.PathBGP}
	case nexthop == backends.NexthopID(p.Index, f, direct):
		return direct
	}
	for _, o := range w.overlays {
		if path := (fabric.Path{Kind: fabric.PathVXLAN, Generation: o.Generation}); nexthop == backends.NexthopID(p.Index, f, path) {
			return path
		}
	}
	return fabric.Path{}
}

func (w *ways) adoptPath(id fabric.NodeID, f fabric.Family, had inForce) {
	k := paths.Key{Peer: id, Family: f}
	w.chooser.Adopt(k, had.path)
	if had.mtu != 0 {
		w.earlier[k] = had
	}
	if had.path.Kind == fabric.PathBGP && w.keeping.Get(f) {
		t := *w.at(id)
		t.family(f).way = wayKept
		w.set(id, t)
	}
}
