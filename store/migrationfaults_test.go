package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// Whatever etcd loses, a migration goes on from where it was: what agents know
// stays in force, and they put it back.
func TestMigrationOutlivesEtcd(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		do   func(t *testing.T, e *etcdServer, relay *relay, backup string)
		lost bool // etcd has nothing of the migration afterwards
	}{
		{"restart", func(_ *testing.T, e *etcdServer, _ *relay, _ string) {
			e.stop()
			e.start()
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
		{"restore from a copy of before it began", func(_ *testing.T, e *etcdServer, _ *relay, backup string) {
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
		{"the reports' folder deleted", func(t *testing.T, e *etcdServer, _ *relay, _ string) {
			del(t, e.client(), dirMigrating, clientv3.WithPrefix())
		}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			e, client := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
			relay := newRelay(t, e.url)
			backup := e.save()
			a, b := startAgent(t, []string{relay.url}, testNode(1)), startAgent(t, []string{relay.url}, testNode(2))
			a.waitState(Leased)
			b.waitState(Leased)
			st, ctx := operator(t, e), context.Background()
			must(t, st.Migrate(ctx, testMigration("one")))
			a.waitMigration("one")
			b.waitMigration("one")
			must(t, a.ss.ReportMigration(ctx, at("7")))
			must(t, b.ss.ReportMigration(ctx, at("9")))
			const all = "one, node-1 at 7, node-2 at 9"
			a.waitMigration(all)
			b.waitMigration(all)
			must(t, st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error { m.Undo = true; return nil }))
			a.waitSnap("the undoing", func(s *fabric.Snapshot) bool { return s.Migration.Undo })
			b.waitSnap("the undoing", func(s *fabric.Snapshot) bool { return s.Migration.Undo })
			for i := range 10 {
				put(t, client, "something/else", fmt.Sprint(i))
			}
			c.do(t, e, relay, backup)

			client = e.client()
			waitReport(t, client, "node-1", "7")
			waitReport(t, client, "node-2", "9")
			if c.lost {
				put(t, client, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
			}
			st = operator(t, e)
			eventually(t, "the record to be back", func() error {
				return st.ChangeMigration(ctx, "one", func(m *fabric.Migration) error {
					if !m.Undo {
						return errors.New("as it was before")
					}
					m.Pause = &fabric.Pause{Reason: "goes on"}
					return nil
				})
			})
			for _, x := range []*agent{a, b} {
				s := x.waitSnap("what comes next", func(s *fabric.Snapshot) bool { return s.Migration != nil && s.Migration.Pause != nil })
				if migrationText(s) != all || !s.Migration.Undo {
					t.Errorf("%s: %s, %+v", x.ss.opt.Self.Name, migrationText(s), s.Migration)
				}
				x.neverLostMigration()
			}
			must(t, st.FinishMigration(ctx, "one", 0, nil))
			a.waitMigration("")
			b.waitMigration("")
			eventually(t, "no report to be left", func() error {
				if r := storedReport(t, client, "node-1") + storedReport(t, client, "node-2"); r != "--" {
					return errors.New(r)
				}
				return nil
			})
		})
	}
}

// A report of before is older than what its node did since: where etcd goes back
// to it, the newer one is put there again.
func TestReportOutlivesARestore(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	a := startAgent(t, []string{e.url}, testNode(1))
	a.waitState(Leased)
	ctx, st := context.Background(), operator(t, e)
	must(t, st.Migrate(ctx, testMigration("one")))
	a.waitMigration("one")
	must(t, a.ss.ReportMigration(ctx, at("3")))
	backup := e.save()
	must(t, a.ss.ReportMigration(ctx, at("5")))
	for i := range 10 {
		put(t, c, "something/else", fmt.Sprint(i))
	}
	e.stop()
	e.restore(backup)
	e.start()
	waitReport(t, e.client(), "node-1", "5")
	a.neverLostMigration()
}

// A host boots into the middle of a migration while etcd is down, also when etcd
// was wiped meanwhile; what ended while it was down has ended.
func TestMigrationFromTheCache(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	cache := filepath.Join(t.TempDir(), "snapshot.json")
	a := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	a.waitState(Leased)
	ctx, st := context.Background(), operator(t, e)
	must(t, st.Migrate(ctx, testMigration("one")))
	a.waitMigration("one")
	must(t, a.ss.ReportMigration(ctx, at("3")))
	put(t, c, reportKey("gone"), encodeJSON(at("8")))
	const all = "one, gone at 8, node-1 at 3"
	a.waitMigration(all)
	a.stop()
	e.stop()

	b := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	if s := b.waitSnap("the cached fabric", func(s *fabric.Snapshot) bool { return s.Cached }); migrationText(s) != all {
		t.Errorf("cached: %s", migrationText(s))
	}
	e.start()
	b.waitSnap("the real fabric", func(s *fabric.Snapshot) bool { return !s.Cached && s.Revision > 0 })
	b.waitMigration(all)
	b.stop()

	c = e.client()
	del(t, c, "", clientv3.WithPrefix())
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
	d := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	d.waitState(Leased)
	waitReport(t, c, "node-1", "3")
	d.waitMigration(all)
	d.neverLostMigration()
	if _, _, err := st.Get(ctx, keyMigration); !errors.Is(err, ErrNotFound) {
		t.Errorf("what only a file knows was put back: %v", err)
	}
	put(t, c, keyMigration, encodeJSON(testMigration("one")))
	d.waitSnap("no hold", func(s *fabric.Snapshot) bool { return s.Hold == nil })
	d.stop()

	must(t, st.FinishMigration(ctx, "one", 0, nil))
	del(t, c, finishedKey("one")) // as a day later
	f := startAgent(t, []string{e.url}, testNode(1), withCache(cache))
	f.waitState(Leased)
	f.waitMigration("")
	put(t, c, "something/else", "")
	if got := storedReport(t, c, "node-1"); got != "-" {
		t.Errorf("a report on what is over: %s", got)
	}
}
