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

// waitDrain waits for the state of node-1's drain, empty for none at all.
func (a *agent) waitDrain(want string) fabric.Drain {
	a.t.Helper()
	s := a.waitSnap("the drain to be "+want, func(s *fabric.Snapshot) bool {
		d, ok := s.Drained["node-1"]
		return ok == (want != "") && (want == "" || fmt.Sprintf("%s/%s", d.State, d.Reason) == want)
	})
	return s.Drained["node-1"]
}

func TestDrain(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	st, ctx := operator(t, e), context.Background()
	for name, f := range map[string]func(context.Context, string) error{"drain": st.Drain, "undrain": st.Undrain} {
		if err := f(ctx, "node-1"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "node-1") {
			t.Errorf("%s of an unknown node: %v", name, err)
		}
		if err := f(ctx, "a/b"); err == nil || errors.Is(err, ErrNotFound) {
			t.Errorf("%s of no name: %v", name, err)
		}
	}
	a := startAgent(t, []string{e.url}, testNode(1))
	b := startAgent(t, []string{e.url}, testNode(2))
	a.waitState(Leased)
	a.ss.ReportDrain(fabric.Drain{State: "leaving"}) // of nothing: must not make a record
	must(t, st.Undrain(ctx, "node-1"))               // of nothing: nothing
	must(t, st.Drain(ctx, "node-1"))
	d := b.waitDrain("/")
	if d.Since.IsZero() || a.waitDrain("/") != d {
		t.Errorf("drain %+v", d)
	}
	must(t, st.Drain(ctx, "node-1"))
	if v, err := st.View(ctx); err != nil || v.Drained["node-1"] != d {
		t.Errorf("drained twice: %+v, %v; want %+v", v, err, d)
	}
	report := func(state, reason string) {
		d.State, d.Reason = state, reason
		a.ss.ReportDrain(d)
	}
	report("leaving", "12 packets")
	if got := b.waitDrain("leaving/12 packets"); got.At.IsZero() || !got.Since.Equal(d.Since) {
		t.Errorf("drain %+v", got)
	}
	var last time.Time
	for i := range 3 {
		report("leaving", fmt.Sprint(i))
		at := b.waitDrain(fmt.Sprintf("leaving/%d", i)).At
		if at.Sub(last) < drainPause {
			t.Errorf("written twice within %v", at.Sub(last))
		}
		last = at
	}
	report("quiet", "")
	b.waitDrain("quiet/")
	resp, err := c.Get(ctx, testPrefix+drainedKey("node-1"))
	must(t, err)
	rev := resp.Kvs[0].ModRevision
	report("quiet", "")

	put(t, c, "something/else", "")
	a.waitSnap("what came after", func(s *fabric.Snapshot) bool { return s.Revision > rev })
	if resp, err = c.Get(ctx, testPrefix+drainedKey("node-1")); err != nil || resp.Kvs[0].ModRevision != rev {
		t.Errorf("the same again was written: %v, %v", resp.Kvs, err)
	}

	// The record is there for an operator's sake. Taken back, what the agent
	// still says writes none, and is not taken for the state of the next.
	must(t, st.Undrain(ctx, "node-1"))
	b.waitDrain("")
	report("withdrawn", "late")
	must(t, st.Drain(ctx, "node-1"))
	second := b.waitDrain("/")
	b.ss.ReportDrain(fabric.Drain{Since: second.Since, State: "quiet"}) // b is not node-1
	d = second
	report("withdrawn", "")
	b.waitDrain("withdrawn/")
	if got := a.waitDrain("withdrawn/"); !got.Since.Equal(second.Since) {
		t.Errorf("drain %+v, want it since %v", got, second.Since)
	}

	// A node that is removed takes its drain along.
	a.stop()
	eventually(t, "node-1 to be removed", func() error { return st.RemoveNode(ctx, "node-1") })
	s := b.waitSnap("node-1 to be gone", func(s *fabric.Snapshot) bool { return s.Peer("id-node-1") == nil && len(s.Drained) == 0 })
	if s.Hold != nil || len(s.Problems) != 0 {
		t.Errorf("%s", describe(s))
	}
	if resp, err = c.Get(ctx, testPrefix+dirDrained, clientv3.WithPrefix()); err != nil || len(resp.Kvs) != 0 {
		t.Errorf("left: %v, %v", resp.Kvs, err)
	}
}

// What an agent says while etcd is away is there when it is back: the newest.
func TestDrainIsReportedAfterAnOutage(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	relay := newRelay(t, e.url)
	a := startAgent(t, []string{relay.url}, testNode(1))
	a.waitState(Leased)
	st := operator(t, e)
	must(t, st.Drain(context.Background(), "node-1"))
	d := a.waitDrain("/")
	relay.cut()
	eventually(t, "the outage to be noticed", func() error {
		if a.ss.Etcd().Connected {
			return errors.New("it is connected")
		}
		return nil
	})
	for _, state := range []string{"leaving", "withdrawn", "quiet"} {
		d.State = state
		a.ss.ReportDrain(d)
	}
	first := put(t, c, drainedKey("node-1"), fmt.Sprintf(`{"since":%q,"reason":"from etcdctl"}`, d.Since.Format(time.RFC3339Nano))) // a lost race
	relay.mend()
	a.waitDrain("quiet/")
	resp, err := c.Get(context.Background(), testPrefix+drainedKey("node-1"))
	must(t, err)
	if v := resp.Kvs[0]; v.Version != 3 || v.ModRevision <= first {
		t.Errorf("the record was written %d times, last at %d: %s", v.Version, v.ModRevision, v.Value)
	}
}
