package store

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// A list is the truth about locks as well.
func TestLockTableIsListed(t *testing.T) {
	w, v := fleet(2)
	v.put(w.put(lockKey("tor", "node-0"), "{}", 1))
	v.put(w.put(lockKey("tor", "node-1"), "{}", 1))
	v.put(w.put(lockKey("other", "node-1"), "{}", 1))
	if v.locks.first("tor") != "node-0" {
		t.Errorf("%v", v.locks.queues)
	}
	w.del(lockKey("tor", "node-0"), lockKey("other", "node-1"))
	v.relist(w.list, 1, w.rev)
	if v.locks.first("tor") != "node-1" || v.locks.first("other") != "" || len(v.locks.queues) != 1 {
		t.Errorf("%v", v.locks.queues)
	}
}

// A lock is given only while the lease that it hangs on is known to live.
func TestLockNeedsALivingLease(t *testing.T) {
	lt := newLockTable()
	lt.self = "me"
	d := lockDesk{life: "x", wanted: map[string][]*ticket{}}
	tk := d.enter(context.Background(), "tor")
	info := keyInfo{lock: "tor", name: "me"}
	must(t, lt.put(info, kv{create: 2, lease: 1, value: []byte(encodeJSON(lockValue{Ticket: tk.id}))}, 0))
	d.follow(&lt)
	if tk.has {
		t.Error("given before the lease was renewed")
	}
	d.renewed(time.Now().Add(time.Hour))
	must(t, lt.put(keyInfo{lock: "tor", name: "other"}, kv{create: 1, lease: 1, value: []byte("{}")}, 0))
	d.follow(&lt)
	if tk.has || tk.ahead != "other" {
		t.Errorf("given although another is ahead (%q)", tk.ahead)
	}
	lt.del(keyInfo{lock: "tor", name: "other"})
	must(t, lt.put(info, kv{create: 2, lease: 1, value: []byte(`{"ticket":"of another life"}`)}, 0))
	d.follow(&lt)
	if tk.has {
		t.Error("given by another life's key")
	}
	must(t, lt.put(info, kv{create: 2, lease: 1, value: []byte(encodeJSON(lockValue{Ticket: tk.id}))}, 0))
	d.follow(&lt)
	if !tk.has {
		t.Error("not given")
	}
	d.renewed(time.Now().Add(-time.Second))
	<-tk.held.Done()
	if err := context.Cause(tk.held); !errors.Is(err, ErrLockLost) {
		t.Errorf("the lease expired: %v", err)
	}
}

// A host that is refused writes nothing in the place of its namesake.
func TestRefusedHostWritesNothing(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := lockers(t, e.url, 2)
	must(t, operator(t, e).Drain(context.Background(), "node-1"))
	d := agents[1].waitDrain("/")
	twin := startAgent(t, []string{e.url}, testNode(1), inInstance("another"))
	twin.waitState(Refused)
	twin.waitDrain("/")
	ctx, cancel := context.WithCancel(context.Background())
	var tasks group
	tasks.start(func() {
		if _, err := twin.ss.Lock(ctx, "tor"); !errors.Is(err, context.Canceled) {
			t.Errorf("lock: %v", err)
		}
	})
	d.State = "quiet"
	for range 20 { // each makes it look at what it has to write
		twin.ss.ReportDrain(d)
		rev := put(t, c, "bgppeers/x", objectValue("bgppeers/x", ""))
		twin.waitSnap("the object", func(s *fabric.Snapshot) bool { return s.Revision >= rev })
	}
	queue(t, c, "tor", 0)
	agents[1].waitDrain("/")
	cancel()
	tasks.wait()
}
