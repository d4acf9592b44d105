package store

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"time"

	"github.com/weft-net/weft/fabric"
)

// reportPatience bounds how long ReportMigration waits for etcd.
const reportPatience = 10 * time.Second

// reportDesk is where the agent says how far it is in a migration, and waits
// until etcd has it.
type reportDesk struct {
	turn chan struct{} // holds one while a caller waits

	mu    sync.Mutex // guards the rest
	asked *reportTicket
	why   string // the last try failed
	ended bool   // the session did
}

// reportTicket is one report on its way.
type reportTicket struct {
	report fabric.MigrationReport
	done   chan error // takes one
}

func newReportDesk() reportDesk { return reportDesk{turn: make(chan struct{}, 1)} }

// ask takes a ticket in; the caller has its turn.
func (d *reportDesk) ask(r fabric.MigrationReport) *reportTicket {
	d.mu.Lock()
	defer d.mu.Unlock()
	t := &reportTicket{report: r, done: make(chan error, 1)}
	d.asked, d.why = t, ""
	if d.ended {
		d.end()
	}
	return t
}

// close ends the wait: nobody will write any more.
func (d *reportDesk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	d.end()
}

func (d *reportDesk) end() {
	if d.asked != nil {
		d.asked.done <- errSessionEnded
		d.asked = nil
	}
}

// current is the report that waits, nil if none does.
func (d *reportDesk) current() *reportTicket {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.asked
}

// answer ends a ticket. It may have been taken back.
func (d *reportDesk) answer(t *reportTicket, err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if t != nil && d.asked == t {
		t.done <- err
		d.asked = nil
	}
}

// failed notes why the waiting report is not written yet.
func (d *reportDesk) failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.why = err.Error()
}

// takeBack ends the wait; it says why nothing came of it.
func (d *reportDesk) takeBack() (why string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = nil
	return d.why
}

// ReportMigration says how far this node is in the migration r.ID, and returns
// when etcd has it, so that what the report announces may be done. Where it
// returns an error, nothing was written, or, if etcd broke off in between, the
// next snapshot says what was. ErrNotFound: there is no such migration (any
// more). An empty ID takes the node's report back. Any goroutine may call it.
//
// A report that is written stays: where etcd loses it, or goes back to an older
// one, while the migration is in force, the session puts it there again.
func (ss *Session) ReportMigration(ctx context.Context, r fabric.MigrationReport) error {
	ctx, cancel := context.WithTimeout(ctx, reportPatience)
	defer cancel()
	d := &ss.reports
	select {
	case d.turn <- struct{}{}:
	case <-ctx.Done():
		return fmt.Errorf("migration report: %w", ctx.Err())
	}
	defer func() { <-d.turn }()
	if r.ID != "" {
		as, err := decodeReport([]byte(encodeJSON(r))) // as it is read back
		if err != nil {
			return fmt.Errorf("migration report: %w", err)
		}
		r = as
	}
	t := d.ask(r)
	ss.wake()
	select {
	case err := <-t.done:
		return err
	case <-ctx.Done():
	}
	why := d.takeBack()
	if etcd := ss.Etcd(); !etcd.Connected {
		why = etcd.Error
	}
	if why == "" {
		why = "this node is not accepted in the fabric"
	}
	return fmt.Errorf("migration report: %w: %s", ctx.Err(), why)
}

// PauseMigration stops the migration with that id, if nobody has yet.
func (ss *Session) PauseMigration(ctx context.Context, id string, p fabric.Pause) error {
	return ss.store.ChangeMigration(ctx, id, func(m *fabric.Migration) error {
		if m.Pause == nil {
			m.Pause = &p
		}
		return nil
	})
}

// reportErrand is what planReport makes of it all.
type reportErrand struct {
	ticket  *reportTicket           // that is being answered, nil: nobody asked
	report  *fabric.MigrationReport // that is being written, nil: it is taken back
	written *fabric.MigrationReport // last, in this life
}

// planReport compares this node's report in etcd with what it should be.
func (ss *Session) planReport(t *txn) {
	v, key := ss.view, reportKey(ss.opt.Self.Name)
	m := v.objects.migration
	if _, bad := v.bad[keyMigration]; bad && m == nil {
		return // of a version to come: whatever was said of it stays
	}
	e, rev := &ss.reporting, v.keyRev(key)
	e.ticket = ss.reports.current()
	e.report = ss.wantedReport(m)
	r := v.reports.all[ss.opt.Self.Name]
	_, bad := v.bad[key]
	switch {
	case e.report == nil && rev > 0:
		t.unchanged(key, rev)
		t.del(key)
	case e.report != nil && (rev == 0 || bad || !reflect.DeepEqual(r.report, *e.report)):
		// Against the migration as it is known: one that has just ended gets no
		// report any more.
		t.unchanged(keyMigration, v.keyRev(keyMigration))
		t.unchanged(key, rev)
		t.put(key, encodeJSON(e.report), 0)
	default:
		ss.reportWritten(nil) // in an earlier try, whose answer was lost
	}
}

// reportWritten takes the outcome of a try.
func (ss *Session) reportWritten(err error) {
	e := &ss.reporting
	if err != nil {
		ss.reports.failed(err)
		return
	}
	if e.ticket != nil {
		e.written = e.report
		ss.reports.answer(e.ticket, nil)
	}
}

// wantedReport is what this node's report should be, nil: none. What was said
// last in this life counts; else what is known of an earlier one.
func (ss *Session) wantedReport(m *fabric.Migration) *fabric.MigrationReport {
	e := &ss.reporting
	if e.ticket != nil && e.ticket.report.ID != "" {
		if m != nil && m.ID == e.ticket.report.ID {
			return &e.ticket.report
		}
		ss.reports.answer(e.ticket, fmt.Errorf("migration %s: %w", printable(e.ticket.report.ID), ErrNotFound))
		e.ticket = nil
	}
	r := ss.view.reports.all[ss.opt.Self.Name]
	switch {
	case m == nil:
		return nil
	case e.ticket != nil: // taken back: others hold on to one that is merely missing
		return &fabric.MigrationReport{ID: m.ID}
	case e.written != nil && e.written.ID == m.ID:
		return e.written
	case r != nil && r.report.ID == m.ID:
		return &r.report
	}
	return nil
}

// planMigration puts the record of the migration back that etcd has lost
// altogether, with the Fabric or by going back in time. Only who saw it in etcd in
// this life does: what a cache says may have been finished long ago.
func (ss *Session) planMigration(t *txn) {
	o := ss.view.objects.all[keyMigration]
	if o == nil || !o.held || !o.wiped || o.gen == 0 {
		return
	}
	m, ok := o.spec.(*fabric.Migration)
	if !ok {
		return
	}
	t.unchanged(keyMigration, 0)
	t.unchanged(finishedKey(m.ID), 0)
	t.put(keyMigration, encodeJSON(m), 0)
}
