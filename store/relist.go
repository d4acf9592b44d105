package store

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// expect makes room in an empty view for about n nodes, each with its alive key
// and one subnet: maps that grow step by step cost twice.
func (v *view) expect(n int) {
	if len(v.nodes)+len(v.subnets) > 0 {
		return
	}
	v.nodes = make(map[string]*record, n)
	v.subnets = make(map[netip.Prefix]*record, n)
	v.owned = make(map[fabric.NodeID][]*record, n)
	v.alive = make(map[string]aliveRecord, n)
	v.dirty = make(map[fabric.NodeID]struct{}, n)
	v.claims = make(map[resource]claimants, 4*n) // id, index, MAC, an address
}

// relist takes a whole list as the truth: what it lacks is gone. Whether what
// is gone is also removed from the snapshot is the hold's decision.
func (v *view) relist(kvs func(yield func(kv) bool), cluster uint64, rev int64) {
	v.gen++
	clear(v.removed)
	clear(v.objects.deleted)
	clear(v.objects.finished)
	fabricSeen := false
	for e := range kvs {
		fabricSeen = fabricSeen || e.key == keyFabric
		v.put(e)
	}
	if !fabricSeen {
		v.del(keyFabric, 0)
	}
	v.sweep()
	v.cluster, v.rev = cluster, rev
}

// sweep deletes what the last list did not have.
func (v *view) sweep() {
	for key, b := range v.bad {
		if b.gen != v.gen {
			v.forget(key)
		}
	}
	for name, a := range v.alive {
		if a.gen != v.gen {
			v.del(aliveKey(name), 0)
		}
	}
	for _, r := range v.subnets {
		if r.gen != v.gen {
			v.del(r.key, 0)
		}
	}
	for _, r := range v.nodes {
		if r.gen != v.gen {
			v.del(r.key, 0)
		}
	}
	for key, o := range v.objects.all {
		if o.gen != v.gen {
			v.delObject(key, 0)
		}
	}
	v.reports.sweep(v.gen)
	v.locks.sweep(v.gen)
}
