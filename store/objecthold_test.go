package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// objectsOf is a view of a fabric with five objects.
func objectsOf() (*world, *view) {
	w, v := fleet(3)
	for i := range 4 {
		v.put(w.object(fmt.Sprintf("bgppeers/%d", i), ""))
	}
	v.put(w.object("drained/node-1", ""))
	v.snapshot(t0)
	return w, v
}

func TestObjectHold(t *testing.T) {
	const all = "peer 0 , peer 1 , peer 2 , peer 3 , drain node-1 "
	mark := func(w *world, v *view, key string) { v.put(w.put(deletedKey(key), "{}", 3)) }
	everything := []string{"bgppeers/0", "bgppeers/1", "bgppeers/2", "bgppeers/3", "drained/node-1"}
	for _, c := range []struct {
		name   string
		do     func(w *world, v *view)
		want   string
		held   int
		reason string
	}{
		{"one goes", func(w *world, v *view) {
			delAll(w, v, "bgppeers/0")
		}, "peer 1 , peer 2 , peer 3 , drain node-1 ", 0, ""},
		{"a drain goes", func(w *world, v *view) {
			delAll(w, v, "drained/node-1")
		}, "peer 0 , peer 1 , peer 2 , peer 3 ", 0, ""},
		{"two by one write", func(w *world, v *view) {
			delAll(w, v, "bgppeers/0", "bgppeers/1")
		}, all, 2, "one write to etcd deleted 2 objects"},
		{"all by one write of an operator", func(w *world, v *view) {
			for _, key := range everything {
				mark(w, v, key)
			}
			delAll(w, v, everything...)
		}, "", 0, ""},
		{"one by one, quickly", func(w *world, v *view) {
			for i, key := range everything {
				delAll(w, v, key)
				v.snapshot(t0.Add(time.Duration(i) * time.Second))
			}
		}, "peer 2 , peer 3 , drain node-1 ", 3, "3 of 5 objects went from etcd within"},
		{"one by one, slowly", func(w *world, v *view) {
			for i, key := range everything {
				delAll(w, v, key)
				v.snapshot(t0.Add(time.Duration(i) * time.Minute))
			}
		}, "", 0, ""},
		{"the prefix is wiped", func(w *world, v *view) {
			delAll(w, v, slices.Collect(maps.Keys(w.keys))...)
		}, all, 5, "together with the Fabric object"},
		{"one goes while the Fabric object is gone", func(w *world, v *view) {
			delAll(w, v, keyFabric)
			v.snapshot(t0)
			delAll(w, v, "bgppeers/0")
		}, all, 1, "together with the Fabric object"},
		{"another one goes while some are held", func(w *world, v *view) {
			delAll(w, v, "bgppeers/0", "bgppeers/1")
			v.snapshot(t0)
			delAll(w, v, "bgppeers/2")
		}, all, 3, "one write"},
		{"an empty list", func(_ *world, v *view) {
			v.relist(newWorld().list, 2, 1)
		}, all, 5, "Fabric object"},
		{"a list with the Fabric made anew lacks one", func(w *world, v *view) {
			w.del(keyFabric, "bgppeers/0")
			w.fabric()
			v.relist(w.list, 1, w.rev)
		}, all, 1, "together with the Fabric object"},
		{"a list lacks one", func(w *world, v *view) {
			w.del("bgppeers/0")
			v.relist(w.list, 1, w.rev)
		}, "peer 1 , peer 2 , peer 3 , drain node-1 ", 0, ""},
		{"a list of a restored etcd lacks one", func(w *world, v *view) {
			w.del("bgppeers/0")
			v.rewound = true
			v.relist(w.list, 1, w.rev)
		}, all, 1, "older copy"},
		{"a list lacks all, the operator's marks say why", func(w *world, v *view) {
			for _, key := range everything {
				w.put(deletedKey(key), "{}", 3)
				w.del(key)
			}
			v.rewound = true
			v.relist(w.list, 1, w.rev)
		}, "", 0, ""},
		{"a mark from before it was written again", func(w *world, v *view) {
			mark(w, v, "bgppeers/0")
			delAll(w, v, "bgppeers/0")
			v.snapshot(t0)
			v.put(w.object("bgppeers/0", ""))
			v.snapshot(t0)
			delAll(w, v, "bgppeers/0", "bgppeers/1")
		}, all, 2, "one write"},
		{"a mark of another history", func(w *world, v *view) {
			w.rev += 100
			mark(w, v, "bgppeers/0")
			old := w.rev
			w.rev = 20
			w.del(deletedKey("bgppeers/0"))
			for key, e := range w.keys {
				e.mod = 19
				w.keys[key] = e
			}
			v.rewound = true
			v.relist(w.list, 1, w.rev)
			v.snapshot(t0)
			delAll(w, v, "bgppeers/0", "bgppeers/1")
			if w.rev >= old {
				panic("the test is wrong")
			}
		}, all, 2, "one write"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, v := objectsOf()
			c.do(w, v)
			s := v.snapshot(t0.Add(time.Hour))
			n, problems := 0, 0
			if s.Hold != nil {
				n = s.Hold.Objects
			}
			for _, p := range s.Problems {
				if p.Key != keyFabric && strings.Contains(p.Reason, "it stays in force") {
					problems++
				}
			}
			if objectNames(s) != c.want || n != c.held || problems != c.held {
				t.Fatalf("%d held, %d named, in force %s\nwant %d, %s\n%s", n, problems, objectNames(s), c.held, c.want, describe(s))
			}
			if c.held > 0 && !strings.Contains(s.Hold.Reason, c.reason) {
				t.Errorf("hold %+v, want ...%s...", s.Hold, c.reason)
			}
		})
	}
}

