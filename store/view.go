package store

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// kv is one key as etcd holds it, the key relative to the prefix.
type kv struct {
	key         string
	value       []byte
	create, mod int64
	lease       int64
}

// record is a node or subnet record that decodes. One record may lose to an
// older one (settle.go) and counts for nothing until that one goes.
type record struct {
	key         string
	create, mod int64
	lease       int64
	gen         uint64 // of the last list that had it
	node        *fabric.Node
	subnet      *fabric.Subnet
	outside     string // why the subnet does not belong to the fabric; not a contender
	lost        string // which older record holds what this one claims
}

func (r *record) inForce() bool { return r.outside == "" && r.lost == "" }

// olderThan orders records by age. Every node computes the same order.
func (r *record) olderThan(o *record) bool {
	if r.create != o.create {
		return r.create < o.create
	}
	return r.key < o.key
}

// aliveRecord is an `alive/<name>` key.
type aliveRecord struct {
	aliveValue
	mod   int64
	lease int64
	gen   uint64
}

// badRecord is a key of ours whose value cannot be used.
type badRecord struct {
	reason string
	mod    int64
	gen    uint64
	prefix netip.Prefix // taken by it, if it is a subnet's key
}

// view is the fabric as the records describe it: puts and deletes in,
// snapshots out. It is pure: no clock, no I/O, no goroutine; whoever owns it
// calls it from one goroutine. An event costs what it changes, not what
// there is.
type view struct {
	self    fabric.NodeID // never held; empty for operators
	cluster uint64
	rev     int64
	gen     uint64
	rewound bool // the last list was of another history; until its snapshot

	spec        *fabric.Spec // the last good one
	specRev     int64        // mod revision of the Fabric object, 0: there is none
	specCreate  int64        // when the last one known was created, 0: not known
	specAnew    bool         // it was created again; until the next snapshot
	specProblem string

	nodes   map[string]*record // by name
	subnets map[netip.Prefix]*record
	owned   map[fabric.NodeID][]*record // subnets by owner
	alive   map[string]aliveRecord
	removed map[string]fabric.NodeID // by name: taken out by an operator
	bad     map[string]badRecord     // by key
	orphans map[string]string        // subnets whose owner is no node, by key
	losers  map[string]*record       // records not in force, by key
	objects objects
	reports reportTable
	locks   lockTable

	claims  map[resource]claimants // nodes by what they claim
	order   prefixIndex            // subnets by address
	pending contenders             // to be settled

	dirty            map[fabric.NodeID]struct{} // peers to be computed again
	goneAt           map[fabric.NodeID]int64    // revision at which a record of the peer was deleted
	peers            []*fabric.Peer             // as last delivered
	reservations     []fabric.Subnet
	problems         []fabric.Problem
	staleProblems    bool
	staleReservation bool
	hold             hold
}

func newView(self fabric.NodeID) *view {
	return &view{
		self:    self,
		nodes:   map[string]*record{},
		subnets: map[netip.Prefix]*record{},
		owned:   map[fabric.NodeID][]*record{},
		alive:   map[string]aliveRecord{},
		removed: map[string]fabric.NodeID{},
		bad:     map[string]badRecord{},
		orphans: map[string]string{},
		losers:  map[string]*record{},
		claims:  map[resource]claimants{},
		order:   prefixIndex{lengths: map[prefixLength]int{}},
		pending: contenders{queued: map[*record]struct{}{}},
		dirty:   map[fabric.NodeID]struct{}{},
		goneAt:  map[fabric.NodeID]int64{},
		objects: newObjects(),
		reports: reportTable{all: map[string]*reportRecord{}},
		locks:   newLockTable(),
		hold:    hold{judge: judge{what: "peers"}, held: map[fabric.NodeID]*fabric.Peer{}, letGo: map[fabric.NodeID]bool{}},
	}
}

// put folds in one key. A record that cannot be used costs only itself; if
// the key held a good one before, that stays in force, as a removal needs a
// fact and garbage is none.
func (v *view) put(e kv) {
	info, err := parseKey(e.key)
	if err == nil {
		err = v.putParsed(info, e)
	}
	if err == nil {
		v.forget(e.key)
		return
	}
	v.bad[e.key] = badRecord{reason: err.Error(), mod: e.mod, gen: v.gen, prefix: info.prefix}
	v.staleProblems = true
	v.keepLastGood(info, e)
}

func (v *view) putParsed(info keyInfo, e kv) error {
	switch info.kind {
	case kindFabric:
		v.specAnew = v.specAnew || v.specCreate != 0 && v.specCreate != e.create
		v.specRev, v.specCreate = e.mod, e.create
		spec, err := config.DecodeFabric(e.value)
		if err != nil {
			return err
		}
		v.setSpec(spec)
	case kindNode:
		n, err := decodeNode(info.name, e.value)
		if err != nil {
			return err
		}
		v.setNode(&record{key: e.key, create: e.create, mod: e.mod, lease: e.lease, gen: v.gen, node: n})
	case kindSubnet:
		s, err := decodeSubnet(info.prefix, e.value)
		if err != nil {
			return err
		}
		s.CreateRevision, s.ModRevision, s.EtcdLease = e.create, e.mod, e.lease
		v.setSubnet(&record{key: e.key, create: e.create, mod: e.mod, lease: e.lease, gen: v.gen, subnet: s})
	case kindAlive:
		return v.putAlive(info.name, e)
	case kindRemoved:
		return v.putRemoved(info.name, e)
	case kindObject:
		return v.putObject(e)
	case kindDeleted, kindFinished:
		v.objects.putMark(info, e)
	case kindReport:
		return v.reports.put(info.name, e, v.gen)
	case kindLock:
		return v.locks.put(info, e, v.gen)
	}
	return nil
}

