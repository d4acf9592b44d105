package store

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// An etcd that is out of space still renews leases: who is in stays in, who
// comes is told why it must wait, and all goes on when there is space again.
func TestOutOfSpace(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, "--quota-backend-bytes", "4194304")
	c, ctx := e.client(), context.Background()
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "6s", "2s"))
	a := startAgent(t, []string{e.url}, testNode(1))
	lease := a.waitState(Leased)
	must(t, operator(t, e).Drain(ctx, "node-1"))
	drain := a.waitDrain("/")
	eventually(t, "etcd to be full", func() error {
		_, err := c.Put(ctx, "/filler", strings.Repeat("x", 500_000))
		if is(err, rpctypes.ErrNoSpace) {
			return nil
		}
		return fmt.Errorf("not yet: %w", err)
	})
	n := testNode(1)
	n.MTU = 9000
	a.ss.SetSelf(n) // has something to write now, and cannot
	drain.State = "leaving"
	a.ss.ReportDrain(drain)
	locked := make(chan func())
	var tasks group
	tasks.start(func() {
		_, unlock := a.lock("tor")
		locked <- unlock
	})
	b := startAgent(t, []string{e.url}, testNode(2))
	eventually(t, "the reason", func() error {
		if _, l := b.now(); l.State != Waiting || !strings.Contains(l.Reason, "out of space") {
			return fmt.Errorf("%+v", l)
		}
		return nil
	})
	eventually(t, "the leases to be renewed past their life", func() error {
		a.mu.Lock()
		defer a.mu.Unlock()
		if time.Since(a.at) < 8*time.Second {
			return fmt.Errorf("leased %v ago", time.Since(a.at))
		}
		return nil
	})
	if p := b.waitSnap("node-1", func(s *fabric.Snapshot) bool { return len(s.Peers) == 1 }).Peers[0]; !p.Alive || len(p.Subnets) != 1 {
		t.Errorf("node-1 was lost: %+v", p)
	}
	if _, l := a.now(); !equalLease(l, lease) {
		t.Errorf("lease %+v, before %+v", l, lease)
	}
	resp, err := c.Get(ctx, "/filler")
	must(t, err)
	_, err = c.Compact(ctx, resp.Header.Revision)
	must(t, err)
	_, err = c.Defragment(ctx, e.url)
	must(t, err)
	alarms, err := c.AlarmList(ctx)
	must(t, err)
	for _, m := range alarms.Alarms {
		_, err := c.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: m.MemberID, Alarm: m.Alarm})
		must(t, err)
	}
	b.waitState(Leased)
	b.waitSnap("the MTU", func(s *fabric.Snapshot) bool { p := s.Peer(n.ID); return p != nil && p.MTU == 9000 })
	a.waitDrain("leaving/")
	(<-locked)()
	tasks.wait()
	if n := strings.Count(a.logs.String(), "cannot be written to etcd"); n != 2 {
		t.Errorf("the trouble with a lock and a drain was logged %d times:\n%s", n, a.logs)
	}
	if n := strings.Count(b.logs.String(), "cannot be written"); n != 1 {
		t.Errorf("the trouble was logged %d times", n)
	}
}
