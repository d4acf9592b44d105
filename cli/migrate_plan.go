package cli

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// The migrations that there are, by their commands.
const (
	vxlanToBGP = "vxlan-to-bgp"
	bgpToVXLAN = "bgp-to-vxlan"
	newOverlay = "vxlan"
)

// request is what an operator asks for.
type request struct {
	kind    string
	overlay overlayFlags    // of newOverlay
	nodes   fabric.Selector // nil: all
}

// overlayFlags are the settings of the overlay that were given; nil: not.
type overlayFlags struct {
	port        *uint16
	vni         *uint32
	mtu         *int
	udpChecksum *bool
}

func (o overlayFlags) none() bool { return o == overlayFlags{} }

// set overwrites what is given.
func (o overlayFlags) set(v *fabric.VXLANSpec) {
	if o.port != nil {
		v.Port = *o.port
	}
	if o.vni != nil {
		v.VNI = *o.vni
	}
	if o.mtu != nil {
		v.MTU = *o.mtu
	}
	if o.udpChecksum != nil {
		v.UDPChecksum = *o.udpChecksum
	}
}

// goal is the plan that a request leads to from the one in force.
func (r request) goal(from fabric.Plan) (fabric.Plan, error) {
	to := from
	switch r.kind {
	case newOverlay:
		return r.overlay.goal(from)
	case vxlanToBGP:
		to.Backend = config.BackendBGP
	case bgpToVXLAN:
		to.Backend = config.BackendVXLAN
	}
	if from.Backend == to.Backend {
		return to, &failure{code: exitFailed, err: fmt.Errorf("spec.backend is %s already: there is nothing to move", to.Backend),
			hint: "which ways it prefers (spec.paths, spec.overlay) changes with `weft apply`"}
	}
	to.Paths, to.Overlay = nil, "" // what the new backend does by default
	return to, nil
}

// goal changes the overlay. The kernel changes the VNI and port of a device only
// by making it anew, so another device goes up beside it: the next generation.
func (o overlayFlags) goal(from fabric.Plan) (fabric.Plan, error) {
	to := from
	if o.none() {
		return to, usagef("weft migrate vxlan needs --port, --vni, --mtu or --udp-checksum: what shall it be moved to?")
	}
	o.set(&to.VXLAN)
	moves := to.VXLAN.Port != from.VXLAN.Port || to.VXLAN.VNI != from.VXLAN.VNI
	switch {
	case to.Equal(from):
		return to, &failure{code: exitFailed, err: errors.New("spec.vxlan is so already: there is nothing to move")}
	case to.VXLAN.UDPChecksum != from.VXLAN.UDPChecksum && !moves:
		return to, usagef("--udp-checksum needs another --port or --vni with it: no host can have two overlays of one port and VNI side by side")
	case moves:
		to.VXLAN.Generation++
	}
	return to, nil
}

// world is the fabric that a request meets.
type world struct {
	name   string // the Fabric's
	snap   *fabric.Snapshot
	before bgp.Objects
}

// consider refuses a migration that cannot come to a good end.
func (w world) consider(r request, to fabric.Plan) error {
	after, err := complete(w.name, to.Apply(w.snap.Spec))
	if err != nil {
		return usagef("%w", err)
	}
	reasons := config.CheckUnderlay(after, w.snap.Peers)
	for _, c := range newConflicts(w.before, bgp.Objects{Spec: after, BGP: w.before.BGP}, w.snap.Peers) {
		reasons = append(reasons, conflictText(c, nil))
	}
	if len(reasons) > 0 {
		return errors.New(strings.Join(reasons, "; "))
	}
	if r.kind == vxlanToBGP && (w.snap.BGP == nil || len(w.snap.BGP.Peers) == 0) {
		return &failure{code: exitFailed, err: errors.New("there is no BGPPeer object: no node would have a session"),
			hint: "`weft apply` one first; it does nothing until the nodes are asked to route"}
	}
	return w.considerNodes(r.nodes)
}

