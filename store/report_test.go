package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// storedReport is the cursor that a node's report in etcd has, "-" for none.
func storedReport(t *testing.T, c *clientv3.Client, node string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	resp, err := c.Get(ctx, testPrefix+reportKey(node))
	must(t, err)
	if len(resp.Kvs) == 0 {
		return "-"
	}
	r, err := decodeReport(resp.Kvs[0].Value)
	if err != nil {
		return err.Error()
	}
	return string(r.Cursor)
}

func waitReport(t *testing.T, c *clientv3.Client, node, want string) {
	t.Helper()
	eventually(t, node+"'s report "+want, func() error {
		if got := storedReport(t, c, node); got != want {
			return fmt.Errorf("it is %s", got)
		}
		return nil
	})
}

func at(cursor string) fabric.MigrationReport {
	return fabric.MigrationReport{ID: "one", Armed: true, Cursor: fabric.NodeID(cursor), At: time.Now()}
}

// waitMigration waits for a migration and reports in words.
func (a *agent) waitMigration(want string) *fabric.Snapshot {
	a.t.Helper()
	return a.waitSnap("the migration "+want, func(s *fabric.Snapshot) bool { return migrationText(s) == want })
}

// neverLostMigration fails if a snapshot lacked the migration since it began.
func (a *agent) neverLostMigration() {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	begun := false
	for _, s := range a.snaps {
		has := s.Migration != nil && s.Migration.ID == "one"
		begun = begun || has
		if begun && (!has || len(s.Plans()) != 2) {
			a.t.Errorf("%s was without the migration for a time: %s", a.ss.opt.Self.Name, describe(s))
		}
	}
	if !begun {
		a.t.Errorf("%s never had the migration", a.ss.opt.Self.Name)
	}
}

// What ReportMigration said yes to is in etcd by then; it says no to what cannot
// be, and what it said no to is not written afterwards.
func TestReportMigration(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	relay := newRelay(t, e.url)
	a, b := startAgent(t, []string{relay.url}, testNode(1)), startAgent(t, []string{e.url}, testNode(2))
	a.waitState(Leased)
	b.waitState(Leased)
	ctx, st := context.Background(), operator(t, e)
	if err := a.ss.ReportMigration(ctx, at("1")); !errors.Is(err, ErrNotFound) {
		t.Errorf("without a migration: %v", err)
	}
	put(t, c, reportKey("node-1"), `{"id":"earlier","done":true}`)
	waitReport(t, c, "node-1", "-")
	must(t, st.Migrate(ctx, testMigration("one")))
	a.waitMigration("one")
	if err := a.ss.ReportMigration(ctx, fabric.MigrationReport{ID: "two"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("on another migration: %v", err)
	}
	if err := a.ss.ReportMigration(ctx, fabric.MigrationReport{ID: "one", Moved: -1}); errText(err, "-1 of 0 peers") {
		t.Errorf("nonsense: %v", err)
	}
	for i := range 20 {
		cursor := fmt.Sprint(i)
		must(t, a.ss.ReportMigration(ctx, at(cursor)))
		if got := storedReport(t, c, "node-1"); got != cursor {
			t.Fatalf("etcd has %s when %s was said to be there", got, cursor)
		}
	}
	b.waitMigration("one, node-1 at 19")

	// Others may write it, and garbage in its place costs nothing.
	put(t, c, reportKey("node-1"), encodeJSON(at("etcdctl")))
	waitReport(t, c, "node-1", "19")
	put(t, c, reportKey("node-1"), "garbage")
	waitReport(t, c, "node-1", "19")
	del(t, c, reportKey("node-1"))
	waitReport(t, c, "node-1", "19")
	b.waitMigration("one, node-1 at 19")
	b.neverLostMigration()

	// While etcd is away the answer is no, and stays so.
	relay.cut()
	short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
	defer cancel()
	if err := a.ss.ReportMigration(short, at("away")); !errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "\n") {
		t.Errorf("while etcd is away: %v", err)
	}
	eventually(t, "the outage to be noticed", func() error {
		if a.ss.Etcd().Connected {
			return errors.New("it is connected")
		}
		return nil
	})
	short, cancel = context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	if err := a.ss.ReportMigration(short, at("away")); errText(err, "etcd") {
		t.Errorf("while etcd is known to be away: %v", err)
	}
	relay.mend()
	after := put(t, c, "something/else", "")
	a.waitSnap("what came after", func(s *fabric.Snapshot) bool { return s.Revision >= after })
	must(t, a.ss.ReportMigration(ctx, at("back")))
	resp, err := c.Get(ctx, testPrefix+reportKey("node-1"))
	must(t, err)
	for v := resp.Kvs[0]; v.Version > 1; v = resp.Kvs[0] {
		resp, err = c.Get(ctx, testPrefix+reportKey("node-1"), clientv3.WithRev(v.ModRevision-1))
		must(t, err)
		if strings.Contains(string(resp.Kvs[0].Value), "away") {
			t.Errorf("refused, but written: %s", resp.Kvs[0].Value)
		}
	}

	// Taken back, it counts for nothing anywhere, and stays so.
	must(t, a.ss.ReportMigration(ctx, fabric.MigrationReport{}))
	s := b.waitMigration("one, node-1 at ")
	if s.Reports["node-1"].Armed {
		t.Errorf("taken back: %+v", s.Reports["node-1"])
	}
	a.stop()
	if err := a.ss.ReportMigration(ctx, at("x")); !errors.Is(err, errSessionEnded) {
		t.Errorf("a session that has ended: %v", err)
	}
}

