package store

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

const cacheVersion = 1

// cacheFile is the last good snapshot and lease, so that a host boots into a
// working fabric while etcd is down.
type cacheFile struct {
	Version      int            `json:"version"`
	Prefix       string         `json:"prefix"`
	NodeID       fabric.NodeID  `json:"nodeID"`
	ClusterID    uint64         `json:"clusterID"`
	Revision     int64          `json:"revision"`
	Taken        time.Time      `json:"taken"`
	SpecRev      int64          `json:"specRevision"`
	Spec         *fabric.Spec   `json:"spec,omitempty"`
	Peers        []cachedPeer   `json:"peers"`
	Reservations []cachedSubnet `json:"reservations,omitempty"`
	cachedView
	// The node's own share, and when its lease was renewed last (wall clock).
	Index   uint32         `json:"index,omitempty"`
	Subnets []cachedSubnet `json:"subnets,omitempty"`
	Leased  bool           `json:"leased,omitempty"`
	Kept    time.Time      `json:"kept"`
}

// cachedView is what a view knows beyond its snapshot.
type cachedView struct {
	SpecCreate int64          `json:"specCreated,omitempty"`
	Objects    []cachedObject `json:"objects,omitempty"`
	// Reports are those on the migration, which is among the objects.
	Reports     map[string]fabric.MigrationReport `json:"reports,omitempty"`
	HoldPeers   heldBack                          `json:"holdPeers,omitzero"`
	HoldObjects heldBack                          `json:"holdObjects,omitzero"`
}

type cachedPeer struct {
	Node    fabric.Node    `json:"node"`
	Alive   bool           `json:"alive,omitempty"`
	Held    bool           `json:"held,omitempty"`
	Created int64          `json:"created"`
	Subnets []cachedSubnet `json:"subnets,omitempty"`
}

type cachedSubnet struct {
	Prefix netip.Prefix `json:"prefix"`
	fabric.Subnet
	Created  int64 `json:"created"`
	Modified int64 `json:"modified"`
	Lease    int64 `json:"lease,omitempty"`
}

func toCached(list []fabric.Subnet) []cachedSubnet {
	out := make([]cachedSubnet, 0, len(list))
	for _, s := range list {
		out = append(out, cachedSubnet{s.Prefix, s, s.CreateRevision, s.ModRevision, s.EtcdLease})
	}
	return out
}

func (c cachedSubnet) subnet() fabric.Subnet {
	s := c.Subnet
	s.Prefix, s.CreateRevision, s.ModRevision, s.EtcdLease = c.Prefix, c.Created, c.Modified, c.Lease
	return s
}

// readCache reads the file; one that cannot be used is an error, one that is
// not there is nil.
func readCache(path, prefix string, id fabric.NodeID) (*cacheFile, error) {
	b, err := os.ReadFile(path)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	c := new(cacheFile)
	switch err := json.Unmarshal(b, c); {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", path, err)
	case c.Version != cacheVersion:
		return nil, fmt.Errorf("%s: version %d, this weftd knows %d", path, c.Version, cacheVersion)
	case c.NodeID != id || c.Prefix != prefix:
		return nil, fmt.Errorf("%s: it is that of node id %s under %s", path, quote(string(c.NodeID)), quote(c.Prefix))
	}
	return c, nil
}

// seed fills an empty view with what the cache has.
func (c *cacheFile) seed(v *view) {
	v.cluster, v.rev, v.specRev, v.spec = c.ClusterID, c.Revision, c.SpecRev, c.Spec
	v.specCreate = c.SpecCreate
	v.seedObjects(c.Objects)
	v.reports.seed(c.Reports)
	v.hold.heldBack, v.objects.judge.heldBack = c.HoldPeers, c.HoldObjects
	for i := range c.Peers {
		p := &c.Peers[i]
		if p.Node.ID == "" || p.Node.Name == "" {
			continue
		}
		if p.Held {
			v.seedHeld(p)
			continue
		}
		v.setNode(&record{key: nodeKey(p.Node.Name), create: p.Created, node: &p.Node})
		if p.Alive {
			v.alive[p.Node.Name] = aliveRecord{aliveValue: aliveValue{ID: p.Node.ID}}
		}
		c.seedSubnets(v, p.Subnets)
	}
	c.seedSubnets(v, c.Reservations)
}

// seedHeld puts a peer that was held back when the cache was written where it
// was: it has no records, and a restart is nobody's word that it is gone.
func (v *view) seedHeld(c *cachedPeer) {
	i, known := searchPeer(v.peers, c.Node.ID)
	if known {
		return
	}
	p := &fabric.Peer{Node: c.Node, Alive: c.Alive, Held: true, CreateRevision: c.Created}
	for _, s := range c.Subnets {
		p.Subnets = append(p.Subnets, s.subnet())
	}
	v.peers = slices.Insert(v.peers, i, p)
	v.hold.held[p.ID] = p
}

