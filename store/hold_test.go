package store

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// fleet is a view of n nodes, seen from the first.
func fleet(n int) (*world, *view) {
	w := newWorld()
	w.fabric()
	for i := range n {
		w.join(i)
	}
	v := w.view()
	v.self = testNode(0).ID
	v.snapshot(t0)
	return w, v
}

// recordsOf are the keys of the i-th node.
func recordsOf(i int) []string {
	n := testNode(i)
	return []string{aliveKey(n.Name), nodeKey(n.Name), fmt.Sprintf("subnets/ipv4/010.244.%03d.000-24", i)}
}

func delAll(w *world, v *view, keys ...string) {
	rev := w.del(keys...)
	for _, k := range keys {
		v.del(k, rev)
	}
}

func held(s *fabric.Snapshot) (n int) {
	for _, p := range s.Peers {
		if p.Held {
			n++
		}
	}
	return n
}

func TestHold(t *testing.T) {
	for _, c := range []struct {
		name        string
		nodes       int
		do          func(w *world, v *view) *fabric.Snapshot
		left, held  int
		reasonParts string
	}{
		{"one of two goes", 2, func(w *world, v *view) *fabric.Snapshot {
			delAll(w, v, recordsOf(1)...)
			return v.snapshot(t0)
		}, 1, 0, ""},
		{"one of three goes", 3, func(w *world, v *view) *fabric.Snapshot {
			delAll(w, v, recordsOf(1)...)
			return v.snapshot(t0)
		}, 2, 0, ""},
		{"two of three are wiped by one write", 3, func(w *world, v *view) *fabric.Snapshot {
			delAll(w, v, nodeKey("node-1"), nodeKey("node-2"))
			return v.snapshot(t0)
		}, 3, 2, "one write"},
		{"two nodes are wiped, one of them we", 2, func(w *world, v *view) *fabric.Snapshot {
			delAll(w, v, nodeKey("node-0"), nodeKey("node-1"))
			return v.snapshot(t0)
		}, 1, 1, "one write"},
		{"all is wiped", 10, func(w *world, v *view) *fabric.Snapshot {
			keys := []string{keyFabric}
			for i := range 10 {
				keys = append(keys, recordsOf(i)...)
			}
			delAll(w, v, keys...)
			return v.snapshot(t0)
		}, 9, 9, "Fabric object"},
		{"an empty list", 2, func(_ *world, v *view) *fabric.Snapshot {
			v.relist(newWorld().list, 2, 1)
			return v.snapshot(t0)
		}, 1, 1, "Fabric object"},
		{"a list with less than half", 10, func(w *world, v *view) *fabric.Snapshot {
			for i := range 6 {
				w.del(recordsOf(i + 1)...)
			}
			v.relist(w.list, 1, w.rev)
			return v.snapshot(t0)
		}, 10, 6, "6 of 9"},
		{"a list of a restored etcd that lacks one", 10, func(w *world, v *view) *fabric.Snapshot {
			w.del(recordsOf(1)...)
			v.rewound = true
			v.relist(w.list, 1, w.rev)
			return v.snapshot(t0)
		}, 10, 1, "older copy"},
		{"a list that lacks two", 10, func(w *world, v *view) *fabric.Snapshot {
			w.del(recordsOf(1)...)
			w.del(recordsOf(2)...)
			v.relist(w.list, 1, w.rev)
			return v.snapshot(t0)
		}, 8, 0, ""},
		{"subnets go, nodes stay", 5, func(w *world, v *view) *fabric.Snapshot {
			var keys []string
			for i := range 5 {
				keys = append(keys, recordsOf(i)[2])
			}
			delAll(w, v, keys...)
			return v.snapshot(t0)
		}, 5, 4, "one write"},
		{"one by one, quickly", 10, func(w *world, v *view) (s *fabric.Snapshot) {
			for i := range 9 {
				delAll(w, v, recordsOf(i+1)...)
				s = v.snapshot(t0.Add(time.Duration(i) * time.Second))
			}
			return s
		}, 6, 5, "within 30s"},
		{"one by one, slowly", 10, func(w *world, v *view) (s *fabric.Snapshot) {
			for i := range 9 {
				delAll(w, v, recordsOf(i+1)...)
				s = v.snapshot(t0.Add(time.Duration(i) * time.Minute))
			}
			return s
		}, 1, 0, ""},
		{"all removed by the operator", 10, func(w *world, v *view) *fabric.Snapshot {
			for i := range 9 {
				n := testNode(i + 1)
				v.put(w.put(removedKey(n.Name), encodeJSON(removedValue{ID: n.ID}), 3))
				delAll(w, v, recordsOf(i+1)...)
			}
			return v.snapshot(t0)
		}, 1, 0, ""},
		{"renumbered", 5, func(w *world, v *view) *fabric.Snapshot {
			for i := range 5 {
				v.put(w.lease(fmt.Sprintf("10.244.%d.0/24", 100+i), testNode(i).ID))
				delAll(w, v, recordsOf(i)[2])
			}
			return v.snapshot(t0)
		}, 5, 0, ""},
		{"out of life, not out of etcd", 5, func(w *world, v *view) *fabric.Snapshot {
			for i := range 5 {
				delAll(w, v, recordsOf(i)[0])
			}
			return v.snapshot(t0)
		}, 5, 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, v := fleet(c.nodes)
			s := c.do(w, v)
			if len(s.Peers) != c.left || held(s) != c.held || (s.Hold != nil) != (c.held > 0) {
				t.Fatalf("%d peers of which %d are held, want %d and %d:\n%s", len(s.Peers), held(s), c.left, c.held, describe(s))
			}
			if s.Hold != nil && (!strings.Contains(s.Hold.Reason, c.reasonParts) || s.Hold.Peers != c.held) {
				t.Errorf("hold %+v, want %d peers and ...%s...", s.Hold, c.held, c.reasonParts)
			}
			for _, p := range s.Peers {
				if p.ID != v.self && len(p.Subnets) != 1 {
					t.Errorf("%s has subnets %v", p.Name, p.Subnets)
				}
			}
		})
	}
}

