package store

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/fabric"
)

// world is a pretended etcd: keys with revisions, and the events they make.
type world struct {
	rev  int64
	keys map[string]kv
}

func newWorld() *world { return &world{keys: map[string]kv{}} }

func (w *world) put(key, value string, lease int64) kv {
	w.rev++
	create := w.rev
	if old, ok := w.keys[key]; ok {
		create = old.create
	}
	e := kv{key: key, value: []byte(value), create: create, mod: w.rev, lease: lease}
	w.keys[key] = e
	return e
}

func (w *world) del(keys ...string) int64 {
	w.rev++
	for _, k := range keys {
		delete(w.keys, k)
	}
	return w.rev
}

// list gives the keys in etcd's order.
func (w *world) list(yield func(kv) bool) {
	for _, k := range slices.Sorted(maps.Keys(w.keys)) {
		if !yield(w.keys[k]) {
			return
		}
	}
}

func (w *world) node(n fabric.Node) kv { return w.put(nodeKey(n.Name), encodeJSON(n), 0) }
func (w *world) lease(p string, owner fabric.NodeID) kv {
	return w.put(subnetKey(netip.MustParsePrefix(p)), encodeJSON(fabric.Subnet{Owner: owner, Epoch: 1}), 1)
}

func (w *world) fabric() kv {
	return w.put(keyFabric, fabricValue("10.244.0.0/16", 24, "24h", "15s"), 0)
}

// join adds the i-th node with its index, alive key and subnet.
func (w *world) join(i int) fabric.Node {
	n := testNode(i)
	n.Index = uint32(i + 1)
	w.node(n)
	w.put(aliveKey(n.Name), encodeJSON(aliveValue{ID: n.ID, Instance: "x"}), 2)
	w.lease(fmt.Sprintf("10.244.%d.0/24", i), n.ID)
	return n
}

func (w *world) view() *view {
	v := newView("")
	v.relist(w.list, 1, w.rev)
	return v
}

var t0 = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// ignoreTime: revisions of the snapshot itself do not matter to the reader.
var sameSnapshot = cmp.Options{
	cmpopts.IgnoreFields(fabric.Snapshot{}, "Taken", "Revision"), cmpopts.EquateEmpty(),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }), cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Transformer("problemKeys", func(p fabric.Problem) string { return p.Key }), // which of two winners is named may differ
}

// The outcome of settling depends on the records alone: a view that saw the
// events one by one is that of one that lists now.
func TestViewIsTheSameByEventAndByList(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for round := range 60 {
		w := newWorld()
		v := newView("")
		v.put(w.fabric())
		for range 120 {
			randomEvent(r, w, v)
			if r.IntN(4) == 0 {
				v.snapshot(t0)
				v.releaseHold()
			}
		}
		v.snapshot(t0)
		v.releaseHold()
		got := v.snapshot(t0)
		got.ClusterID = 1
		want := w.view().snapshot(t0)
		if diff := cmp.Diff(w.view().locks.queues, v.locks.queues, cmp.AllowUnexported(lockRecord{}), cmpopts.IgnoreFields(lockRecord{}, "gen")); diff != "" {
			t.Fatalf("round %d, locks by event against by list (-want +got):\n%s", round, diff)
		}
		if diff := cmp.Diff(want, got, sameSnapshot); diff != "" {
			t.Fatalf("round %d, by event against by list (-want +got):\n%s", round, diff)
		}
		checkNothingShared(t, got)
	}
}

