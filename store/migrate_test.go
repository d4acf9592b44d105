package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// Of all who begin a migration at once exactly one does, and the others are told
// which it is.
func TestMigrateOnlyOne(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	var mu sync.Mutex
	var won []string
	var tasks group
	for i := range 8 {
		st := operator(t, e)
		tasks.start(func() {
			m := testMigration(fmt.Sprintf("m%d", i))
			m.By = m.ID + "\n's"
			err := st.Migrate(context.Background(), m)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won = append(won, m.ID)
			case !errors.Is(err, ErrMigrating) || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), "from vxlan to vxlan, begun 2026-11-20 12:00:00 by m"):
				t.Errorf("%s: %v", m.ID, err)
			}
		})
	}
	tasks.wait()
	if len(won) != 1 {
		t.Fatalf("begun: %v", won)
	}
	a.waitSnap("the migration", func(s *fabric.Snapshot) bool { return migrationText(s) == won[0] })
}

func TestMigrateRefuses(t *testing.T) {
	t.Parallel()
	e := newEtcd(t)
	c, st, ctx := e.client(), operator(t, e), context.Background()
	if err := st.Migrate(ctx, testMigration("one")); !errors.Is(err, ErrNotFound) {
		t.Errorf("without a Fabric: %v", err)
	}
	put(t, c, keyFabric, strings.Replace(fabricValue("10.244.0.0/16", 24, "1h", "15s"), `"backend"`, `"overlay":"always","backend"`, 1))
	if err := st.Migrate(ctx, testMigration("one")); !errors.Is(err, ErrChanged) || !strings.Contains(err.Error(), "the Fabric was") {
		t.Errorf("from what is not the Fabric's plan: %v", err)
	}
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
	for want, change := range map[string]func(*fabric.Migration){
		"rate is 0":                  func(m *fabric.Migration) { m.Rate = 0 },
		"vxlan.mtu: 100":             func(m *fabric.Migration) { m.To.VXLAN.MTU = 100 },
		"vxlan.generation: 0 -> 0":   func(m *fabric.Migration) { m.To.VXLAN.Generation = 0 },
		"the migration's id: a name": func(m *fabric.Migration) { m.ID = "" },
	} {
		m := testMigration("one")
		if change(&m); errText(st.Migrate(ctx, m), want) {
			t.Errorf("want ...%s..., got %v", want, st.Migrate(ctx, m))
		}
	}
	put(t, c, keyMigration, "garbage")
	if err := st.Migrate(ctx, testMigration("one")); !errors.Is(err, ErrMigrating) || !strings.Contains(err.Error(), "cannot be read") {
		t.Errorf("over a record that cannot be read: %v", err)
	}
}

// errText reports whether an error lacks a text.
func errText(err error, part string) bool { return err == nil || !strings.Contains(err.Error(), part) }

// Changes that race with each other are all made, and keep what only a newer
// version knows.
func TestChangeMigration(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	st, ctx := operator(t, e), context.Background()
	pause := func(m *fabric.Migration) error {
		m.Pause = &fabric.Pause{Reason: "tea"}
		return nil
	}
	if err := st.ChangeMigration(ctx, "one", pause); !errors.Is(err, ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	must(t, st.Migrate(ctx, testMigration("one")))
	put(t, c, keyMigration, strings.Replace(encodeJSON(testMigration("one")), "{", `{"quantum":{"x":1},`, 1))
	if err := st.ChangeMigration(ctx, "two", pause); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "there is the migration one") {
		t.Errorf("of another one: %v", err)
	}
	refusal := errors.New("it is too late for that")
	if err := st.ChangeMigration(ctx, "one", func(*fabric.Migration) error { return refusal }); err != refusal { //nolint:errorlint // as it is
		t.Errorf("refused: %v", err)
	}
	if err := st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error { m.Rate = -1; return nil }); errText(err, "rate is -1") {
		t.Errorf("nonsense: %v", err)
	}
	var tasks group
	for range 5 {
		tasks.start(func() {
			err := st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error { m.Rate++; return nil })
			if err != nil {
				t.Error(err)
			}
		})
	}
	tasks.start(func() {
		if err := st.ChangeMigration(ctx, "one", pause); err != nil {
			t.Error(err)
		}
	})
	tasks.wait()
	s, err := st.View(ctx)
	must(t, err)
	if s.Migration.Rate != 105 || s.Migration.Pause == nil || s.Migration.Pause.Reason != "tea" {
		t.Errorf("%+v", s.Migration)
	}
	must(t, st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error { m.Pause = nil; return nil }))
	value, rev, err := st.Get(ctx, keyMigration)
	must(t, err)
	if text := string(value); !strings.Contains(text, `"quantum":{"x":1}`) || strings.Contains(text, "pause") {
		t.Errorf("stored: %s", value)
	}
	must(t, st.ChangeMigration(ctx, "one", func(*fabric.Migration) error { return nil }))
	if _, now, err := st.Get(ctx, keyMigration); err != nil || now != rev {
		t.Errorf("nothing was written: revision %d, was %d, %v", now, rev, err)
	}
}

