package agent

import (
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// The words for what is known of a way.
var (
	stateWords   = [...]string{paths.Gone: "gone", paths.Doubtful: "doubtful", paths.Up: "up"}
	verdictWords = [...]string{probe.Unknown: "unknown", probe.Answers: "answers", probe.Silent: "silent"}
)

// word is a path for operators.
func word(p fabric.Path) string { return string(p.Kind) }

// unreachable stands for the path to a peer whose host is down.
const unreachable fabric.PathKind = "unreachable"

// reached is how a peer is reached.
type reached struct {
	kind   fabric.PathKind // empty: it is not
	reason string          // in words, for operators
}

// way says how a peer is reached, for both families at once.
func (w *wanted) way(p *fabric.Peer) reached {
	var ways []reached
	for _, f := range fabric.Families {
		if _, any := p.FirstSubnet(f); any {
			ways = append(ways, w.wayTo(p, f))
		}
	}
	switch {
	case len(ways) == 0:
		return reached{reason: "it has no subnet"}
	case len(ways) == 2 && ways[0] != ways[1]:
		kind := ways[0].kind
		if ways[1].kind != kind {
			kind = fabric.PathKind(strings.Trim(string(kind)+"+"+string(ways[1].kind), "+"))
		}
		return reached{kind: kind, reason: "IPv4: " + ways[0].reason + "; IPv6: " + ways[1].reason}
	}
	return ways[0]
}

// wayTo says how one family of a peer is reached.
func (w *wanted) wayTo(p *fabric.Peer, f fabric.Family) reached {
	at := w.ways.at(p.ID).family(f).way
	switch at {
	case wayDead:
		return reached{kind: at.kind(), reason: isDown}
	case wayKept:
		return reached{kind: at.kind(), reason: "as before the start; the BGP peers have not yet told all"}
	}
	var reasons []string
	for _, o := range w.offers(p, f) {
		if wayOf(o.Path) == at {
			return reached{kind: at.kind(), reason: o.Reason}
		}
		reasons = append(reasons, word(o.Path)+": "+o.Reason)
	}
	return reached{reason: strings.Join(reasons, "; ")}
}

// offers are the ways to one family of a peer, the preferred ones first, with
// the reasons in full.
func (w *wanted) offers(p *fabric.Peer, f fabric.Family) []paths.Offer {
	r := backends.Remote{Peer: p, Down: w.down[p.ID]}
	a := w.ways.arm(&kernel.Objects{}, r)
	a.asked = true
	a.routed.Set(f, w.ways.at(p.ID).family(f).byBGP())
	out := w.ways.offers(nil, r, f, &a)
	for i := range out {
		if out[i].Path.Kind == fabric.PathBGP && out[i].State != paths.Gone {
			out[i].Reason = strings.Join(append(nonEmpty(w.learnt.way(p, f)), doubt(out[i])...), ", but ")
		} else if out[i].Path.Kind == fabric.PathBGP && p.CanReceive(fabric.PathBGP) {
			out[i].Reason = w.learnt.way(p, f)
		}
	}
	prefer := w.ways.prefer(p)
	place := func(o paths.Offer) int {
		if i := slices.Index(prefer, o.Path); i >= 0 {
			return i
		}
		return len(prefer)
	}
	slices.SortStableFunc(out, func(a, b paths.Offer) int { return place(a) - place(b) })
	return out
}

// doubt is why a way is in doubt.
func doubt(o paths.Offer) []string {
	if o.State == paths.Doubtful {
		return []string{o.Reason}
	}
	return nil
}

// peersAfter are the first few peers whose ids are above one: other work gets
// its turn between two parts of a long list. It runs in the loop's goroutine.
func (l *loop) peersAfter(id fabric.NodeID, most int) (out []*fabric.Peer) {
	if !l.want.known {
		return nil
	}
	at, found := slices.BinarySearchFunc(l.want.peers, id, func(p *fabric.Peer, id fabric.NodeID) int { return strings.Compare(string(p.ID), string(id)) })
	if found {
		at++
	}
	for _, p := range l.want.peers[at:] {
		if len(out) == most {
			break
		}
		if p.ID != l.want.input.Self {
			out = append(out, p)
		}
	}
	return out
}

// peerPaths says how a peer is reached and why, and by what ways it could be.
func (w *wanted) peerPaths(p *fabric.Peer) api.PeerPaths {
	row := api.PeerPaths{Name: p.Name, ID: p.ID, Alive: p.Alive, Families: []api.FamilyPath{}}
	for _, f := range fabric.Families {
		if _, any := p.FirstSubnet(f); any {
			row.Families = append(row.Families, w.familyPath(p, f))
		}
	}
	return row
}

func (w *wanted) familyPath(p *fabric.Peer, f fabric.Family) api.FamilyPath {
	to := w.ways.at(p.ID).family(f)
	way := w.wayTo(p, f)
	out := api.FamilyPath{Family: f.String(), Path: "none", Reason: way.reason, Full: backends.PeerMTU(w.input, w.ways.plan(p), p)}
	if way.kind != "" {
		out.Path = string(way.kind)
	}
	if choice, known := w.ways.chooser.Last(paths.Key{Peer: p.ID, Family: f}); known {
		out.Since, out.Switches, out.Next = choice.Since, choice.Switches, word(choice.Next)
		if to.way > wayKept {
			out.Reason = choice.Reason
		}
	}
	if to.way >= wayKept {
		if out.MTU = out.Full; to.mtu != 0 {
			out.MTU = int(to.mtu)
		}
	}
	for _, o := range w.offers(p, f) {
		v := w.ways.ask(probe.Key{Peer: p.ID, Family: f, Path: o.Path})
		out.Offers = append(out.Offers, api.PathOffer{
			Path: word(o.Path), State: stateWords[o.State], Probe: verdictWords[v.State], MTU: v.MTU, Reason: o.Reason,
		})
	}
	return out
}
