package store

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"sync"
	"time"

	"github.com/weft-net/weft/fabric"
)

// A lock is a queue of keys, `locks/<name>/<node>`, each bound to its agent's
// short lease: the oldest has the lock (by create revision, so first come is
// first served). Who waits needs no watch of its own, the session's brings
// every key of the queue, and the unlocking of one lets exactly one go on. A
// view that holds a node's own key holds every older one that still exists,
// so that to be the oldest in it is to have the lock.
//
// Callers only say what they want (lockDesk); the session's goroutine makes
// etcd agree, as it does with its other records: it enters what is wanted and
// not there, and takes out what is there and not wanted. The latter also
// frees what a killed agent left: its next life has the same lease, so the
// keys would not expire.

// ErrLockLost is the cause with which a lock's context ends when the lock was
// lost while it was held: its key went from etcd (its lease had expired, etcd
// was wiped or restored), or its lease could not be renewed in time.
var ErrLockLost = errors.New("the lock was lost")

var errSessionEnded = errors.New("the session with etcd has ended")

// lockValue is the value of a key in a queue. The ticket tells one caller, in
// one life of the agent, from the others.
type lockValue struct {
	ID     fabric.NodeID `json:"id"`
	Ticket string        `json:"ticket"`
}

// lockRecord is a key in a queue.
type lockRecord struct {
	lockValue
	create, mod int64
	lease       int64
	gen         uint64
}

// lockTable is what etcd has of locks: by escaped name, then by node.
type lockTable struct {
	queues map[string]map[string]lockRecord
	self   string // this node's name
	stale  bool   // a key of this node changed
}

func newLockTable() lockTable { return lockTable{queues: map[string]map[string]lockRecord{}} }

// put folds in one key. One without a lease would never go, so it counts for
// nothing, like one that cannot be read.
func (lt *lockTable) put(info keyInfo, e kv, gen uint64) error {
	r := lockRecord{create: e.create, mod: e.mod, lease: e.lease, gen: gen}
	err := decodeJSON(e.value, &r.lockValue)
	if err == nil && e.lease == 0 {
		err = fmt.Errorf("has no etcd lease, so it would be held for ever")
	}
	lt.del(info)
	if err != nil {
		return err
	}
	if lt.queues[info.lock] == nil {
		lt.queues[info.lock] = map[string]lockRecord{}
	}
	lt.queues[info.lock][info.name] = r
	return nil
}

func (lt *lockTable) del(info keyInfo) {
	lt.stale = lt.stale || info.name == lt.self
	delete(lt.queues[info.lock], info.name)
	if len(lt.queues[info.lock]) == 0 {
		delete(lt.queues, info.lock)
	}
}

func (lt *lockTable) sweep(gen uint64) {
	for lock, queue := range lt.queues {
		for node, r := range queue {
			if r.gen != gen {
				lt.del(keyInfo{lock: lock, name: node})
			}
		}
	}
	lt.stale = true
}

// first is the node that has a lock, empty if nobody has.
func (lt *lockTable) first(lock string) (node string) {
	var oldest lockRecord
	for n, r := range lt.queues[lock] {
		if node == "" || r.create < oldest.create || r.create == oldest.create && n < node {
			node, oldest = n, r
		}
	}
	return node
}

// ticket is one caller's place.
type ticket struct {
	id      string
	has     bool          // the lock
	granted chan struct{} // closed when it has
	held    context.Context
	end     context.CancelCauseFunc
	ahead   string // the node that had the lock when last looked
}

// lockDesk is where callers say which locks they want. At any time one ticket
// per lock, the first, has a key in etcd.
type lockDesk struct {
	life string // tells this life of the agent from others

	mu     sync.Mutex // guards the rest
	wanted map[string][]*ticket
	issued int
	stale  bool        // wanted changed
	ended  bool        // the session did
	until  time.Time   // the short lease lives at least that long
	expiry *time.Timer // at that time; nil before the first renewal
}

func (d *lockDesk) enter(ctx context.Context, lock string) *ticket {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.issued++
	t := &ticket{id: d.life + "-" + strconv.Itoa(d.issued), granted: make(chan struct{})}
	t.held, t.end = context.WithCancelCause(ctx)
	if d.ended {
		t.end(errSessionEnded)
		return t
	}
	d.wanted[lock] = append(d.wanted[lock], t)
	d.stale = true
	return t
}

// leave takes a ticket back, wherever it stands. It may be gone already.
func (d *lockDesk) leave(lock string, t *ticket, cause error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.drop(lock, t, cause)
}