// randomEvent makes records that collide in every way there is.
func randomEvent(r *rand.Rand, w *world, v *view) {
	i := r.IntN(8)
	switch r.IntN(13) {
	case 10:
		v.put(w.migrate(fmt.Sprint(r.IntN(2))))
	case 11:
		v.put(w.report(testNode(i).Name, fmt.Sprint(r.IntN(2)), fabric.NodeID(fmt.Sprint(r.IntN(3)))))
	case 12: // finished, or its mark is gone
		id := fmt.Sprint(r.IntN(2))
		if r.IntN(2) == 0 {
			v.put(w.put(finishedKey(id), "{}", 3))
			v.del(keyMigration, w.del(keyMigration))
		} else {
			v.del(finishedKey(id), w.del(finishedKey(id)))
		}
	case 0, 1:
		n := testNode(i)
		n.Index = uint32(r.IntN(8) + 1)
		n.ID = fabric.NodeID(fmt.Sprintf("id-%d", r.IntN(6)))
		n.VTEPMAC = fabric.DeriveMAC(fmt.Sprint(r.IntN(10)))
		n.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 18, 0, byte(1 + r.IntN(10))})
		v.put(w.node(n))
	case 2, 3:
		bits := 20 + r.IntN(7)
		p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(r.IntN(16)), byte(r.IntN(256))}), bits).Masked()
		v.put(w.lease(p.String(), fabric.NodeID(fmt.Sprintf("id-%d", r.IntN(6)))))
	case 4:
		keys := slices.Sorted(maps.Keys(w.keys))
		if key := keys[r.IntN(len(keys))]; key != keyFabric {
			v.del(key, w.del(key))
		}
	case 5:
		key := aliveKey(testNode(i).Name)
		v.put(w.put(key, encodeJSON(aliveValue{ID: fabric.NodeID(fmt.Sprintf("id-%d", r.IntN(6)))}), 1))
	case 6, 7:
		key := randomObject(r)
		v.put(w.put(key, objectValue(key, fmt.Sprint(r.IntN(3))), 0))
	case 8: // by an operator
		key := randomObject(r)
		v.put(w.put(deletedKey(key), "{}", 3))
		v.del(key, w.del(key))
	case 9:
		key := lockKey("tor", testNode(i).Name)
		v.put(w.put(key, encodeJSON(lockValue{Ticket: "x"}), 1))
	}
}

func randomObject(r *rand.Rand) string {
	return []string{dirBGPPeers, dirBGPPolicies, dirBGPPrefixes, dirDrained}[r.IntN(4)] + fmt.Sprintf("x%d", r.IntN(3))
}

// checkNothingShared is invariant 1 of the design: no two peers have what
// only one can have.
func checkNothingShared(t *testing.T, s *fabric.Snapshot) {
	t.Helper()
	holders := map[resource]string{}
	var all []fabric.Subnet
	for _, p := range s.Peers {
		for _, res := range resources(nil, &p.Node) {
			if o, ok := holders[res]; ok {
				t.Errorf("%s and %s share a %s", o, p.Name, res)
			}
			holders[res] = p.Name
		}
		all = append(all, p.Subnets...)
	}
	for i, a := range all {
		for _, b := range all[:i] {
			if a.Prefix.Overlaps(b.Prefix) {
				t.Errorf("%v of %s overlaps %v of %s", a.Prefix, a.Owner, b.Prefix, b.Owner)
			}
		}
	}
}

// One event changes one pointer.
func TestUnchangedPeersKeepTheirPointers(t *testing.T) {
	w := newWorld()
	w.fabric()
	for i := range 20 {
		w.join(i)
	}
	v := w.view()
	before := v.snapshot(t0)
	n := testNode(7)
	n.Index, n.MTU = 8, 9000
	v.put(w.node(n))
	after := v.snapshot(t0)
	for i, p := range after.Peers {
		if same := p == before.Peers[i]; same == (p.ID == n.ID) {
			t.Errorf("%s: same pointer %v", p.Name, same)
		}
	}
	v.put(w.node(n)) // nothing new
	if again := v.snapshot(t0); &again.Peers[0] != &after.Peers[0] {
		t.Error("the list was copied although nothing changed")
	}
}

