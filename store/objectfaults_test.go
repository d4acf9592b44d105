package store

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// objectKeys are one object of each kind and a drain.
var objectKeys = []string{"bgppeers/tors", "bgppolicies/in", "bgpprefixes/dns", "drained/node-1"}

const objectsInForce = "peer tors 1, policy in 1, prefix dns 1, drain node-1 1"

func putObjects(t *testing.T, c *clientv3.Client) {
	t.Helper()
	for _, key := range objectKeys {
		put(t, c, key, objectValue(key, "1"))
	}
}

// waitObjects waits for objects in words.
func (a *agent) waitObjects(want string) *fabric.Snapshot {
	a.t.Helper()
	return a.waitSnap("the objects "+want, func(s *fabric.Snapshot) bool { return objectNames(s) == want })
}

// neverLostObjects fails if a snapshot lacked one since all were there.
func (a *agent) neverLostObjects() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := false
	for _, s := range a.snaps {
		got := objectNames(s)
		has := true
		for one := range strings.SplitSeq(objectsInForce, ", ") {
			has = has && strings.Contains(got, one)
		}
		whole = whole || has
		if whole && !has {
			a.t.Errorf("%s had only %q for a time: %s", a.ss.opt.Self.Name, got, describe(s))
		}
	}
	if !whole {
		a.t.Errorf("%s never had all objects", a.ss.opt.Self.Name)
	}
}

// Objects are followed one by one, and whatever is written in the place of one
// costs nothing but a problem.
func TestObjects(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	a.waitState(Leased)
	putObjects(t, c)
	first := a.waitObjects(objectsInForce)

	newer := strings.Replace(objectValue("bgppeers/tors", "1"), `"nodes"`, `"quantum":{"x":1},"nodes"`, 1)
	put(t, c, "bgppeers/tors", newer) // of a later version: what we know of it is the same
	for _, garbage := range []string{"", "\x00\xff", "[]", "{}", objectValue("bgppeers/other", ""), strings.Repeat("x", 1<<20), strings.Repeat("[", 1<<20),
		objectValue("bgppeers/tors", strings.Repeat("x", 1<<20))} {
		put(t, c, "bgppeers/tors", garbage)
		rev := put(t, c, "drained/node-1", garbage)
		s := a.waitSnap("the garbage", func(s *fabric.Snapshot) bool { return s.Revision >= rev && len(s.Problems) == 2 })
		if objectNames(s) != objectsInForce || s.BGP != first.BGP || s.Problems[0].Key != "bgppeers/tors" {
			t.Errorf("after %.40q: %s %s", garbage, objectNames(s), describe(s))
		}
	}
	putObjects(t, c)
	a.waitSnap("no problems", func(s *fabric.Snapshot) bool { return len(s.Problems) == 0 })
	a.neverLostObjects()

	del(t, c, "bgpprefixes/dns")
	a.waitObjects("peer tors 1, policy in 1, drain node-1 1")
	st, ctx := operator(t, e), context.Background()
	var changes []Change
	for _, key := range []string{"bgppeers/tors", "bgppolicies/in", "drained/node-1"} {
		_, rev, err := st.Get(ctx, key)
		must(t, err)
		changes = append(changes, Change{Key: key, ModRev: rev})
	}
	must(t, st.Apply(ctx, changes))
	if s := a.waitObjects(""); s.Hold != nil || len(s.Problems) != 0 || s.BGP != nil {
		t.Errorf("deleted by the operator: %s", describe(s))
	}
	changes[0].ModRev++
	if err := st.Apply(ctx, changes[:1]); err == nil {
		t.Error("a deletion that lost its race was written")
	}
	eventually(t, "only the leases of the agent and of one deletion to be left", func() error { return wantLeases(c, 3) })
}