// wiped is a fleet of five of which all but the first node's view is gone.
func wiped(t *testing.T) (*world, *view) {
	t.Helper()
	w, v := fleet(5)
	keys := []string{keyFabric}
	for i := range 5 {
		keys = append(keys, recordsOf(i)...)
	}
	delAll(w, v, keys...)
	if s := v.snapshot(t0); held(s) != 4 {
		t.Fatalf("want four held:\n%s", describe(s))
	}
	return w, v
}

func TestHoldEnds(t *testing.T) {
	t.Run("by return", func(t *testing.T) {
		w, v := wiped(t)
		n := testNode(1)
		n.Index = 2
		v.put(w.node(n))
		if s := v.snapshot(t0); held(s) != 4 {
			t.Errorf("a node without its subnet is not back yet:\n%s", describe(s))
		}
		v.put(w.lease("10.244.1.0/24", n.ID))
		if s := v.snapshot(t0); held(s) != 3 || s.Hold.Peers != 3 || s.Peer(n.ID).Held {
			t.Errorf("want three held, node-1 not:\n%s", describe(s))
		}
	})
	t.Run("by release", func(t *testing.T) {
		w, v := wiped(t)
		v.releaseHold()
		if s := v.snapshot(t0); len(s.Peers) != 0 || s.Hold != nil {
			t.Errorf("want no peers:\n%s", describe(s))
		}
		w.join(1)
		v.relist(w.list, 1, w.rev)
		delAll(w, v, recordsOf(1)...)
		if s := v.snapshot(t0); held(s) != 0 {
			t.Errorf("a peer that was never delivered cannot be held:\n%s", describe(s))
		}
	})
	t.Run("by the operator's removal", func(t *testing.T) {
		w, v := wiped(t)
		n := testNode(2)
		v.put(w.put(removedKey(n.Name), encodeJSON(removedValue{ID: n.ID}), 3))
		if s := v.snapshot(t0); held(s) != 3 || s.Peer(n.ID) != nil {
			t.Errorf("want three held, not node-2:\n%s", describe(s))
		}
	})
	t.Run("by another's claim", func(t *testing.T) {
		w, v := wiped(t)
		n := testNode(7)
		n.Index = 8
		v.put(w.node(n))
		v.put(w.lease("10.244.3.0/24", n.ID))
		if s := v.snapshot(t0); held(s) != 3 || s.Peer(testNode(3).ID) != nil {
			t.Errorf("want three held, not node-3, whose subnet is node-7's by now:\n%s", describe(s))
		}
	})
}

// A spec once known stays in force when its object is gone or garbage.
func TestSpecStays(t *testing.T) {
	w, v := fleet(2)
	delAll(w, v, keyFabric)
	s := v.snapshot(t0)
	if s.Spec == nil || s.SpecRev != 0 || len(s.Problems) != 1 || s.Problems[0].Key != keyFabric {
		t.Errorf("want the last spec and one problem: %s", describe(s))
	}
	v.put(w.fabric())
	if s := v.snapshot(t0); s.SpecRev == 0 || len(s.Problems) != 0 {
		t.Errorf("the object is back: %s", describe(s))
	}
}

func bigWorld(n int) *world {
	w := newWorld()
	w.put(keyFabric, fabricValue("10.0.0.0/8", 24, "24h", "15s"), 0)
	for i := range n {
		node := testNode(i)
		node.Index = uint32(i + 1)
		w.node(node)
		w.put(aliveKey(node.Name), encodeJSON(aliveValue{ID: node.ID, Instance: "x"}), 2)
		w.lease(fmt.Sprintf("10.%d.%d.0/24", i>>8, i&255), node.ID)
	}
	return w
}

// What one event costs in a fabric of 10000 nodes, snapshot included.
func BenchmarkFoldOneEvent(b *testing.B) {
	w := bigWorld(10000)
	v := w.view()
	v.snapshot(t0)
	n := testNode(5000)
	n.Index = 5001
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		n.MTU = 1500 + i%2
		v.put(w.node(n))
		v.snapshot(t0)
	}
}

// What one more batch of peers that a node has moved costs the 10000 others.
func BenchmarkFoldOneReport(b *testing.B) {
	w := bigWorld(10000)
	w.migrate("one")
	for i := range 10000 {
		w.report(testNode(i).Name, "one", "x")
	}
	v := w.view()
	v.snapshot(t0)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		v.put(w.report("node-5000", "one", fabric.NodeID(fmt.Sprint(i))))
		v.snapshot(t0)
	}
}

// What a list of 10000 nodes costs from its bytes to the snapshot.
func BenchmarkFoldList(b *testing.B) {
	w := bigWorld(10000)
	var list []kv
	for e := range w.list {
		list = append(list, e)
	}
	b.ReportAllocs()
	for b.Loop() {
		v := newView("")
		v.relist(func(yield func(kv) bool) {
			for _, e := range list {
				if !yield(e) {
					return
				}
			}
		}, 1, w.rev)
		v.snapshot(t0)
	}
}

// What a list costs that tells nothing new.
func BenchmarkFoldListAgain(b *testing.B) {
	w := bigWorld(10000)
	v := w.view()
	v.snapshot(t0)
	b.ReportAllocs()
	for b.Loop() {
		v.relist(w.list, 1, w.rev)
		v.snapshot(t0)
	}
}
