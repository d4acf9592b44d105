package agent

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
)

// BGP knows subnets, the other ways know nodes. So while BGP leads to a peer
// there may be a subnet of the peer's that it does not know: one that was leased
// a moment ago, or that somebody filters. Its route takes the best of the other
// ways; those of the other subnets stay as they are.

// besides is the object of the best way to a peer but BGP, among those offered;
// 0: there is none.
func (w *ways) besides(r backends.Remote, f fabric.Family) uint32 {
	for _, p := range w.preferred {
		up := func(o paths.Offer) bool { return o.Path == p && o.State == paths.Up && o.Verdict != paths.Silent }
		if p.Kind != fabric.PathBGP && slices.ContainsFunc(w.offered, up) {
			return backends.NexthopID(r.Index, f, p)
		}
	}
	return 0
}

// learntIDs are the objects by which the subnets of a family are reached while
// BGP leads there, with routes of that MTU: one id where it is the same for all.
// Other is that for subnets that BGP does not know.
func (w *ways) learntIDs(p *fabric.Peer, f fabric.Family, mtu int, other uint32) (uint32, *[]uint32) {
	w.ids = w.ids[:0]
	for prefix := range p.SubnetsOf(f) {
		w.ids = append(w.ids, cmp.Or(w.fib.Size(prefix, mtu), other))
	}
	if len(w.ids) == 0 {
		return 0, nil
	}
	first := w.ids[0]
	if !slices.ContainsFunc(w.ids, func(id uint32) bool { return id != first }) {
		return first, nil
	}
	each := slices.Clone(w.ids)
	return 0, &each
}

// stillKept reports whether the routes to a family of a peer stay as an earlier
// life of the agent left them.
func (w *ways) stillKept(was *toPeer, p *fabric.Peer, f fabric.Family) bool {
	if was == nil || was.family(f).way != wayKept || !w.keeping.Get(f) {
		return false
	}
	for prefix := range p.SubnetsOf(f) {
		if _, left := w.left[prefix]; left && w.fib.Via(prefix) == 0 {
			return true
		}
	}
	return false
}

// keptIDs are the objects for those subnets that the earlier life left no route
// to: 0 for the others, nil if there are only such.
func (w *ways) keptIDs(r backends.Remote, f fabric.Family) *[]uint32 {
	var each []uint32
	some := false
	for prefix := range r.SubnetsOf(f) {
		via := uint32(0)
		if _, left := w.left[prefix]; !left {
			if via = w.fib.Size(prefix, 0); via == 0 {
				via = w.besides(r, f)
			}
		}
		some = some || via != 0
		each = append(each, via)
	}
	if !some {
		return nil
	}
	return &each
}

// leave notes which subnets an earlier life left a route by BGP to.
func (w *ways) leave(prefix netip.Prefix) {
	if w.left == nil {
		w.left = map[netip.Prefix]struct{}{}
	}
	w.left[prefix] = struct{}{}
}
