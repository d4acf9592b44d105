package store

import (
	"container/heap"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/weft-net/weft/fabric"
)

// What one node can have only alone.
const (
	claimID uint8 = iota + 1
	claimIndex
	claimMAC
	claimUnderlay
)

// resource is one thing that at most one node can have: small and comparable,
// as there are five per node.
type resource struct {
	kind   uint8
	hi, lo uint64
}

func (r resource) String() string {
	return [...]string{"", "node id", "index", "VTEP MAC", "underlay address"}[r.kind]
}

func idResource(id fabric.NodeID) resource {
	sum := sha256.Sum256([]byte(id))
	return resource{claimID, binary.BigEndian.Uint64(sum[:8]), binary.BigEndian.Uint64(sum[8:16])}
}

func indexResource(i uint32) resource { return resource{claimIndex, 0, uint64(i)} }

// mostResources is what a node can claim at most.
const mostResources = 5

// resources appends what a node claims to out.
func resources(out []resource, n *fabric.Node) []resource {
	out = append(out, idResource(n.ID), indexResource(n.Index))
	if n.VTEPMAC.Valid() {
		var b [8]byte
		copy(b[2:], n.VTEPMAC[:])
		out = append(out, resource{claimMAC, 0, binary.BigEndian.Uint64(b[:])})
	}
	for _, f := range fabric.Families {
		if a := n.Underlay.Get(f); a.IsValid() {
			b := a.As16()
			out = append(out, resource{claimUnderlay, binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])})
		}
	}
	return out
}

// claimants are the records that claim one resource: one, but for collisions.
type claimants struct {
	first *record
	more  *[]*record // nil: there are none
}

// rest are all but the first.
func (c claimants) rest() []*record {
	if c.more == nil {
		return nil
	}
	return *c.more
}

func (c claimants) with(r *record) claimants {
	if c.first == nil {
		return claimants{first: r}
	}
	rest := append(c.rest(), r)
	return claimants{c.first, &rest}
}

func (c claimants) without(r *record) claimants {
	rest := c.rest()
	switch {
	case c.first != r:
		rest = slices.DeleteFunc(rest, func(o *record) bool { return o == r })
	case len(rest) == 0:
		return claimants{}
	default:
		c.first, rest = rest[0], rest[1:]
	}
	if c.more = nil; len(rest) > 0 {
		c.more = &rest
	}
	return c
}

func (c claimants) all(yield func(*record) bool) {
	if c.first == nil || !yield(c.first) {
		return
	}
	for _, r := range c.rest() {
		if !yield(r) {
			return
		}
	}
}

// setNode puts a node record in the place of the one with its name.
func (v *view) setNode(r *record) {
	if old := v.nodes[r.node.Name]; old != nil {
		v.dropNode(old)
	}
	v.nodes[r.node.Name] = r
	contested := false
	var room [mostResources]resource
	for _, res := range resources(room[:0], r.node) {
		c := v.claims[res]
		contested = contested || c.first != nil
		v.claims[res] = c.with(r)
	}
	if contested { // hardly ever
		v.pending.add(r)
		v.challenge(r)
	}
	v.touch(r.node.ID)
}

func (v *view) dropNode(r *record) {
	delete(v.nodes, r.node.Name)
	v.challenge(r)
	var room [mostResources]resource
	for _, res := range resources(room[:0], r.node) {
		if left := v.claims[res].without(r); left.first != nil {
			v.claims[res] = left
		} else {
			delete(v.claims, res)
		}
	}
	v.retire(r)
	v.touch(r.node.ID)
}

// setSubnet puts a subnet record in the place of the one with its prefix.
func (v *view) setSubnet(r *record) {
	if old := v.subnets[r.subnet.Prefix]; old != nil {
		v.dropSubnet(old)
	}
	r.outside = outsideOf(v.spec, r.subnet.Prefix)
	r.lost = ""
	v.subnets[r.subnet.Prefix] = r
	if id := r.subnet.Owner; id != "" {
		v.owned[id] = append(v.owned[id], r)
		v.touch(id)
	}
	if r.subnet.For != "" {
		v.staleReservation = true
	}
	if r.outside != "" {
		v.losers[r.key] = r
		v.staleProblems = true
		return
	}
	v.order.insert(r)
	v.rivals(r, func(*record, string) { v.pending.add(r) })
	v.challenge(r)
}