func (c *cacheFile) seedSubnets(v *view, list []cachedSubnet) {
	for _, s := range list {
		if !s.Prefix.IsValid() || s.Prefix != s.Prefix.Masked() {
			continue
		}
		sub := s.subnet()
		v.setSubnet(&record{key: subnetKey(s.Prefix), create: s.Created, mod: s.Modified, lease: s.Lease, subnet: &sub})
	}
}

// restore reads the cache. The view starts with it, so that a peer that etcd
// lacks by the time it is read is a removal and subject to the hold.
func (ss *Session) restore() {
	if ss.opt.CacheFile == "" {
		return
	}
	c, err := readCache(ss.opt.CacheFile, ss.store.prefix, ss.opt.Self.ID)
	if err != nil {
		ss.log.WithError(err).Warn("cached snapshot is not used")
	}
	if c == nil {
		return
	}
	c.seed(ss.view)
	ss.view.snapshot(c.Taken)
	ss.saved = c
	ss.seenRev = c.Revision
	ss.own.index = c.Index
	for _, s := range c.Subnets {
		ss.own.had = append(ss.own.had, s.subnet())
		ss.own.epoch = max(ss.own.epoch, s.Epoch+1)
	}
	ss.kept = c.Kept
}

// useCache works with the cached snapshot for as long as etcd is not heard.
func (ss *Session) useCache() {
	c := ss.saved
	if ss.listed || c == nil {
		return
	}
	ss.saved = nil
	snap := ss.view.snapshot(c.Taken)
	snap.Cached = true
	ss.mu.Lock()
	ss.status.Revision, ss.status.Taken, ss.status.Cached = snap.Revision, snap.Taken, true
	ss.mu.Unlock()
	ss.log.WithField("revision", c.Revision).Warn("etcd does not answer; working with the cached snapshot")
	ss.opt.Snapshots(snap)
	ss.useCachedLease(c)
}

// useCachedLease goes on with the subnets of the last life if their lease
// must still be alive by the wall clock, the only one that spans a reboot.
func (ss *Session) useCachedLease(c *cacheFile) {
	if !c.Leased || c.Spec == nil || len(ss.own.had) == 0 {
		return
	}
	o := &ss.own
	o.long, _ = leaseTimes(c.Spec, ss.opt.Self.ID, ss.opt.Instance)
	left := o.long.ttl - time.Since(c.Kept)
	o.subnets = o.had
	if left <= 0 || left > o.long.ttl+time.Minute {
		ss.fenceByTime()
		if len(o.subnets) == 0 {
			return
		}
	} else {
		o.arm(time.Now().Add(left))
	}
	ss.report(Lease{State: Leased, Index: o.index, Subnets: o.subnets})
}

// remember hands what is known to the cache's writer; nil: the last snapshot.
func (ss *Session) remember(snap *fabric.Snapshot) {
	if snap != nil {
		ss.lastSnap = snap
	}
	if ss.lastSnap == nil || !ss.listed {
		return
	}
	o := &ss.own
	ss.cache.put(cacheState{snap: ss.lastSnap, view: ss.view.cached(), index: o.index, subnets: o.had, leased: len(o.subnets) > 0,
		kept: ss.kept, prefix: ss.store.prefix, id: ss.opt.Self.ID})
}

// cached is what the view knows beyond its last snapshot.
func (v *view) cached() cachedView {
	return cachedView{SpecCreate: v.specCreate, Objects: v.objects.cached, Reports: v.reports.inForce, HoldPeers: v.hold.heldBack, HoldObjects: v.objects.judge.heldBack}
}

// cacheState is what the writer makes a file of. All of it is immutable.
type cacheState struct {
	snap    *fabric.Snapshot
	view    cachedView // of snap
	index   uint32
	subnets []fabric.Subnet
	leased  bool
	kept    time.Time
	prefix  string
	id      fabric.NodeID
}

func (c cacheState) encode() ([]byte, error) {
	s := c.snap
	f := cacheFile{
		Version: cacheVersion, Prefix: c.prefix, NodeID: c.id, ClusterID: s.ClusterID, Revision: s.Revision, Taken: s.Taken,
		SpecRev: s.SpecRev, Spec: s.Spec, Reservations: toCached(s.Reservations),
		cachedView: c.view,
		Index:      c.index, Subnets: toCached(c.subnets), Leased: c.leased, Kept: c.kept,
		Peers: make([]cachedPeer, 0, len(s.Peers)),
	}
	for _, p := range s.Peers {
		f.Peers = append(f.Peers, cachedPeer{Node: p.Node, Alive: p.Alive, Held: p.Held, Created: p.CreateRevision, Subnets: toCached(p.Subnets)})
	}
	return json.Marshal(f)
}