// considerNodes refuses a selection of nodes that moves nobody, or that a rule
// of the operator's keeps from moving.
func (w world) considerNodes(chosen fabric.Selector) error {
	able, found := false, chosen == nil
	for _, p := range w.snap.Peers {
		able = able || p.Alive && p.Migrates()
		if chosen == nil || !chosen.Matches(p.Labels) {
			continue
		}
		found = true
		for i, rule := range w.snap.Spec.PathRules {
			if rule.Nodes.Matches(p.Labels) {
				return fmt.Errorf("spec.pathRules[%d] sets the paths of node %s already, and counts before what it would be moved to: take the rule out first", i, p.Name)
			}
		}
	}
	switch {
	case !found:
		return &failure{code: exitFailed, err: fmt.Errorf("no node has the labels %s", selectorWords(chosen)), hint: "`weft nodes -o json` shows them"}
	case !able:
		return &failure{code: exitFailed, err: errors.New("no node whose agent runs takes part in migrations"), hint: "`weft nodes -o wide` shows agents and versions"}
	}
	return nil
}

// finished is the specification once a migration is over: with its new plan, or
// where only some nodes moved, with a rule for these.
func finished(s *fabric.Spec, m *fabric.Migration) *fabric.Spec {
	if m.Nodes == nil {
		return m.To.Apply(s)
	}
	rule := fabric.PathRule{Nodes: m.Nodes, Overlay: fabric.OverlayAlways}
	switch {
	case m.To.Backend == config.BackendBGP:
		rule.Overlay = fabric.OverlayFallback
	case m.To.VXLAN.DirectRouting:
		rule.Overlay = fabric.OverlayCrossSubnet
	}
	out := *s
	out.PathRules = append([]fabric.PathRule{rule}, s.PathRules...)
	return &out
}

// complete gives a specification what it needs, and says what is wrong with it:
// a backend that it did not have before may need more than it says.
func complete(name string, s *fabric.Spec) (*fabric.Spec, error) {
	raw, err := fabricObject(name, s).Encode()
	if err != nil {
		return nil, err
	}
	o, err := config.DecodeObject(raw)
	if err != nil {
		return nil, errors.New(strings.TrimPrefix(err.Error(), "stored Fabric: "))
	}
	return o.Fabric(), nil
}

func fabricObject(name string, s *fabric.Spec) config.Object {
	return config.Object{APIVersion: config.APIVersion, Kind: "Fabric", Metadata: config.Metadata{Name: name}, Spec: s}
}

// parseSelector reads KEY=VALUE[,KEY=VALUE...].
func parseSelector(text string) (fabric.Selector, error) {
	out := fabric.Selector{}
	for pair := range strings.SplitSeq(text, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(pair), "=")
		if !ok || key == "" || value == "" {
			return nil, usagef("--nodes: %q is not LABEL=VALUE[,LABEL=VALUE...]", text)
		}
		if _, twice := out[key]; twice {
			return nil, usagef("--nodes: the label %s is given twice, and a node has one value", key)
		}
		out[key] = value
	}
	return out, nil
}

// selectorWords is the form that parseSelector reads.
func selectorWords(s fabric.Selector) string {
	var pairs []string
	for _, key := range slices.Sorted(maps.Keys(s)) {
		pairs = append(pairs, key+"="+s[key])
	}
	return strings.Join(pairs, ",")
}

// planWords says what differs between two plans, a line each.
func planWords(from, to fabric.Plan) (out []string) {
	differ := func(path string, a, b any) {
		if x, y := fmt.Sprint(a), fmt.Sprint(b); x != y {
			out = append(out, fmt.Sprintf("%s: %s -> %s", path, x, y))
		}
	}
	differ("backend", from.Backend, to.Backend)
	differ("ways", kindsWords(from.Default(false)), kindsWords(to.Default(false)))
	differ("vxlan.port", from.VXLAN.Port, to.VXLAN.Port)
	differ("vxlan.vni", from.VXLAN.VNI, to.VXLAN.VNI)
	differ("vxlan.udpChecksum", from.VXLAN.UDPChecksum, to.VXLAN.UDPChecksum)
	differ("vxlan.mtu", mtuSetting(from.VXLAN.MTU), mtuSetting(to.VXLAN.MTU))
	return out
}

func mtuSetting(n int) string {
	if n == 0 {
		return "the underlay's less the overhead"
	}
	return fmt.Sprint(n)
}

func kindsWords(kinds []fabric.PathKind) string {
	words := make([]string, len(kinds))
	for i, k := range kinds {
		words[i] = string(k)
	}
	return strings.Join(words, ", ")
}