// Two agents of a pair of nodes that stop a migration do not undo each other's
// reason, and one that knows it under another id stops nothing.
func TestPauseMigration(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	ctx, st := context.Background(), operator(t, e)
	must(t, st.Migrate(ctx, testMigration("one")))
	if err := a.ss.PauseMigration(ctx, "two", fabric.Pause{Reason: "x"}); !errors.Is(err, ErrNotFound) {
		t.Errorf("another one: %v", err)
	}
	must(t, a.ss.PauseMigration(ctx, "one", fabric.Pause{Reason: "lost 3 of 10", Node: "node-1"}))
	must(t, a.ss.PauseMigration(ctx, "one", fabric.Pause{Reason: "lost 4 of 10", Node: "node-2"}))
	s := a.waitSnap("the pause", func(s *fabric.Snapshot) bool { return s.Migration != nil && s.Migration.Pause != nil })
	if s.Migration.Pause.Node != "node-1" {
		t.Errorf("%+v", s.Migration.Pause)
	}
}

// A node that is removed takes its report along, in one transaction, and others
// see it go.
func TestRemovedNodeTakesItsReportAlong(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	a, b := startAgent(t, []string{e.url}, testNode(1)), startAgent(t, []string{e.url}, testNode(2))
	a.waitState(Leased)
	b.waitState(Leased)
	ctx, st := context.Background(), operator(t, e)
	must(t, st.Migrate(ctx, testMigration("one")))
	b.waitMigration("one")
	must(t, b.ss.ReportMigration(ctx, at("3")))
	a.waitMigration("one, node-2 at 3")
	b.stop()
	eventually(t, "node-2 to be removed", func() error { return st.RemoveNode(ctx, "node-2") })
	a.waitMigration("one")
	if got := storedReport(t, c, "node-2"); got != "-" {
		t.Errorf("left: %s", got)
	}
}

// A report that crosses the end of its migration is not left behind.
func TestReportIsWrittenAgainstItsMigration(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	ctx, st := context.Background(), operator(t, e)
	must(t, st.Migrate(ctx, testMigration("one")))
	ss := st.NewSession(SessionOptions{Self: testNode(1)})
	var err error
	ss.view, err = st.view(ctx)
	must(t, err)
	ss.view.snapshot(time.Now())
	ss.reports.ask(at("3"))
	txn := st.newTxn()
	ss.planReport(txn)
	must(t, st.FinishMigration(ctx, "one", 0, nil))
	if _, err := st.commit(ctx, txn); !errors.Is(err, ErrChanged) || len(txn.ops) != 1 {
		t.Errorf("%d operations, %v", len(txn.ops), err)
	}
}
