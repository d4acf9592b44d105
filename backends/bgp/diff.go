package bgp

import (
	"crypto/sha256"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// Objects are what operators write.
type Objects struct {
	Spec *fabric.Spec
	BGP  *fabric.BGP
}

// DiffResets says, a line each, which sessions of which nodes a change of the
// objects would reset or end, and why. It plans for every node as far as the
// fabric knows it: a node's gateways are not known, so a placeholder stands for
// them, nor what a password's file holds (another file is taken for another
// password) or what the node's own file overrides.
func DiffResets(before, after Objects, nodes []*fabric.Peer) []string {
	effects := make(map[string]*effect)
	for _, n := range nodes {
		for _, e := range nodeEffects(before.facts(n, nodes), after.facts(n, nodes)) {
			kind := e.kind()
			if effects[kind] == nil {
				effects[kind] = &e
			}
			effects[kind].add(e, n.Name)
		}
	}
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(effects)) {
		out = append(out, effects[kind].String())
	}
	return out
}

// effect is what a change does to the sessions of an object, or to all.
type effect struct {
	object  string // empty: every session
	what    string // "reset" or "end"
	reasons []string
	nodes   []string
	differ  bool // from node to node, in the values
}

// kind is the same for effects that are told as one.
func (e *effect) kind() string {
	return e.object + " " + e.what + " " + strings.Join(bare(e.reasons), ";")
}

// bare leaves the values out of reasons.
func bare(reasons []string) []string {
	out := make([]string, len(reasons))
	for i, r := range reasons {
		out[i], _, _ = strings.Cut(r, " from ")
	}
	return out
}

func (e *effect) add(other effect, node string) {
	e.differ = e.differ || !slices.Equal(e.reasons, other.reasons)
	if len(e.nodes) == 0 || e.nodes[len(e.nodes)-1] != node { // they come node by node
		e.nodes = append(e.nodes, node)
	}
}

func (e *effect) String() string {
	whose, reasons := e.object+": sessions of ", e.reasons
	if e.object == "" {
		whose = "all sessions of "
	}
	if e.differ {
		reasons = bare(reasons)
	}
	text := whose + nodeNames(e.nodes) + " " + e.what
	if len(reasons) > 0 {
		text += ": " + strings.Join(reasons, "; ")
	}
	return text
}

// gatewayOf stands for the gateways of a node: the address is nobody's.
func gatewayOf(f fabric.Family) netip.Addr { return defaultRoute(f).Addr().Next() }

func (o Objects) facts(n *fabric.Peer, nodes []*fabric.Peer) Facts {
	f := Facts{
		Spec: o.Spec, BGP: o.BGP, Self: n.Node, Peers: nodes,
		Underlay: kernel.Underlay{Addrs: n.Underlay}, Secrets: make(map[string]Credential),
	}
	for _, family := range fabric.Families {
		if n.Underlay.Get(family).IsValid() {
			f.Gateways = append(f.Gateways, gatewayOf(family))
		}
	}
	if o.BGP != nil {
		for _, p := range o.BGP.Peers {
			if path := p.Spec.Auth.MD5File; path != "" {
				f.Secrets[path] = Credential{Secret: Secret(fmt.Sprintf("%x", sha256.Sum256([]byte(path))))}
			}
		}
	}
	return f
}

// nodeEffects is what happens on one node.
func nodeEffects(before, after Facts) []effect {
	if before.Spec == nil || before.Spec.Backend != config.BackendBGP || after.Spec == nil {
		return nil
	}
	was, _ := Plan(before)
	if after.Spec.Backend != config.BackendBGP && len(was.Sessions)+len(was.Ranges) > 0 {
		return []effect{{what: "end", reasons: []string{"the backend is no longer bgp"}}}
	}
	will, _ := Plan(after)
	if was.Global.ASN == 0 || will.Global.ASN == 0 || len(was.Sessions)+len(was.Ranges) == 0 {
		return nil // it does not speak, or stays as it is
	}
	if reasons := GlobalResets(was.Global, will.Global); len(reasons) > 0 {
		return []effect{{what: "reset", reasons: reasons}}
	}
	return append(sessionEffects(was.Sessions, will.Sessions), rangeEffects(was.Ranges, will.Ranges)...)
}

func sessionEffects(was, will []Session) (out []effect) {
	before, gone := predecessors(was, will)
	for _, s := range gone {
		out = append(out, effect{object: objectOf(s), what: "end"})
	}
	var told difference
	for i := range will {
		if before[i] == nil || before[i].Key == will[i].Key && before[i].Opening == will[i].Opening {
			continue
		}
		if d := differenceOf(before[i], &will[i]); d != told {
			out = append(out, effect{object: d.object, what: "reset", reasons: sessionResets(before[i], &will[i])})
			told = d
		}
	}
	return out
}

// difference is the same for sessions that are reset for the same reasons: all
// those of a mesh are, and one of them is enough to put into words.
type difference struct {
	object, renamed string
	from, to        Opening
}

func differenceOf(before, after *Session) difference {
	d := difference{object: objectOf(before), renamed: objectOf(after), from: before.Opening, to: after.Opening}
	d.from.Address, d.to.Address = netip.Addr{}, netip.Addr{} // they are the same
	if d.from.RemoteASN == d.to.RemoteASN {
		d.from.RemoteASN, d.to.RemoteASN = 0, 0
	}
	if d.from.Passive == d.to.Passive {
		d.from.Passive, d.to.Passive = false, false
	}
	return d
}

func rangeEffects(was, will []Range) (out []effect) {
	for i := range was {
		before := &was[i].Template
		j := slices.IndexFunc(will, func(r Range) bool { return r.Prefix == was[i].Prefix })
		if j < 0 {
			out = append(out, effect{object: objectOf(before), what: "end"})
		} else if reasons := Resets(*before, will[j].Template); len(reasons) > 0 {
			out = append(out, effect{object: objectOf(before), what: "reset", reasons: reasons})
		}
	}
	return out
}

// nodeNames says which nodes, a few of them by name.
func nodeNames(names []string) string {
	const most = 3
	if len(names) == 1 {
		return "node " + names[0]
	}
	text := strings.Join(names[:min(len(names), most)], ", ")
	if len(names) > most {
		text += ", ..."
	}
	return fmt.Sprintf("%d nodes (%s)", len(names), text)
}
