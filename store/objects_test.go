package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

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
		kind, spec = "BGPPolicy", `{"rules":[{"match":{"peers":[%q]},"action":"reject"}]}`
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
