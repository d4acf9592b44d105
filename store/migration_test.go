package store

import (
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// testMigration leads the fabrics of these tests to another VNI.
func testMigration(id string) fabric.Migration {
	from := fabric.Plan{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true}}
	to := from
	to.VXLAN.VNI, to.VXLAN.Generation = 2, 1
	return fabric.Migration{ID: id, From: from, To: to, Rate: 100, By: "tester", Created: t0}
}

func (w *world) migrate(id string) kv { return w.put(keyMigration, encodeJSON(testMigration(id)), 0) }

func (w *world) report(node, id string, cursor fabric.NodeID) kv {
	return w.put(reportKey(node), encodeJSON(fabric.MigrationReport{ID: id, Armed: true, Cursor: cursor, At: t0}), 0)
}

// migrationText is the migration in force and what nodes said of it, in words.
func migrationText(s *fabric.Snapshot) string {
	var out []string
	if s.Migration != nil {
		out = append(out, s.Migration.ID)
	}
	for _, node := range slices.Sorted(maps.Keys(s.Reports)) {
		out = append(out, fmt.Sprintf("%s at %s", node, s.Reports[node].Cursor))
	}
	return strings.Join(out, ", ")
}

// migratingOf is a fabric of three nodes in the middle of a migration.
func migratingOf() (*world, *view) {
	w, v := fleet(3)
	v.put(w.migrate("one"))
	for i := range 3 {
		v.put(w.report(testNode(i).Name, "one", fabric.NodeID(fmt.Sprint(i))))
	}
	v.snapshot(t0)
	return w, v
}

const migratingAll = "one, node-0 at 0, node-1 at 1, node-2 at 2"

func TestMigrationInTheSnapshot(t *testing.T) {
	w, v := migratingOf()
	before := v.snapshot(t0)
	if got := migrationText(before); got != migratingAll || !reflect.DeepEqual(*before.Migration, testMigration("one")) {
		t.Fatalf("%s, %+v", got, before.Migration)
	}
	same := func(what string, migration, reports bool) {
		t.Helper()
		after := v.snapshot(t0)
		got := reflect.ValueOf(after.Reports).Pointer() == reflect.ValueOf(before.Reports).Pointer()
		if (after.Migration == before.Migration) != migration || got != reports {
			t.Errorf("%s: the migration is shared: %v, reports: %v; want %v, %v", what, after.Migration == before.Migration, got, migration, reports)
		}
		before = after
	}
	for e := range w.list {
		v.put(e)
	}
	same("the same, written again", true, true)
	v.relist(w.list, 1, w.rev)
	same("listed again", true, true)
	v.put(w.put(keyMigration, "garbage", 0))
	v.put(w.put(reportKey("node-1"), "garbage", 0))
	same("overwritten by garbage", true, true)
	v.put(w.report("node-1", "one", "9"))
	same("another report", true, false)
	m := testMigration("one")
	m.Pause = &fabric.Pause{Reason: "lost a packet", At: t0}
	v.put(w.put(keyMigration, encodeJSON(m), 0))
	same("paused", false, false)
	if got := migrationText(before); got != strings.Replace(migratingAll, "1 at 1", "1 at 9", 1) || before.Migration.Pause == nil {
		t.Errorf("%s, %+v", got, before.Migration)
	}
	v.put(w.report("node-2", "earlier", "2"))
	if got := migrationText(v.snapshot(t0)); got != "one, node-0 at 0, node-1 at 9" {
		t.Errorf("a report on another migration counts: %s", got)
	}
	v.put(w.migrate("next"))
	if got := migrationText(v.snapshot(t0)); got != "next" {
		t.Errorf("reports on an earlier migration count: %s", got)
	}
}