func TestBadRecordsCostOnlyThemselves(t *testing.T) {
	other := func(change func(*fabric.Node)) string {
		n := testNode(9)
		n.Index = 99
		change(&n)
		return encodeJSON(n)
	}
	first := testNode(0)
	for _, c := range []struct{ name, key, value, reason string }{
		{"garbage node", "nodes/x", "\x00\xff}{", "not a JSON object"},
		{"empty node", "nodes/x", "", "empty"},
		{"truncated node", "nodes/x", `{"name":"x","id":"y`, "not a record"},
		{"array", "nodes/x", `[]`, "not a JSON object"},
		{"huge node", "nodes/x", `{"name":"` + strings.Repeat("x", 100_000) + `"}`, "bytes"},
		{"wrong name", "nodes/x", other(func(n *fabric.Node) { n.Name = "y" }), "name is"},
		{"huge index", "nodes/node-9", other(func(n *fabric.Node) { n.Index = 1 << 20 }), "index 1048576"},
		{"no index", "nodes/node-9", other(func(n *fabric.Node) { n.Index = 0 }), "index 0"},
		{"loopback", "nodes/node-9", other(func(n *fabric.Node) { n.Underlay.IPv4 = netip.MustParseAddr("127.0.0.1") }), "cannot be that of a host"},
		{"same MAC", "nodes/node-9", other(func(n *fabric.Node) { n.VTEPMAC = first.VTEPMAC }), "VTEP MAC"},
		{"same address", "nodes/node-9", other(func(n *fabric.Node) { n.Underlay = first.Underlay }), "underlay address"},
		{"same index", "nodes/node-9", other(func(n *fabric.Node) { n.Index = 1 }), "index"},
		{"same id", "nodes/node-9", other(func(n *fabric.Node) { n.ID = first.ID }), "node id"},
		{"garbage subnet", "subnets/ipv4/010.244.009.000-24", "nonsense", "not a JSON object"},
		{"empty subnet", "subnets/ipv4/010.244.009.000-24", "", "empty"},
		{"nobody's subnet", "subnets/ipv4/010.244.009.000-24", "{}", "neither an owner"},
		{"unknown owner", "subnets/ipv4/010.244.009.000-24", `{"owner":"ghost"}`, "no node in force"},
		{"foreign key", "subnets/ipv4/10.244.9.0-24", `{"owner":"id-node-0"}`, "canonical"},
		{"host bits", "subnets/ipv4/010.244.009.001-24", `{"owner":"id-node-0"}`, "bits set"},
		{"default route", "subnets/ipv4/000.000.000.000-0", `{"owner":"id-node-0"}`, "default route"},
		{"outside", "subnets/ipv4/192.168.000.000-24", `{"owner":"id-node-0"}`, "outside"},
		{"around the network", "subnets/ipv4/010.000.000.000-8", `{"owner":"id-node-0"}`, "outside"},
		{"whole network", "subnets/ipv4/010.244.000.000-16", `{"owner":"id-node-0"}`, "whole network"},
		{"no such family", "subnets/ipv6/fd00:0000:0000:0000:0000:0000:0000:0000-64", `{"owner":"id-node-0"}`, "no ipv6 network"},
		{"overlapping", "subnets/ipv4/010.244.001.000-25", `{"owner":"id-node-0"}`, "older"},
		{"enclosing", "subnets/ipv4/010.244.000.000-20", `{"owner":"id-node-0"}`, "older"},
		{"garbage fabric", "fabric", "{", "fabric"},
		{"insane fabric", "fabric", `{"apiVersion":"weft/v1","kind":"Fabric","spec":{"network":{"ipv4":"banana"}}}`, "fabric"},
		{"garbage BGPPeer", "bgppeers/x", "?", "stored object"},
		{"empty BGPPeer", "bgppeers/x", "", "stored object"},
		{"insane BGPPeer", "bgppeers/x", strings.Replace(objectValue("bgppeers/x", ""), "gateways", "gatewalls", 1), "spec.peer"},
		{"huge BGPPolicy", "bgppolicies/x", objectValue("bgppolicies/x", strings.Repeat("x", 1<<20)), "larger than"},
		{"another's name", "bgppeers/x", objectValue("bgppeers/y", ""), "does not belong here"},
		{"another kind", "bgppeers/x", objectValue("bgpprefixes/x", ""), "does not belong here"},
		{"a Fabric among prefixes", "bgpprefixes/x", fabricValue("10.0.0.0/8", 24, "1h", "15s"), "does not belong here"},
		{"object without a name", "bgpprefixes/", "{}", "1 to"},
		{"object with a path", "bgpprefixes/a/b", "{}", "character"},
		{"garbage drain", "drained/x", "[]", "not a JSON object"},
		{"drain of another time", "drained/x", `{"since":"tomorrow"}`, "not a record"},
		{"drain without a time", "drained/x", "{}", "no since"},
		{"mark of nothing", "deleted/x", "{}", "not the key of an object"},
		{"mark of a mark", "deleted/deleted/bgppeers/x", "{}", "not the key of an object"},
		{"garbage lock", "locks/x/node-1", "?", "not a JSON object"},
		{"lock for ever", "locks/x/node-1", `{"ticket":"1"}`, "no etcd lease"},
		{"lock of nobody", "locks/x", `{"ticket":"1"}`, "1 to"},
		{"garbage alive", "alive/x", "?", "not a JSON object"},
		{"alive for ever", "alive/x", "{}", "no etcd lease"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := newWorld()
			w.fabric()
			for i := range 4 {
				w.join(i)
			}
			w.object("bgppeers/good", "one")
			v := w.view()
			before := v.snapshot(t0)
			v.put(w.put(c.key, c.value, 0))
			after := v.snapshot(t0)
			if len(after.Problems) != 1 || after.Problems[0].Key != c.key || !strings.Contains(after.Problems[0].Reason, c.reason) {
				t.Errorf("problems %v, want one with %s: ...%s...", after.Problems, c.key, c.reason)
			}
			if diff := cmp.Diff(before.Peers, after.Peers, sameSnapshot); diff != "" || after.Spec == nil {
				t.Errorf("peers changed (-before +after):\n%s", diff)
			}
			if after.BGP != before.BGP || after.Drained != nil || len(v.locks.queues) != 0 {
				t.Errorf("BGP %+v, drained %v, locks %v; want what was before", after.BGP, after.Drained, v.locks.queues)
			}
			if c.key == keyFabric {
				return
			}
			v.del(c.key, w.del(c.key))
			if s := v.snapshot(t0); len(s.Problems) != 0 {
				t.Errorf("the record is gone, its problem is not: %v", s.Problems)
			}
		})
	}
}