func TestObjectHoldEnds(t *testing.T) {
	for _, c := range []struct {
		name string
		do   func(w *world, v *view)
		want string
		held int
	}{
		{"by return", func(w *world, v *view) { v.put(w.object("bgppeers/0", "new")) }, "peer 0 new, peer 1 ", 1},
		{"by return as garbage", func(w *world, v *view) { v.put(w.put("bgppeers/0", "?", 0)) }, "peer 0 , peer 1 ", 1},
		{"by the operator's word", func(w *world, v *view) { v.put(w.put("deleted/bgppeers/0", "{}", 3)) }, "peer 1 ", 1},
		{"by release", func(_ *world, v *view) { v.releaseHold() }, "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, v := fleet(3)
			v.put(w.object("bgppeers/0", ""))
			v.put(w.object("bgppeers/1", ""))
			v.snapshot(t0)
			delAll(w, v, "bgppeers/0", "bgppeers/1")
			if s := v.snapshot(t0); s.Hold == nil || s.Hold.Objects != 2 {
				t.Fatalf("want two held: %s", describe(s))
			}
			c.do(w, v)
			s := v.snapshot(t0.Add(time.Minute))
			if n := v.objects.held(); objectNames(s) != c.want || n != c.held || (s.Hold != nil) != (n > 0) {
				t.Errorf("%d held, in force %s; want %d, %s\n%s", n, objectNames(s), c.held, c.want, describe(s))
			}
			if c.held == 0 && len(s.Problems) != 0 {
				t.Errorf("problems %v", s.Problems)
			}
			v.put(w.object("bgppeers/2", ""))
			v.put(w.object("bgppeers/3", ""))
			v.snapshot(t0)
			delAll(w, v, "bgppeers/2", "bgppeers/3")
			if s := v.snapshot(t0.Add(time.Hour)); s.Hold == nil || s.Hold.Objects != c.held+2 {
				t.Errorf("the end of one hold is not that of the next: %s", describe(s))
			}
		})
	}
}

// Peers and objects that go together are one hold.
func TestHoldOfPeersAndObjects(t *testing.T) {
	w, v := objectsOf()
	delAll(w, v, slices.Collect(maps.Keys(w.keys))...)
	s := v.snapshot(t0)
	if s.Hold == nil || s.Hold.Peers != 2 || s.Hold.Objects != 5 || !s.Hold.Since.Equal(t0) ||
		!strings.Contains(s.Hold.Reason, "2 of 2 peers") || !strings.Contains(s.Hold.Reason, "5 of 5 objects") {
		t.Errorf("hold %+v", s.Hold)
	}
}

// reborn is a view as the next life of the agent has it, from the file.
func reborn(t *testing.T, v *view) *view {
	t.Helper()
	s := v.snapshot(t0)
	b, err := cacheState{snap: s, view: v.cached(), id: v.self}.encode()
	must(t, err)
	c := new(cacheFile)
	must(t, json.Unmarshal(b, c))
	again := newView(v.self)
	c.seed(again)
	got := again.snapshot(t0)
	if diff := cmp.Diff(s, got, sameSnapshot); diff != "" {
		t.Errorf("from the file against before (-want +got):\n%s", diff)
	}
	return again
}

// The file has all objects as they were, and a restart does not end a hold.
func TestCacheKeepsObjectsAndHolds(t *testing.T) {
	w, v := objectsOf()
	policy := `{"apiVersion":"weft/v1","kind":"BGPPolicy","metadata":{"name":"x"},"spec":{"rules":[{"match":{"prefixes":[{"prefix":"10.0.0.0/8","max":32}],"asPath":"_65000_"},` +
		`"set":{"removeCommunities":["65000:1"],"med":0,"localPreference":7,"prepend":2,"largeCommunities":["1:2:3"]},"action":"accept"}]}}`
	v.put(w.put("bgppolicies/x", policy, 0))
	reborn(t, v)

	v.put(w.put(removedKey("node-2"), encodeJSON(removedValue{ID: "id-node-2"}), 3))
	var keys []string
	for key := range w.keys {
		if !strings.HasPrefix(key, dirRemoved) {
			keys = append(keys, key)
		}
	}
	delAll(w, v, keys...)
	if s := v.snapshot(t0); s.Hold == nil || s.Hold.Peers != 1 || s.Hold.Objects != 6 {
		t.Fatalf("want one peer and six objects held: %s", describe(s))
	}
	w.fabric()
	w.join(0)
	w.join(5) // so that one of three would be no mass disappearance
	w.join(6)
	v.relist(w.list, 1, w.rev)
	again := reborn(t, v)
	again.relist(w.list, 1, w.rev)
	s := again.snapshot(t0)
	if s.Hold == nil || s.Hold.Peers != 1 || s.Hold.Objects != 6 || s.Peer("id-node-1") == nil || !strings.Contains(s.Hold.Reason, "Fabric object") {
		t.Errorf("want one peer and six objects held still: %s", describe(s))
	}
	w.join(1)
	w.put(deletedKey("bgppeers/0"), "{}", 3)
	w.put("bgppolicies/x", policy, 0)
	again.relist(w.list, 1, w.rev)
	s = again.snapshot(t0)
	if s.Hold == nil || s.Hold.Peers != 0 || s.Hold.Objects != 4 || len(s.BGP.Peers) != 3 || s.Peer("id-node-1").Held {
		t.Errorf("want four objects held: %s", describe(s))
	}
}