// What happens to etcd must not take a session with a switch: the objects stay
// in force whatever etcd has lost, and are followed again afterwards.
func TestObjectsOutliveEtcd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		// do hurts etcd. lost: it has no objects afterwards.
		do   func(t *testing.T, e *etcdServer, relay *relay, backup string)
		lost bool
	}{
		{"restart", func(t *testing.T, e *etcdServer, _ *relay, _ string) {
			e.stop()
			e.start()
		}, false},
		{"compaction while cut off", func(t *testing.T, e *etcdServer, relay *relay, _ string) {
			relay.cut()
			c := e.client()
			_, err := c.Compact(context.Background(), put(t, c, "something/else", ""))
			must(t, err)
			relay.mend()
		}, false},
		{"wipe", func(t *testing.T, e *etcdServer, _ *relay, _ string) {
			del(t, e.client(), "", clientv3.WithPrefix())
		}, true},
		{"wipe while cut off, the Fabric written again", func(t *testing.T, e *etcdServer, relay *relay, _ string) {
			relay.cut()
			c := e.client()
			del(t, c, "", clientv3.WithPrefix())
			_, err := c.Compact(context.Background(), put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s")))
			must(t, err)
			relay.mend()
		}, true},
		{"the objects' folders deleted", func(t *testing.T, e *etcdServer, _ *relay, _ string) {
			c := e.client()
			_, err := c.Delete(context.Background(), testPrefix+"bgp", clientv3.WithPrefix())
			must(t, err)
		}, true},
		{"restore from an older copy", func(t *testing.T, e *etcdServer, _ *relay, backup string) {
			e.stop()
			e.restore(backup)
			e.start()
		}, true},
		{"another, empty etcd", func(t *testing.T, e *etcdServer, _ *relay, _ string) {
			e.stop()
			must(t, os.RemoveAll(e.dir))
			e.args = append(e.args, "--initial-cluster-token", "another")
			e.start()
		}, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, client := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
			relay := newRelay(t, e.url)
			backup := e.save()
			a := startAgent(t, []string{relay.url}, testNode(1))
			a.waitState(Leased)
			putObjects(t, client)
			before := a.waitObjects(objectsInForce)
			for i := range 10 {
				put(t, client, "something/else", fmt.Sprint(i))
			}
			c.do(t, e, relay, backup)

			client = e.client()
			if c.lost {
				a.waitSnap("the loss to be held back", func(s *fabric.Snapshot) bool { return s.Hold != nil && s.Hold.Objects >= 3 })
			}
			put(t, client, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
			rev := put(t, client, "bgppeers/new", objectValue("bgppeers/new", "2"))
			s := a.waitSnap("what is new", func(s *fabric.Snapshot) bool { return s.Revision >= rev && s.BGP != nil && len(s.BGP.Peers) == 2 })
			if objectNames(s) != "peer new 2, "+objectsInForce {
				t.Errorf("in force: %s", objectNames(s))
			}
			must(t, operator(t, e).Apply(context.Background(), []Change{{Key: "bgppeers/new", ModRev: rev}}))
			a.waitObjects(objectsInForce)
			putObjects(t, client)
			s = a.waitSnap("all to be as before", func(s *fabric.Snapshot) bool {
				return objectNames(s) == objectsInForce && s.Hold == nil && len(s.Problems) == 0
			})
			if s.BGP.Peers[0].Name != before.BGP.Peers[0].Name {
				t.Errorf("in force: %s", objectNames(s))
			}
			a.neverLostObjects()
		})
	}
}

// A host boots with its sessions while etcd is down, and while it was wiped.
func TestObjectsFromTheCache(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := filepath.Join(t.TempDir(), "snapshot.json")
	putObjects(t, c)
	a := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	a.waitState(Leased)
	real := a.waitObjects(objectsInForce)
	a.stop()
	e.stop()

	b := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	s := b.waitSnap("the cached fabric", func(s *fabric.Snapshot) bool { return s.Cached })
	if got := objectNames(s); got != objectsInForce || !s.Drained["node-1"].Since.Equal(real.Drained["node-1"].Since) {
		t.Errorf("cached: %s", got)
	}
	e.start()
	after := b.waitSnap("the real fabric", func(s *fabric.Snapshot) bool { return !s.Cached && s.Revision > 0 })
	if after.BGP != s.BGP {
		t.Error("what etcd has is what the cache had, yet it is another pointer")
	}
	b.neverLostObjects()
	b.stop()

	c = e.client()
	del(t, c, "", clientv3.WithPrefix())
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
	for range 2 { // the hold outlives a restart
		d := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
		d.waitSnap("the loss to be held back", func(s *fabric.Snapshot) bool { return !s.Cached && s.Hold != nil && s.Hold.Objects == 4 })
		d.neverLostObjects()
		d.stop()
	}
	d := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	d.waitObjects(objectsInForce)
	d.waitState(Leased)
	d.ss.ReleaseHold()
	if s := d.waitObjects(""); s.Hold != nil || s.BGP != nil {
		t.Errorf("released: %s", describe(s))
	}
}