func (v *view) putRemoved(name string, e kv) error {
	var r removedValue
	if err := decodeJSON(e.value, &r); err != nil {
		return err
	}
	v.removed[name] = r.ID
	v.touch(r.ID)
	return nil
}

// putAlive notes that an agent lives. A key without a lease would live for
// ever, so it proves nothing.
func (v *view) putAlive(name string, e kv) error {
	a := aliveRecord{mod: e.mod, lease: e.lease, gen: v.gen}
	err := decodeJSON(e.value, &a.aliveValue)
	if err == nil && e.lease == 0 {
		err = fmt.Errorf("has no etcd lease, so it says nothing about a living agent")
	}
	if err != nil {
		delete(v.alive, name)
	} else {
		v.alive[name] = a
	}
	v.touchName(name)
	return err
}

// keepLastGood notes which revision of the key was seen, for the compares of
// whoever writes it next.
func (v *view) keepLastGood(info keyInfo, e kv) {
	var r *record
	switch info.kind {
	case kindNode:
		r = v.nodes[info.name]
	case kindSubnet:
		r = v.subnets[info.prefix]
	case kindObject:
		v.keepObject(e)
	}
	if r != nil {
		r.mod, r.gen = e.mod, v.gen
	}
}

// del folds in the deletion of a key at a revision (0: found missing in a list).
func (v *view) del(key string, rev int64) {
	v.forget(key)
	info, err := parseKey(key)
	if err != nil {
		return
	}
	switch info.kind {
	case kindFabric:
		v.specRev = 0
		v.specProblem = ""
		if v.spec != nil {
			v.specProblem = "the Fabric object is gone; the last one known stays in force (put it back with `weft apply`)"
		}
		v.staleProblems = true
	case kindNode:
		if r := v.nodes[info.name]; r != nil {
			v.noteGone(r.node.ID, rev)
			v.dropNode(r)
		}
	case kindSubnet:
		if r := v.subnets[info.prefix]; r != nil {
			v.noteGone(r.subnet.Owner, rev)
			v.dropSubnet(r)
		}
	case kindAlive:
		delete(v.alive, info.name)
		v.touchName(info.name)
	case kindRemoved:
		delete(v.removed, info.name)
	case kindObject:
		v.delObject(key, rev)
	case kindDeleted:
		delete(v.objects.deleted, info.name)
	case kindReport:
		v.reports.del(info.name)
	case kindFinished:
		delete(v.objects.finished, info.name)
	case kindLock:
		v.locks.del(info)
	}
}

// forget drops what was said against a key.
func (v *view) forget(key string) {
	if _, ok := v.bad[key]; ok {
		delete(v.bad, key)
		v.staleProblems = true
	}
}

// livesAs reports whether the node's agent renews its alive key.
func (v *view) livesAs(n *fabric.Node) bool {
	a, ok := v.alive[n.Name]
	return ok && a.ID == n.ID
}

// touch marks a peer to be computed again.
func (v *view) touch(id fabric.NodeID) {
	if id != "" {
		v.dirty[id] = struct{}{}
	}
}

func (v *view) touchName(name string) {
	if r := v.nodes[name]; r != nil {
		v.touch(r.node.ID)
		return
	}
	for id, p := range v.hold.held { // empty but for a mass disappearance
		if p.Name == name {
			v.touch(id)
		}
	}
}

func (v *view) noteGone(id fabric.NodeID, rev int64) {
	if id != "" {
		v.goneAt[id] = rev
	}
}

// snapshot settles what was folded in and returns the result. What did not
// change since the last one is shared with it.
func (v *view) snapshot(now time.Time) *fabric.Snapshot {
	v.settle()
	v.rebuild(now)
	v.rebuildObjects(now)
	v.rebuildReports()
	v.rewound, v.specAnew = false, false
	if v.staleReservation {
		v.reservations = v.listReservations()
		v.staleReservation = false
	}
	if v.staleProblems {
		v.problems = v.listProblems()
		v.staleProblems = false
	}
	return &fabric.Snapshot{
		ClusterID: v.cluster, Revision: v.rev, Taken: now,
		Spec: v.spec, SpecRev: v.specRev,
		Peers: v.peers, Reservations: v.reservations, Problems: v.problems,
		BGP: v.objects.bgp, Drained: v.objects.drained, Hold: v.describeHold(),
		Migration: v.objects.migration, Reports: v.reports.inForce,
	}
}