// moved is the Fabric by the new plan of a migration, as `finish` writes it.
func moved(t *testing.T, st *Store) *Change {
	t.Helper()
	value, rev, err := st.Get(context.Background(), keyFabric)
	must(t, err)
	o, err := config.DecodeObject(value)
	must(t, err)
	o.Spec = testMigration("one").To.Apply(o.Fabric())
	out, err := o.Encode()
	must(t, err)
	return &Change{Key: keyFabric, Value: out, ModRev: rev}
}

// The end is one transaction: no agent sees a moment without either plan, and
// none that was judged by something older than what is there.
func TestFinishMigration(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	a.waitState(Leased)
	st, ctx := operator(t, e), context.Background()
	if err := st.FinishMigration(ctx, "one", 0, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("of none: %v", err)
	}
	must(t, st.Migrate(ctx, testMigration("one")))
	a.waitSnap("the migration", func(s *fabric.Snapshot) bool { return s.Migration != nil })
	must(t, a.ss.ReportMigration(ctx, fabric.MigrationReport{ID: "one", Armed: true}))
	judged, err := st.View(ctx)
	must(t, err)
	fabricNow := moved(t, st)
	must(t, a.ss.ReportMigration(ctx, fabric.MigrationReport{ID: "one", Armed: true, Cursor: "x"}))
	if err := st.FinishMigration(ctx, "one", judged.Revision, fabricNow); !errors.Is(err, ErrChanged) {
		t.Errorf("a report was written since: %v", err)
	}
	judged, err = st.View(ctx)
	must(t, err)
	must(t, st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error { m.Rate++; return nil }))
	if err := st.FinishMigration(ctx, "one", judged.Revision, fabricNow); !errors.Is(err, ErrChanged) {
		t.Errorf("the record was written since: %v", err)
	}
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "16s"))
	judged, err = st.View(ctx)
	must(t, err)
	if err := st.FinishMigration(ctx, "one", judged.Revision, fabricNow); !errors.Is(err, ErrChanged) {
		t.Errorf("the Fabric was written since: %v", err)
	}
	if err := st.FinishMigration(ctx, "two", 0, nil); !errors.Is(err, ErrNotFound) {
		t.Errorf("of another one: %v", err)
	}
	must(t, st.FinishMigration(ctx, "one", judged.Revision, moved(t, st)))
	a.waitSnap("the end", func(s *fabric.Snapshot) bool { return s.Migration == nil && s.Spec.VXLAN.VNI == 2 })
	a.mu.Lock()
	for _, s := range a.snaps {
		if begun := s.Migration != nil; s.Spec != nil && s.Spec.VXLAN.VNI == 2 && (begun || s.Reports != nil) || s.Hold != nil {
			t.Errorf("half of the end was seen: %s, VNI %d, hold %v", migrationText(s), s.Spec.VXLAN.VNI, s.Hold)
		}
	}
	a.mu.Unlock()
	if err := a.ss.ReportMigration(ctx, fabric.MigrationReport{ID: "one", Done: true}); !errors.Is(err, ErrNotFound) {
		t.Errorf("a report on what is over: %v", err)
	}
	resp, err := c.Get(ctx, testPrefix+"migrat", clientv3.WithPrefix())
	must(t, err)
	if len(resp.Kvs) != 0 {
		t.Errorf("left: %v", resp.Kvs)
	}
	if _, _, err := st.Get(ctx, finishedKey("one")); err != nil {
		t.Errorf("its mark: %v", err)
	}
	// A refused or undone one leaves the Fabric as it is, and the next may begin.
	m := testMigration("two")
	m.From = m.To
	m.To.VXLAN.VNI, m.To.VXLAN.Generation = 3, 2
	must(t, st.Migrate(ctx, m))
	must(t, st.FinishMigration(ctx, "two", 0, nil))
	if s, err := st.View(ctx); err != nil || s.Spec.VXLAN.VNI != 2 || s.Migration != nil {
		t.Errorf("finished without a Fabric: %+v, %v", s, err)
	}
	if err := st.Migrate(ctx, m); !errors.Is(err, ErrChanged) {
		t.Errorf("the same one again, of which all know that it is over: %v", err)
	}
}