// A bad record costs a problem; what was understood last stays in force.
func TestBadMigrationRecords(t *testing.T) {
	change := func(f func(*fabric.Migration)) string {
		m := testMigration("one")
		f(&m)
		return encodeJSON(m)
	}
	for _, c := range []struct{ key, value, reason string }{
		{keyMigration, "", "the value is empty"},
		{keyMigration, "[]", "not a JSON object"},
		{keyMigration, strings.Repeat("[", 1<<20), "bytes"},
		{keyMigration, "{}", "the migration's id: a name has 1 to"},
		{keyMigration, change(func(m *fabric.Migration) { m.ID = "a/b" }), "the migration's id"},
		{keyMigration, change(func(m *fabric.Migration) { m.Rate = 0 }), "the migration's rate is 0"},
		{keyMigration, change(func(m *fabric.Migration) { m.Rate = 1 << 30 }), "the migration's rate"},
		{keyMigration, change(func(m *fabric.Migration) { m.To.Backend = "geneve" }), `the migration's to: backend: "geneve" is not a backend`},
		{keyMigration, change(func(m *fabric.Migration) { m.From.VXLAN.VNI = 0 }), "the migration's from: vxlan.vni: 0 is out of range"},
		{keyMigration, change(func(m *fabric.Migration) { m.To.VXLAN.Generation = 7 }), "the migration's to: vxlan.generation: 0 -> 7"},
		{reportKey("node-1"), "?", "not a JSON object"},
		{reportKey("node-1"), `{"id":"one","armed":"yes"}`, "not a record of weft"},
		{reportKey("node-1"), `{"armed":true}`, "the id of the migration reported on"},
		{reportKey("node-1"), `{"id":"one","moved":-1}`, "-1 of 0 peers"},
		{reportKey("node-1"), `{"id":"one","cursor":"` + strings.Repeat("x", 300) + `"}`, "the cursor has 300 characters"},
	} {
		w, v := migratingOf()
		before := v.snapshot(t0)
		v.put(w.put(c.key, c.value, 0))
		v.relist(w.list, 1, w.rev)
		s := v.snapshot(t0)
		if migrationText(s) != migratingAll || s.Migration != before.Migration || s.Hold != nil {
			t.Errorf("%s %.40s: %s", c.key, c.value, migrationText(s))
		}
		if len(s.Problems) != 1 || s.Problems[0].Key != c.key || !strings.Contains(s.Problems[0].Reason, c.reason) ||
			!strings.HasSuffix(s.Problems[0].Reason, "; the last good value stays in force") {
			t.Errorf("%s %.40s: problems %v, want ...%s...", c.key, c.value, s.Problems, c.reason)
		}
		// A node that never saw a good one goes by the specification.
		if s := w.view().snapshot(t0); c.key == keyMigration && (s.Migration != nil || s.Reports != nil) {
			t.Errorf("%.40s: %s out of nothing", c.value, migrationText(s))
		}
	}
	newer := strings.Replace(encodeJSON(testMigration("one")), `{`, `{"quantum":{"x":1},`, 1)
	w := newWorld()
	w.put(keyMigration, newer, 0)
	if s := w.view().snapshot(t0); migrationText(s) != "one" || len(s.Problems) != 0 {
		t.Errorf("of a later version: %s, %v", migrationText(s), s.Problems)
	}
}