func (v *view) dropSubnet(r *record) {
	delete(v.subnets, r.subnet.Prefix)
	if id := r.subnet.Owner; id != "" {
		left := slices.DeleteFunc(v.owned[id], func(o *record) bool { return o == r })
		if len(left) == 0 {
			delete(v.owned, id)
		} else {
			v.owned[id] = left
		}
		v.touch(id)
	}
	if r.subnet.For != "" {
		v.staleReservation = true
	}
	if _, ok := v.orphans[r.key]; ok {
		delete(v.orphans, r.key)
		v.staleProblems = true
	}
	if r.outside == "" {
		v.challenge(r)
		v.order.remove(r)
	}
	v.retire(r)
}

// retire takes a record that is gone out of what is being settled.
func (v *view) retire(r *record) {
	v.pending.remove(r)
	if _, ok := v.losers[r.key]; ok {
		delete(v.losers, r.key)
		v.staleProblems = true
	}
}

// rivals calls f for every record that claims something r claims too.
func (v *view) rivals(r *record, f func(o *record, over string)) {
	if r.subnet != nil {
		v.order.overlapping(r.subnet.Prefix, func(o *record) {
			if o != r {
				f(o, "subnet")
			}
		})
		return
	}
	var room [mostResources]resource
	for _, res := range resources(room[:0], r.node) {
		for o := range v.claims[res].all {
			if o != r {
				f(o, res.String())
			}
		}
	}
}

// challenge queues all younger rivals of r to be settled.
func (v *view) challenge(r *record) {
	v.rivals(r, func(o *record, _ string) {
		if r.olderThan(o) {
			v.pending.add(o)
		}
	})
}

// settle decides, oldest first, which records are in force: those that claim
// nothing that an older record in force claims. A record that does not count
// claims nothing, so that it cannot hurt a third one. The outcome depends on
// the set of records alone, never on the order in which they came, so all
// nodes agree on it. A verdict depends on older records only, hence one pass
// by age is enough and settles only what can have changed.
func (v *view) settle() {
	for v.pending.Len() > 0 {
		r := v.pending.next()
		was, lost := r.lost, ""
		v.rivals(r, func(o *record, over string) {
			if lost == "" && o.inForce() && o.olderThan(r) {
				lost = fmt.Sprintf("its %s is that of %s, which is older", over, o.key)
			}
		})
		if r.lost = lost; lost == was {
			continue
		}
		v.staleProblems = true
		v.staleReservation = v.staleReservation || r.subnet != nil
		if lost == "" {
			delete(v.losers, r.key)
		} else {
			v.losers[r.key] = r
		}
		v.touch(r.owner())
		if (lost == "") != (was == "") {
			v.challenge(r)
		}
	}
}

func (r *record) owner() fabric.NodeID {
	if r.node != nil {
		return r.node.ID
	}
	return r.subnet.Owner
}

// contenders is a heap of records, the oldest on top.
type contenders struct {
	heap   []*record
	queued map[*record]struct{}
}

func (c *contenders) Len() int           { return len(c.heap) }
func (c *contenders) Less(i, j int) bool { return c.heap[i].olderThan(c.heap[j]) }
func (c *contenders) Swap(i, j int)      { c.heap[i], c.heap[j] = c.heap[j], c.heap[i] }

// Push and Pop are container/heap's; use add and next.
func (c *contenders) Push(x any) { c.heap = append(c.heap, x.(*record)) }
func (c *contenders) Pop() any {
	last := c.heap[len(c.heap)-1]
	c.heap = c.heap[:len(c.heap)-1]
	return last
}

func (c *contenders) add(r *record) {
	if _, ok := c.queued[r]; !ok {
		c.queued[r] = struct{}{}
		heap.Push(c, r)
	}
}

func (c *contenders) next() *record {
	r := heap.Pop(c).(*record)
	delete(c.queued, r)
	return r
}

func (c *contenders) remove(r *record) {
	if _, ok := c.queued[r]; !ok {
		return
	}
	delete(c.queued, r)
	heap.Remove(c, slices.Index(c.heap, r))
}