func (d *lockDesk) drop(lock string, t *ticket, cause error) {
	t.end(cause)
	for i, o := range d.wanted[lock] {
		if o == t {
			d.wanted[lock] = append(d.wanted[lock][:i:i], d.wanted[lock][i+1:]...)
			d.stale = true
		}
	}
	if len(d.wanted[lock]) == 0 {
		delete(d.wanted, lock)
	}
}

// follow gives and takes locks as etcd has them.
func (d *lockDesk) follow(lt *lockTable) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for lock, list := range d.wanted {
		t := list[0]
		mine, ok := lt.queues[lock][lt.self]
		t.ahead = lt.first(lock)
		isFirst := ok && mine.Ticket == t.id && t.ahead == lt.self
		switch {
		case t.has && !isFirst:
			d.drop(lock, t, ErrLockLost)
		case !t.has && isFirst && time.Now().Before(d.until):
			t.has = true
			close(t.granted)
		}
	}
}

// renewed notes how long the short lease lives at least.
func (d *lockDesk) renewed(until time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.until = until
	if d.expiry == nil {
		d.expiry = time.AfterFunc(time.Until(until), d.expire)
	} else {
		d.expiry.Reset(time.Until(until))
	}
}

// expire ends what is held by a lease that may be gone: others may have it.
func (d *lockDesk) expire() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Now().Before(d.until) {
		return // renewed at the last moment
	}
	for lock, list := range d.wanted {
		if list[0].has {
			d.drop(lock, list[0], ErrLockLost)
		}
	}
}

// close ends everything: nobody follows etcd any more.
func (d *lockDesk) close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = true
	for lock, list := range d.wanted {
		for _, t := range list {
			d.drop(lock, t, errSessionEnded)
		}
	}
	if d.expiry != nil {
		d.expiry.Stop()
	}
}

// Lock waits until this node has the lock of that name, in the whole fabric,
// or ctx ends. It needs etcd. Any text is a name. Unlocking may be done more
// than once, and returns at once; etcd hears of it when it can. The lock of an
// agent that dies is free when its alive key expires, or when the agent is
// back. Callers in one process wait for each other as well.
func (ss *Session) Lock(ctx context.Context, name string) (unlock func(), err error) {
	_, unlock, err = ss.LockContext(ctx, name)
	return unlock, err
}

// LockContext is Lock with a context that ends with ctx, with the unlocking,
// or, the cause being ErrLockLost, when the lock was lost.
func (ss *Session) LockContext(ctx context.Context, name string) (held context.Context, unlock func(), err error) {
	lock := url.PathEscape(name)
	if err := checkName(lock); err != nil {
		return nil, nil, fmt.Errorf("lock: %w", err)
	}
	t := ss.locks.enter(ctx, lock)
	ss.wake()
	unlock = sync.OnceFunc(func() {
		ss.locks.leave(lock, t, context.Canceled)
		ss.wake()
	})
	select {
	case <-t.granted:
		return t.held, unlock, nil
	case <-t.held.Done():
	}
	unlock()
	return nil, nil, fmt.Errorf("lock %q: %w%s", name, context.Cause(t.held), ss.lockedBy(t))
}

// lockedBy says what a ticket waited for.
func (ss *Session) lockedBy(t *ticket) string {
	ss.locks.mu.Lock()
	ahead := t.ahead
	ss.locks.mu.Unlock()
	switch etcd := ss.Etcd(); {
	case !etcd.Connected:
		return " (etcd does not serve us: " + etcd.Error + ")"
	case ahead != "" && ahead != ss.opt.Self.Name:
		return " (" + printable(ahead) + " has it)"
	}
	return ""
}

// planLocks compares this node's keys in the queues with what is wanted.
func (ss *Session) planLocks(t *txn) {
	d, lt, self := &ss.locks, &ss.view.locks, ss.opt.Self.Name
	d.mu.Lock()
	defer d.mu.Unlock()
	if !d.stale && !lt.stale {
		return
	}
	d.stale, lt.stale = false, false
	for lock, queue := range lt.queues {
		r, ok := queue[self]
		list := d.wanted[lock]
		switch key := lockKey(lock, self); {
		case !ok:
		case len(list) == 0 || r.Ticket != list[0].id:
			t.unchanged(key, r.mod)
			t.del(key)
		case r.lease != int64(ss.own.short.id): // the lease's life was changed
			t.unchanged(key, r.mod)
			t.put(key, encodeJSON(r.lockValue), int64(ss.own.short.id))
		}
	}
	for lock, list := range d.wanted {
		if _, ok := lt.queues[lock][self]; ok {
			continue
		}
		key := lockKey(lock, self)
		t.unchanged(key, ss.view.keyRev(key))
		t.put(key, encodeJSON(lockValue{ID: ss.opt.Self.ID, Ticket: list[0].id}), int64(ss.own.short.id))
	}
}