// What goes from etcd by nobody's word does not end a migration, nor undo it.
func TestMigrationHold(t *testing.T) {
	finish := func(w *world, v *view) {
		rev := w.del(keyMigration)
		v.del(keyMigration, rev)
		for i := range 3 {
			key := reportKey(testNode(i).Name)
			delete(w.keys, key)
			v.del(key, rev)
		}
		v.put(w.put(finishedKey("one"), "{}", 3))
	}
	for _, c := range []struct {
		name string
		do   func(w *world, v *view)
		want string
		held bool
	}{
		{"finished", finish, "", false},
		{"finished together with many objects", func(w *world, v *view) {
			v.put(w.object("drained/node-1", ""))
			v.snapshot(t0)
			finish(w, v)
			v.put(w.put(deletedKey("drained/node-1"), "{}", 3))
			delAll(w, v, "drained/node-1")
		}, "", false},
		{"its key alone, by hand", func(w *world, v *view) { delAll(w, v, keyMigration) }, "", false},
		{"its key and an object by one write", func(w *world, v *view) {
			v.put(w.object("drained/node-1", ""))
			v.snapshot(t0)
			delAll(w, v, keyMigration, "drained/node-1")
		}, migratingAll, true},
		{"wiped", func(w *world, v *view) { delAll(w, v, slices.Collect(maps.Keys(w.keys))...) }, migratingAll, true},
		{"an empty list", func(_ *world, v *view) { v.relist(newWorld().list, 2, 1) }, migratingAll, true},
		{"the Fabric made anew", func(w *world, v *view) {
			w.del(slices.Collect(maps.Keys(w.keys))...)
			w.fabric()
			v.relist(w.list, 1, w.rev)
		}, migratingAll, true},
		{"restored from an older copy", func(w *world, v *view) {
			w.del(keyMigration, reportKey("node-0"), reportKey("node-1"), reportKey("node-2"))
			v.rewound = true
			v.relist(w.list, 1, w.rev)
		}, migratingAll, true},
		{"restored when another mark was there", func(w *world, v *view) {
			w.put(finishedKey("earlier"), "{}", 3)
			w.del(keyMigration)
			v.rewound = true
			v.relist(w.list, 1, w.rev)
		}, migratingAll, true},
		{"restored, but finished", func(w *world, v *view) {
			w.put(finishedKey("one"), "{}", 3)
			w.del(keyMigration)
			v.rewound = true
			v.relist(w.list, 1, w.rev)
		}, "", false},
		{"all reports", func(w *world, v *view) {
			delAll(w, v, reportKey("node-0"), reportKey("node-1"), reportKey("node-2"))
		}, migratingAll, false},
		{"a list lacks reports", func(w *world, v *view) {
			w.del(reportKey("node-0"), reportKey("node-1"))
			v.relist(w.list, 1, w.rev)
		}, migratingAll, false},
		{"a node that was removed", func(w *world, v *view) {
			v.put(w.put(removedKey("node-1"), encodeJSON(removedValue{ID: "id-node-1"}), 3))
			delAll(w, v, append(recordsOf(1), reportKey("node-1"))...)
		}, "one, node-0 at 0, node-2 at 2", false},
		{"wiped, then another one begun", func(w *world, v *view) {
			delAll(w, v, slices.Collect(maps.Keys(w.keys))...)
			v.snapshot(t0)
			v.put(w.fabric())
			v.put(w.migrate("two"))
		}, "two", false},
		{"wiped, then released by an operator", func(w *world, v *view) {
			delAll(w, v, slices.Collect(maps.Keys(w.keys))...)
			v.snapshot(t0)
			v.releaseHold()
		}, "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, v := migratingOf()
			c.do(w, v)
			s := v.snapshot(t0)
			held := s.Hold != nil && s.Hold.Objects > 0
			named := slices.ContainsFunc(s.Problems, func(p fabric.Problem) bool { return p.Key == keyMigration })
			if migrationText(s) != c.want || held != c.held || named != c.held {
				t.Fatalf("%s, held: %v, named: %v; want %s, %v\n%s", migrationText(s), held, named, c.want, c.held, describe(s))
			}
			if s.SpecRev == 0 {
				return // the file has no problems in it, like that of the Fabric
			}
			if got := reborn(t, v).snapshot(t0.Add(time.Minute)); migrationText(got) != c.want {
				t.Errorf("after a restart: %s, want %s", migrationText(got), c.want)
			}
		})
	}
}

// A host that was off for days finds that the migration of its file is over,
// however many took part in it, and would not put it back either.
func TestMigrationOfLongAgo(t *testing.T) {
	w, v := fleet(60)
	v.put(w.migrate("one"))
	for i := range 60 {
		v.put(w.report(testNode(i).Name, "one", "x"))
	}
	v.snapshot(t0)
	later := reborn(t, v)
	if s := later.snapshot(t0); s.Migration == nil || len(s.Reports) != 60 {
		t.Fatalf("cached: %s", migrationText(s))
	}
	keys := []string{keyMigration}
	for i := range 60 {
		keys = append(keys, reportKey(testNode(i).Name))
	}
	w.del(keys...)
	later.relist(w.list, 1, w.rev)
	if s := later.snapshot(t0); migrationText(s) != "" || s.Hold != nil || len(s.Problems) != 0 {
		t.Errorf("%s, %s", migrationText(s), describe(s))
	}
	wiped := reborn(t, v)
	wiped.relist(newWorld().list, 2, 1)
	s := wiped.snapshot(t0)
	ss := &Session{view: wiped}
	if txn := new(txn); s.Migration == nil {
		t.Errorf("a wiped etcd ended what the file says: %s", describe(s))
	} else if ss.planMigration(txn); len(txn.ops) != 0 {
		t.Error("a migration known from a file alone is put back")
	}
}

