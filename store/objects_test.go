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

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// objectValue is what is stored under the key of an object; text is somewhere
// in it.
func objectValue(key, text string) string {
	dir, name, _ := strings.Cut(key, "/")
	kind, spec := "", ""
	switch dir + "/" {
	case dirBGPPeers:
		kind, spec = "BGPPeer", `{"description":%q,"nodes":{},"peer":{"gateways":"all"},"asn":"external"}`
	case dirBGPPolicies:
		kind, spec = "BGPPolicy", `{"rules":[{"match":{"peers":["p%s"]},"action":"reject"}]}`
		spec = strings.Replace(spec, `"p%s"`, `%q`, 1)
		text = "p" + text
	case dirBGPPrefixes:
		kind, spec = "BGPPrefix", `{"nodes":{"text":%q},"prefixes":["192.0.2.1/32"]}`
	case dirDrained:
		return fmt.Sprintf(`{"since":"2026-11-20T12:00:00Z","reason":%q}`, text)
	}
	return fmt.Sprintf(`{"apiVersion":"weft/v1","kind":%q,"metadata":{"name":%q},"spec":`+spec+`}`, kind, name, text)
}

// object writes an object into a world.
func (w *world) object(key, text string) kv { return w.put(key, objectValue(key, text), 0) }

// objectNames lists what is in force, in words.
func objectNames(s *fabric.Snapshot) string {
	var out []string
	if s.BGP != nil {
		for _, p := range s.BGP.Peers {
			out = append(out, "peer "+p.Name+" "+p.Spec.Description)
		}
		for _, p := range s.BGP.Policies {
			out = append(out, "policy "+p.Name+" "+strings.TrimPrefix(p.Spec.Rules[0].Match.Peers[0], "p"))
		}
		for _, p := range s.BGP.Prefixes {
			out = append(out, "prefix "+p.Name+" "+p.Spec.Nodes["text"])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(s.Drained)) {
		out = append(out, "drain "+name+" "+s.Drained[name].Reason)
	}
	return strings.Join(out, ", ")
}

// Every kind of object that operators can write has its key here, and the
// other way round.
func TestKindsHaveTheirKeys(t *testing.T) {
	for _, k := range config.Kinds() {
		info, err := parseKey(k.Key("x"))
		if err != nil || info.kind != kindFabric && info.kind != kindObject {
			t.Errorf("%s: %s is read as %+v, %v", k.Name, k.Key("x"), info, err)
		}
		if info.kind != kindObject {
			continue
		}
		w := newWorld()
		w.object(k.Key("x"), "text")
		s := w.view().snapshot(t0)
		if s.BGP == nil || len(s.Problems) != 0 {
			t.Errorf("%s: it is not in the snapshot: %s", k.Name, describe(s))
		}
	}
}

func TestObjectsInTheSnapshot(t *testing.T) {
	w := newWorld()
	w.fabric()
	if s := w.view().snapshot(t0); s.BGP != nil || s.Drained != nil {
		t.Errorf("without objects: %+v, %v", s.BGP, s.Drained)
	}
	for _, key := range []string{"bgppeers/b", "bgppeers/a", "bgppolicies/a", "bgpprefixes/a", "drained/node-1"} {
		w.object(key, "1")
	}
	v := w.view()
	s := v.snapshot(t0)
	if got, want := objectNames(s), "peer a 1, peer b 1, policy a 1, prefix a 1, drain node-1 1"; got != want || len(s.Problems) != 0 {
		t.Errorf("got  %s\nwant %s\n%v", got, want, s.Problems)
	}
	v.put(w.object("bgppeers/b", "2"))
	v.del("bgpprefixes/a", w.del("bgpprefixes/a"))
	v.del("drained/node-1", w.del("drained/node-1"))
	after := v.snapshot(t0)
	if got, want := objectNames(after), "peer a 1, peer b 2, policy a 1"; got != want || after.Hold != nil {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got, want := objectNames(s), "peer a 1, peer b 1, policy a 1, prefix a 1, drain node-1 1"; got != want {
		t.Errorf("the snapshot before changed: %s", got)
	}
}

// What did not change is shared, be it written or listed again.
func TestUnchangedObjectsAreShared(t *testing.T) {
	w := newWorld()
	w.fabric()
	w.join(0)
	w.object("bgppeers/a", "1")
	w.object("drained/node-0", "1")
	v := w.view()
	before := v.snapshot(t0)
	same := func(what string, bgp, drained bool) {
		t.Helper()
		after := v.snapshot(t0)
		_, marked := before.Drained["mark"]
		if marked || before.BGP == nil {
			t.Fatal("the test is wrong")
		}
		before.Drained["mark"] = fabric.Drain{} // maps cannot be compared
		_, shared := after.Drained["mark"]
		delete(before.Drained, "mark")
		if (after.BGP == before.BGP) != bgp || shared != drained {
			t.Errorf("%s: BGP is shared: %v, drains: %v; want %v, %v", what, after.BGP == before.BGP, shared, bgp, drained)
		}
		before = after
	}
	w.join(1)
	for e := range w.list {
		v.put(e)
	}
	same("the same, written again", true, true)
	v.relist(w.list, 1, w.rev)
	same("listed again", true, true)
	v.put(w.put("bgppeers/a", "garbage", 0))
	same("overwritten by garbage", true, true)
	v.put(w.object("bgppeers/a", "2"))
	same("another value", false, true)
	v.put(w.object("drained/node-0", "2"))
	same("another state of the drain", true, false)
}

func TestLastGoodObjectStays(t *testing.T) {
	w := newWorld()
	w.fabric()
	keys := []string{"bgppeers/a", "bgppolicies/a", "bgpprefixes/a", "drained/a"}
	for _, key := range keys {
		w.object(key, "1")
	}
	v := w.view()
	before := v.snapshot(t0)
	for _, key := range keys {
		v.put(w.put(key, "garbage", 0))
	}
	v.relist(w.list, 1, w.rev)
	s := v.snapshot(t0)
	if objectNames(s) != objectNames(before) || len(s.Problems) != len(keys) {
		t.Errorf("%s, before %s; %v", objectNames(s), objectNames(before), s.Problems)
	}
	for i, p := range s.Problems {
		if p.Key != keys[i] || !strings.Contains(p.Reason, "the last good value stays in force") {
			t.Errorf("problem %+v", p)
		}
	}
	v.del(keys[0], w.del(keys[0]))
	if s := v.snapshot(t0); len(s.BGP.Peers) != 0 || len(s.Problems) != len(keys)-1 {
		t.Errorf("deleted, but %s; %v", objectNames(s), s.Problems)
	}
}

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

// A cached object that makes no sense costs only itself.
func TestCacheWithGarbageObjects(t *testing.T) {
	c := new(cacheFile)
	must(t, json.Unmarshal([]byte(`{"objects":[{"key":"bgppeers/x"},{"key":"fabric","peer":{}},{"key":"deleted/bgppeers/x","peer":{}},{"key":"bgppeers/good","peer":{"description":"1"}}]}`), c))
	v := newView("")
	c.seed(v)
	if got := objectNames(v.snapshot(t0)); got != "peer good 1" {
		t.Errorf("in force: %s", got)
	}
}