// A record that was good and is overwritten by garbage keeps its last value.
func TestLastGoodValueStays(t *testing.T) {
	w := newWorld()
	w.fabric()
	for i := range 3 {
		w.join(i)
	}
	v := w.view()
	before := v.snapshot(t0)
	for key := range maps.Clone(w.keys) {
		if !strings.HasPrefix(key, dirAlive) {
			v.put(w.put(key, "garbage", 0))
		}
	}
	after := v.snapshot(t0)
	if diff := cmp.Diff(before.Peers, after.Peers, sameSnapshot); diff != "" {
		t.Errorf("peers changed (-before +after):\n%s", diff)
	}
	if len(after.Problems) != 7 {
		t.Errorf("problems: %v, want one per record", after.Problems)
	}
	for _, p := range after.Problems {
		if !strings.Contains(p.Reason, "last good value") {
			t.Errorf("%s does not say that the last good value stays: %s", p.Key, p.Reason)
		}
	}
}

// The loser of a collision comes into force when the winner goes.
func TestCollisionHeals(t *testing.T) {
	w := newWorld()
	w.fabric()
	old := w.join(0)
	young := testNode(1)
	young.Index, young.VTEPMAC = 2, old.VTEPMAC
	w.node(young)
	third := testNode(2) // shares only with the loser: must not suffer
	third.Index, third.Underlay = 3, young.Underlay
	w.node(third)
	v := w.view()
	if got := names(v.snapshot(t0)); got != "node-0 node-2" {
		t.Errorf("peers %s, want the oldest and the third", got)
	}
	v.del(nodeKey(old.Name), w.del(nodeKey(old.Name)))
	v.snapshot(t0)
	if got := names(v.snapshot(t0)); got != "node-1" {
		t.Errorf("peers %s, want the second, and the third out by its address", got)
	}
}

func names(s *fabric.Snapshot) string {
	var out []string
	for _, p := range s.Peers {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}