func TestCacheWithAGarbageMigration(t *testing.T) {
	c := new(cacheFile)
	must(t, json.Unmarshal([]byte(`{"objects":[{"key":"migration","migration":{"id":"one","rate":-1}}],"reports":{"node-1":{"id":"one"}}}`), c))
	v := newView("")
	c.seed(v)
	if s := v.snapshot(t0); s.Migration != nil || s.Reports != nil {
		t.Errorf("in force: %s", migrationText(s))
	}
}

// What agents of earlier versions do not know is nothing to them: only keys in
// folders of its own are written, but for the Fabric.
func TestMigrationsHaveTheirOwnKeys(t *testing.T) {
	for _, key := range []string{keyMigration, reportKey("n"), finishedKey("one")} {
		for _, known := range []string{keyFabric, dirNodes, dirAlive, dirRemoved, dirSubnets, dirBGPPeers, dirBGPPolicies, dirBGPPrefixes, dirDrained, dirDeleted, dirLocks} {
			if strings.HasPrefix(key, known) {
				t.Errorf("%s is in the folder %s, which earlier versions read", key, known)
			}
		}
		if info, err := parseKey(key); err != nil || info.kind == kindUnknown {
			t.Errorf("%s: %+v, %v", key, info, err)
		}
	}
	for _, key := range []string{"migrating/", "migrating/a/b", "finished/", "finished/\n", "deleted/migration", "deleted/migrating/a"} {
		if info, err := parseKey(key); err == nil {
			t.Errorf("parseKey(%q) = %+v, want an error", key, info)
		}
	}
}

func FuzzMigration(f *testing.F) {
	f.Add([]byte(encodeJSON(testMigration("one"))))
	f.Add([]byte(`{"id":"a","rate":1,"from":{"backend":"vxlan","vxlan":{"vni":1,"port":1}},"to":{"backend":"bgp","paths":["bgp"],"vxlan":{"vni":1,"port":1}},"undo":true,"pause":{"at":null}}`))
	f.Add([]byte(`{"id":"a","rate":1,"from":{},"to":{"paths":[]}}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		m, err := decodeMigration(value)
		if err != nil {
			return
		}
		if m.ID == "" || m.Rate < 1 || m.To.VXLAN.VNI == 0 || m.To.Backend == "" {
			t.Errorf("%q is read as %+v", value, m)
		}
		again, err := decodeMigration([]byte(encodeJSON(m)))
		if err != nil || encodeJSON(again) != encodeJSON(m) {
			t.Errorf("%q is read as %+v, which is not read back: %v", value, m, err)
		}
		now := *m
		now.Undo = !m.Undo
		if back, err := decodeMigration([]byte(merge(value, *m, now))); err != nil || back.Undo != now.Undo {
			t.Errorf("%q cannot be changed: %+v, %v", value, back, err)
		}
	})
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(encodeJSON(fabric.MigrationReport{ID: "one", Checks: []fabric.Check{{Name: "mtu", Result: "ok"}}, Armed: true, Cursor: "x", At: t0})))
	f.Add([]byte(`{"id":"one","checks":null,"moved":3,"total":2,"at":"2026-11-20T12:00:00+01:00"}`))
	f.Add([]byte(`{"id":"one","CheCks":[]}`))
	f.Add([]byte(`{"id":"one"}{}`))
	f.Fuzz(func(t *testing.T, value []byte) {
		r, err := decodeReport(value)
		if err != nil {
			return
		}
		again, err := decodeReport([]byte(encodeJSON(r)))
		if err != nil || encodeJSON(again) != encodeJSON(r) || r.ID == "" {
			t.Errorf("%q is read as %+v, and read back as %+v: %v", value, r, again, err)
		}
	})
}
