package store

import (
	"cmp"
	"fmt"
	"net/netip"
	"reflect"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// claimant is a node that wants its share of the fabric.
type claimant struct {
	self     fabric.Node
	instance string
	index    uint32          // had before; 0: none
	had      []fabric.Subnet // now if live, else in an earlier life
	live     bool
	avoid    []netip.Prefix // lost to others just now
	epoch    uint64         // of subnets that are newly leased
	long     etcdLease
	short    etcdLease
	demand
}

// plan is what a claimant has to write, and what it has once that is written.
// With nothing to write, it has it already.
type plan struct {
	state   LeaseState // Leased, or why not
	reason  string
	index   uint32
	subnets []fabric.Subnet          // per family, oldest first
	denied  fabric.PerFamily[string] // why one more of a family cannot be had
	gone    []netip.Prefix           // given back by it
	unbound []clientv3.LeaseID       // etcd leases that subnets are taken off
	partial bool                     // there is more to do once this is written
	txn     *txn
}

func (p plan) writes() bool { return len(p.txn.ops) > 0 }

// plan computes the next transaction of a claimant that is not barred. Everything it decides on is
// compared in the transaction, so whoever decided on an older view loses the
// race and decides again.
func (v *view) plan(c claimant, t *txn) plan {
	p := plan{txn: t}
	t.unchanged(keyFabric, v.keyRev(keyFabric))
	if p.partial = v.giveUpStrays(c, t); p.partial {
		return p
	}
	p.index = v.planNode(c, t)
	v.planAlive(c, t)
	v.planSubnets(c, &p)
	return p
}

// barred says why the node may not claim anything: a state and its reason.
func (v *view) barred(c claimant) (LeaseState, string) {
	if why := v.refusal(c); why != "" {
		return Refused, why
	}
	if b, ok := v.bad[keyFabric]; ok && v.spec == nil {
		return Waiting, "the Fabric object in etcd cannot be read: " + b.reason
	}
	if v.spec == nil {
		return Waiting, "there is no Fabric object in etcd yet (write one with `weft apply -f FILE`)"
	}
	return "", ""
}

// refusal says why the node may not take part: another living host has its
// name or its id.
func (v *view) refusal(c claimant) string {
	a, ok := v.alive[c.self.Name]
	if ok && (a.ID != c.self.ID || a.Instance != c.instance) {
		if a.ID == c.self.ID {
			return fmt.Sprintf("another living host has the node id %s and the name %s (its instance is %s); give this host an id of its own", a.ID, c.self.Name, printable(a.Instance))
		}
		return fmt.Sprintf("another living host has the name %s (its node id is %s); give this host a name of its own", c.self.Name, quote(string(a.ID)))
	}
	for r := range v.claims[idResource(c.self.ID)].all {
		a, ok := v.alive[r.node.Name]
		if ok && a.ID == c.self.ID && a.Instance != c.instance {
			return fmt.Sprintf("another living host, %s, has the node id %s; give this host an id of its own", r.node.Name, a.ID)
		}
	}
	return ""
}

// keyRev is the mod revision of a key as this view has it, 0 if it is absent.
func (v *view) keyRev(key string) int64 {
	if b, ok := v.bad[key]; ok {
		return b.mod
	}
	info, err := parseKey(key)
	if err != nil {
		return 0
	}
	var r *record
	switch info.kind {
	case kindFabric:
		return v.specRev
	case kindAlive:
		return v.alive[info.name].mod
	case kindLock:
		return v.locks.queues[info.lock][info.name].mod
	case kindReport:
		return v.reports.keyRev(info.name)
	case kindObject:
		return v.objects.keyRev(key)
	case kindNode:
		r = v.nodes[info.name]
	case kindSubnet:
		r = v.subnets[info.prefix]
	}
	if r == nil {
		return 0
	}
	return r.mod
}

// giveUpStrays drops own subnets that do not belong to the fabric (any more)
// or lose to an older record. They go in a transaction of their own: a claim
// that overlaps one of them could not pass its compares in the same.
func (v *view) giveUpStrays(c claimant, t *txn) bool {
	var strays []*record
	for _, r := range v.owned[c.self.ID] {
		if !r.inForce() {
			strays = append(strays, r)
		}
	}
	t.dropSubnets(strays)
	return len(strays) > 0
}

// planNode writes the node record and returns its index. A host that was
// renamed takes its record along.
func (v *view) planNode(c claimant, t *txn) uint32 {
	key, old := nodeKey(c.self.Name), v.nodes[c.self.Name]
	want := c.self
	if old != nil && old.node.ID == c.self.ID {
		want.Index = old.node.Index
	}
	for r := range v.claims[idResource(c.self.ID)].all {
		if r.node.Name == c.self.Name {
			continue
		}
		want.Index = cmp.Or(want.Index, r.node.Index)
		t.unchanged(r.key, r.mod)
		t.del(r.key)
		t.unchanged(aliveKey(r.node.Name), v.keyRev(aliveKey(r.node.Name)))
		t.del(aliveKey(r.node.Name))
	}
	if want.Index == 0 && c.live {
		want.Index = c.index // its record is gone: put it back as it was
	}
	if want.Index == 0 || !v.indexFree(want.Index, c.self.ID) {
		want.Index = c.index
		if want.Index == 0 || !v.indexFree(want.Index, c.self.ID) {
			want.Index = v.smallestFreeIndex(c.self.ID)
		}
		t.unwritten(dirNodes, v.rev)
	}
	_, bad := v.bad[key]
	if old == nil || bad || !reflect.DeepEqual(*old.node, want) {
		t.unchanged(key, v.keyRev(key))
		t.put(key, encodeJSON(want), 0)
		if _, ok := v.removed[c.self.Name]; ok {
			t.del(removedKey(c.self.Name))
		}
	}
	return want.Index
}

// indexFree reports whether no other node has the index, by a record that is
// older than this node's own, or in a life that is held.
func (v *view) indexFree(index uint32, self fabric.NodeID) bool {
	if r := v.holder(indexResource(index)); r != nil && r.node.ID != self {
		return false
	}
	for id, p := range v.hold.held {
		if p.Index == index && id != self {
			return false
		}
	}
	return true
}

func (v *view) smallestFreeIndex(self fabric.NodeID) uint32 {
	used := make(map[uint32]struct{}, len(v.nodes))
	for _, r := range v.nodes {
		if r.node.ID != self {
			used[r.node.Index] = struct{}{}
		}
	}
	for id, p := range v.hold.held {
		if id != self {
			used[p.Index] = struct{}{}
		}
	}
	i := uint32(1)
	for ; ; i++ {
		if _, ok := used[i]; !ok {
			return i
		}
	}
}

// planAlive writes the alive key. It is compared even when there is nothing
// to write, so that two hosts cannot pass each other.
func (v *view) planAlive(c claimant, t *txn) {
	key := aliveKey(c.self.Name)
	want := aliveValue{ID: c.self.ID, Instance: c.instance}
	t.unchanged(key, v.keyRev(key))
	if a, ok := v.alive[c.self.Name]; !ok || a.aliveValue != want || a.lease != int64(c.short.id) {
		t.put(key, encodeJSON(want), int64(c.short.id))
	}
}

// leaseTimes are the lives of a node's leases under a spec.
func leaseTimes(spec *fabric.Spec, id fabric.NodeID, instance string) (long, short etcdLease) {
	return longLease(id, time.Duration(spec.Lease.TTL)), shortLease(id, instance, time.Duration(spec.Lease.Liveness))
}
