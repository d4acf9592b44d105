package store

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// object is something that operators write, as last understood.
type object struct {
	key    string
	mod    int64  // of the key, also while its value is garbage
	gen    uint64 // of the last list that had it
	spec   any    // *fabric.BGPPeerSpec, BGPPolicySpec, BGPPrefixSpec, Drain or Migration; immutable
	gone   bool   // from etcd
	goneAt int64  // the revision that deleted it; 0: found missing in a list
	held   bool   // gone, and that is not believed (objecthold.go)
	wiped  bool   // held, as more than objects went
}

// objects are the operators' objects but for the Fabric, and what follows
// from them. They are few, so a change computes all of the result anew.
type objects struct {
	all      map[string]*object // by key: those in etcd, and those held
	deleted  map[string]int64   // by object's key: when a mark of its deletion was written
	finished map[string]bool    // migrations, by id, that have a mark of their end
	stale    bool
	judge    judge
	released bool // by the operator, until the next snapshot

	bgp       *fabric.BGP // what follows, each shared while it does not change
	drained   map[string]fabric.Drain
	migration *fabric.Migration
	cached    []cachedObject
}

func newObjects() objects {
	return objects{all: map[string]*object{}, deleted: map[string]int64{}, finished: map[string]bool{}, judge: judge{what: "objects"}}
}

// decodeObject reads the value of an object's key.
func decodeObject(e kv) (any, error) {
	if strings.HasPrefix(e.key, dirDrained) {
		d := new(fabric.Drain)
		err := decodeJSON(e.value, d)
		if err == nil && d.Since.IsZero() {
			err = fmt.Errorf("no drain: it has no since")
		}
		return d, err
	}
	if e.key == keyMigration {
		return decodeMigration(e.value)
	}
	o, err := config.DecodeObject(e.value)
	if err != nil {
		return nil, err
	}
	if o.Key() != e.key {
		return nil, fmt.Errorf("the value is the %s %s, which does not belong here", printable(o.Kind), quote(o.Metadata.Name))
	}
	switch o.Spec.(type) {
	case *fabric.BGPPeerSpec, *fabric.BGPPolicySpec, *fabric.BGPPrefixSpec:
		return o.Spec, nil
	}
	return nil, fmt.Errorf("a %s is nothing that this version of weftd acts upon", printable(o.Kind))
}

func (v *view) putObject(e kv) error {
	spec, err := decodeObject(e)
	if err != nil {
		return err
	}
	v.objects.all[e.key] = &object{key: e.key, mod: e.mod, gen: v.gen, spec: spec}
	v.objects.stale = true
	return nil
}

// keepObject notes that the key of an object holds garbage: a fact, by which
// the object is not gone, whatever was believed before.
func (v *view) keepObject(e kv) {
	if o := v.objects.all[e.key]; o != nil {
		o.mod, o.gen, o.gone, o.held = e.mod, v.gen, false, false
		v.objects.stale = true
	}
}

func (v *view) delObject(key string, rev int64) {
	if o := v.objects.all[key]; o != nil && !o.gone {
		o.gone, o.goneAt = true, rev
		v.objects.stale = true
	}
}

// putMark notes that something went by an operator's word.
func (s *objects) putMark(info keyInfo, e kv) {
	if info.kind == kindFinished {
		s.finished[info.name] = true
	} else {
		s.deleted[strings.TrimPrefix(e.key, dirDeleted)] = e.mod
	}
	s.stale = true
}

// drainOf is the drain record of a node that is in etcd, or nil.
func (v *view) drainOf(node string) *object {
	if o := v.objects.all[drainedKey(node)]; o != nil && !o.gone {
		return o
	}
	return nil
}

// rebuildObjects computes what follows from the objects, if one changed.
func (v *view) rebuildObjects(now time.Time) {
	s := &v.objects
	if !s.stale {
		return
	}
	s.stale, v.staleProblems = false, true
	v.settleObjects(now)
	s.cached = make([]cachedObject, 0, len(s.all))
	bgp, drained := new(fabric.BGP), map[string]fabric.Drain{}
	var migration *fabric.Migration
	for _, key := range slices.Sorted(maps.Keys(s.all)) { // within a kind by name
		o := s.all[key]
		c := cachedObject{Key: key, Modified: o.mod, Held: o.held}
		_, name, _ := strings.Cut(key, "/")
		switch spec := o.spec.(type) {
		case *fabric.BGPPeerSpec:
			c.Peer, bgp.Peers = spec, append(bgp.Peers, fabric.BGPPeer{Name: name, Spec: *spec})
		case *fabric.BGPPolicySpec:
			c.Policy, bgp.Policies = spec, append(bgp.Policies, fabric.BGPPolicy{Name: name, Spec: *spec})
		case *fabric.BGPPrefixSpec:
			c.Prefix, bgp.Prefixes = spec, append(bgp.Prefixes, fabric.BGPPrefix{Name: name, Spec: *spec})
		case *fabric.Drain:
			c.Drain, drained[name] = spec, *spec
		case *fabric.Migration:
			c.Migration, migration = spec, spec
		}
		s.cached = append(s.cached, c)
	}
	if len(bgp.Peers)+len(bgp.Policies)+len(bgp.Prefixes) == 0 {
		bgp = nil
	}
	if len(drained) == 0 {
		drained = nil
	}
	if !reflect.DeepEqual(bgp, s.bgp) {
		s.bgp = bgp
	}
	if !reflect.DeepEqual(drained, s.drained) {
		s.drained = drained
	}
	if !reflect.DeepEqual(migration, s.migration) {
		s.migration = migration
		v.reports.stale = true
	}
}

// cachedObject is an object in the file; one of the pointers is set.
type cachedObject struct {
	Key      string                `json:"key"`
	Modified int64                 `json:"modified"`
	Held     bool                  `json:"held,omitempty"`
	Peer     *fabric.BGPPeerSpec   `json:"peer,omitempty"`
	Policy   *fabric.BGPPolicySpec `json:"policy,omitempty"`
	Prefix   *fabric.BGPPrefixSpec `json:"prefix,omitempty"`
	Drain    *fabric.Drain         `json:"drain,omitempty"`

	Migration *fabric.Migration `json:"migration,omitempty"`
}

// spec is what the object says. A file that was tampered with may lack it.
func (c cachedObject) spec() any {
	switch {
	case c.Peer != nil:
		return c.Peer
	case c.Policy != nil:
		return c.Policy
	case c.Prefix != nil:
		return c.Prefix
	case c.Drain != nil:
		return c.Drain
	case c.Migration != nil && checkMigration(c.Migration) == nil:
		return c.Migration
	}
	return nil
}

// seedObjects puts what the cache has into an empty view.
func (v *view) seedObjects(list []cachedObject) {
	for _, c := range list {
		if spec := c.spec(); spec != nil && (isObject(c.Key) || c.Key == keyMigration) {
			v.objects.all[c.Key] = &object{key: c.Key, mod: c.Modified, spec: spec, gone: c.Held, held: c.Held}
		}
	}
	v.objects.stale = true
}
