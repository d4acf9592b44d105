package migrate

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
)

const (
	// volley is how many probes each way gets at once.
	volley = 3
	// smallProbe is the size of a packet that every path carries, bytes (RFC
	// 8200, section 5).
	smallProbe = 1280
)

// fault is why a step is not taken, or is taken back.
type fault struct {
	peer   string // empty: this node
	reason string
}

func (f fault) String() string {
	if f.peer == "" {
		return f.reason
	}
	return f.peer + ": " + f.reason
}

// pair is what a step moves: one family of one peer, and what was found of it by
// the plan to be followed and by the other.
type pair struct {
	peer        *fabric.Peer
	family      fabric.Family
	plan, other way
}

func (p *pair) byPlan() *way  { return &p.plan }
func (p *pair) byOther() *way { return &p.other }

// way is a way of one plan, and what came of probing it.
type way struct {
	target probe.Target
	there  bool   // there is one
	word   string // for it
	result probe.Result
}

// unsent reports whether there is a way that no probe could be sent by.
func (w way) unsent() bool { return w.there && w.result.Sent == 0 }

// whole reports whether every probe was answered.
func (w way) whole() bool {
	return w.there && w.result.Sent > 0 && w.result.Answered >= w.result.Sent
}

// compare probes the peers by the step's plan. It finds fault where packets are
// lost that arrive by the other plan: what is lost by both, because a host is
// down, is no reason to stop. A loss counts when a second look, at both ways,
// finds one; the first may have been of any packet.
func (t *Task) compare(ctx context.Context, s step) (*fault, error) {
	pairs, err := t.pairs(ctx, s)
	if err != nil {
		return nil, err
	}
	t.probe(ctx, pairs, (*pair).byPlan)
	pairs = slices.DeleteFunc(pairs, func(p *pair) bool { return p.plan.whole() || p.same() })
	if len(pairs) == 0 || ctx.Err() != nil {
		return nil, ctx.Err()
	}
	t.probe(ctx, pairs, (*pair).byPlan)
	t.probe(ctx, pairs, (*pair).byOther)
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	for _, p := range pairs {
		if reason := p.worse(); reason != "" {
			return &fault{p.peer.Name, p.family.String() + ": " + reason + t.smaller(ctx, p)}, nil
		}
	}
	return nil, nil
}

// pairs asks for the ways of both plans.
func (t *Task) pairs(ctx context.Context, s step) ([]*pair, error) {
	all := map[paths.Key]*pair{}
	for _, side := range []struct {
		plan fabric.Plan
		way  func(*pair) *way
	}{{s.plan, (*pair).byPlan}, {s.other, (*pair).byOther}} {
		targets, err := t.opt.Ways.Targets(ctx, side.plan, s.peers)
		if err != nil {
			return nil, fmt.Errorf("ways to %d peers: %w", len(s.peers), err)
		}
		for _, target := range targets {
			k := paths.Key{Peer: target.Peer, Family: target.Family}
			i := slices.IndexFunc(s.peers, func(p *fabric.Peer) bool { return p.ID == k.Peer })
			if i < 0 {
				continue
			}
			if all[k] == nil {
				all[k] = &pair{peer: s.peers[i], family: k.Family}
			}
			*side.way(all[k]) = way{target: target, there: true, word: pathWord(target.Path, s.plan, s.other)}
		}
	}
	var out []*pair
	for _, p := range all {
		out = append(out, p)
	}
	slices.SortFunc(out, func(a, b *pair) int {
		return cmp.Or(cmp.Compare(a.peer.ID, b.peer.ID), cmp.Compare(a.family.String(), b.family.String()))
	})
	return out, nil
}

// probe sends a volley by one way of each pair and notes what came of it.
func (t *Task) probe(ctx context.Context, pairs []*pair, side func(*pair) *way) {
	var targets []probe.Target
	for _, p := range pairs {
		if w := side(p); w.there {
			targets = append(targets, w.target)
		}
	}
	if len(targets) == 0 {
		return
	}
	found := map[probe.Key]probe.Result{}
	for _, r := range t.opt.Ways.Volley(ctx, targets, volley, 0) {
		found[r.Key] = r
	}
	for _, p := range pairs {
		w := side(p)
		w.result = found[w.target.Key]
	}
}

// same reports whether both plans send the same way: nothing is moved then.
func (p *pair) same() bool {
	return p.plan.there && p.other.there && p.plan.target.Key == p.other.target.Key
}

// worse says why the plan's way is worse than the other one, empty: it is not.
func (p *pair) worse() string {
	plan, other := p.plan, p.other
	lost := func(w way) string {
		if w.result.Answered >= w.result.Sent {
			return fmt.Sprintf("all %d by %s did", w.result.Sent, w.word)
		}
		return fmt.Sprintf("%d of %d probes of %d bytes by %s got no answer", w.result.Sent-w.result.Answered, w.result.Sent, w.target.Full, w.word)
	}
	switch answers := other.result.Answered > 0; {
	case !plan.there && answers:
		return "there is no way to it now but " + other.word
	case !plan.there:
		return ""
	case plan.unsent() && (answers || p.peer.Alive):
		return fmt.Sprintf("no probe could be sent by %s: %s", plan.word, cmp.Or(plan.result.Err, "nobody says why"))
	case plan.result.Answered == 0 && other.unsent() && p.peer.Alive:
		return lost(plan) + fmt.Sprintf(", and none could be sent by %s: %s", other.word, cmp.Or(other.result.Err, "nobody says why"))
	case plan.result.Answered*other.result.Sent < other.result.Answered*plan.result.Sent:
		return lost(plan) + "; " + lost(other)
	}
	return ""
}

// smaller finds out, for people, whether the size of the packets is what is wrong.
func (t *Task) smaller(ctx context.Context, p *pair) string {
	if !p.plan.there || p.plan.result.Sent == 0 || p.plan.target.Full <= smallProbe {
		return ""
	}
	for _, r := range t.opt.Ways.Volley(ctx, []probe.Target{p.plan.target}, volley, smallProbe) {
		if r.Sent > 0 && r.Answered == r.Sent {
			return fmt.Sprintf("; those of %d bytes arrive: the path carries less than the plan needs", smallProbe)
		}
	}
	return ""
}
