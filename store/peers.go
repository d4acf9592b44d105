package store

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
)

// rebuild computes the peers that were touched and puts them into a copy of
// the list. The others keep their pointers.
func (v *view) rebuild(now time.Time) {
	v.checkHeld()
	if len(v.dirty) == 0 {
		return
	}
	fresh := make(map[fabric.NodeID]*fabric.Peer, len(v.dirty))
	for id := range v.dirty {
		fresh[id] = v.buildPeer(id)
	}
	v.applyHold(fresh, now)
	v.dirty = map[fabric.NodeID]struct{}{} // the first has all nodes, and would keep its size
	clear(v.goneAt)

	var next []*fabric.Peer // a copy, made at the first change
	ids := slices.AppendSeq(make([]fabric.NodeID, 0, len(fresh)), maps.Keys(fresh))
	slices.Sort(ids)
	for _, id := range ids {
		p := fresh[id]
		list := v.peers
		if next != nil {
			list = next
		}
		i, known := searchPeer(list, id)
		if p == nil && !known || p != nil && known && reflect.DeepEqual(*p, *list[i]) {
			continue
		}
		if next == nil {
			next = make([]*fabric.Peer, len(v.peers), len(v.peers)+len(fresh))
			copy(next, v.peers)
		}
		switch {
		case p == nil:
			next = slices.Delete(next, i, i+1)
		case known:
			next[i] = p
		default:
			next = slices.Insert(next, i, p)
		}
	}
	if next != nil {
		v.peers = next
	}
}

func searchPeer(list []*fabric.Peer, id fabric.NodeID) (int, bool) {
	return slices.BinarySearchFunc(list, id, func(p *fabric.Peer, id fabric.NodeID) int { return cmp.Compare(p.ID, id) })
}

// peer is the peer as last delivered, or nil.
func (v *view) peer(id fabric.NodeID) *fabric.Peer {
	if i, ok := searchPeer(v.peers, id); ok {
		return v.peers[i]
	}
	return nil
}

// buildPeer joins the node's record in force with its subnets, or returns nil.
func (v *view) buildPeer(id fabric.NodeID) *fabric.Peer {
	n := v.nodeByID(id)
	for _, r := range v.owned[id] {
		_, was := v.orphans[r.key]
		switch {
		case n == nil && !was && r.inForce():
			v.orphans[r.key] = "its owner " + quote(string(id)) + " is the id of no node in force"
			v.staleProblems = true
		case (n != nil || !r.inForce()) && was:
			delete(v.orphans, r.key)
			v.staleProblems = true
		}
	}
	if n == nil {
		return nil
	}
	p := &fabric.Peer{Node: *n.node, Alive: v.livesAs(n.node), CreateRevision: n.create}
	n.node = &p.Node // both are immutable, and one of them is enough
	owned := v.owned[id]
	slices.SortFunc(owned, func(a, b *record) int {
		return cmp.Or(cmp.Compare(a.subnet.Prefix.Addr().BitLen(), b.subnet.Prefix.Addr().BitLen()), byAge(a, b))
	})
	for _, r := range owned {
		if !r.inForce() {
			continue
		}
		if p.Subnets == nil {
			p.Subnets = make([]fabric.Subnet, 0, len(owned))
		}
		p.Subnets = append(p.Subnets, *r.subnet)
		r.subnet = &p.Subnets[len(p.Subnets)-1]
	}
	return p
}

// nodeByID is the node's record in force, or nil.
func (v *view) nodeByID(id fabric.NodeID) *record {
	return v.holder(idResource(id))
}

// holder is the record in force that claims a resource, or nil.
func (v *view) holder(res resource) *record {
	for r := range v.claims[res].all {
		if r.inForce() {
			return r
		}
	}
	return nil
}

func sortSubnets(s []fabric.Subnet) {
	slices.SortFunc(s, func(a, b fabric.Subnet) int { return comparePrefix(a.Prefix, b.Prefix) })
}

func (v *view) listReservations() []fabric.Subnet {
	var out []fabric.Subnet
	for _, r := range v.subnets {
		if r.subnet.Owner == "" && r.inForce() {
			out = append(out, *r.subnet)
		}
	}
	sortSubnets(out)
	return out
}

// listProblems collects everything that is not acted upon, by key.
func (v *view) listProblems() []fabric.Problem {
	reasons := map[string]string{}
	maps.Copy(reasons, v.orphans)
	for key, r := range v.losers {
		reasons[key] = cmp.Or(r.outside, r.lost)
	}
	for key, b := range v.bad {
		reasons[key] = b.reason
		if v.lastGood(key) {
			reasons[key] += "; the last good value stays in force"
		}
	}
	for key, o := range v.objects.all {
		if o.held {
			reasons[key] = "it is gone from etcd, which is held back (" + v.objects.judge.Reason + "); it stays in force"
		}
	}
	if v.specProblem != "" {
		reasons[keyFabric] = v.specProblem
	}
	out := make([]fabric.Problem, 0, len(reasons))
	for key, why := range reasons {
		out = append(out, fabric.Problem{Key: printable(key), Reason: why})
	}
	slices.SortFunc(out, func(a, b fabric.Problem) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// lastGood reports whether a key that is bad now was good before.
func (v *view) lastGood(key string) bool {
	info, err := parseKey(key)
	switch {
	case err != nil:
		return false
	case info.kind == kindFabric:
		return v.spec != nil
	case info.kind == kindNode:
		return v.nodes[info.name] != nil
	case info.kind == kindSubnet:
		return v.subnets[info.prefix] != nil
	case info.kind == kindObject:
		return v.objects.all[key] != nil
	case info.kind == kindReport:
		return v.reports.all[info.name] != nil
	}
	return false
}

func quote(s string) string { return "\"" + printable(s) + "\"" }

// printable cuts and cleans what others wrote before it reaches a terminal.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if len(s) > 128 {
		s = strings.ToValidUTF8(s[:128], "") + "..."
	}
	return s
}
