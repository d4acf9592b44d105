package store

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// cachePatience is how long a booting host waits for etcd before it works
	// with the cached snapshot.
	cachePatience = 1500 * time.Millisecond
	// silence is how long etcd may say nothing before it is asked.
	silence = 15 * time.Second
	// gather is how long events are collected after a snapshot, so that a
	// burst costs few snapshots; an event that comes alone is not delayed.
	gather = 5 * time.Millisecond
)

// errRelist ends serve when what the view holds can no longer be trusted.
var errRelist = errors.New("etcd is not where it was: list again")

// anchor is a key and the revision at which it was last written. As long as
// etcd's history at that revision still has it there, the history is the one
// that the view was made from, and the watch can go on.
type anchor struct {
	key string
	rev int64
}

// serve lists, watches and keeps alive until something breaks. After a mere
// break in the connection the list is spared: ten thousand agents that list
// again at once are the last thing that an etcd needs that just came back.
func (ss *Session) serve(ctx context.Context) error {
	if ss.trusted {
		if err := ss.verify(ctx); err != nil {
			return err
		}
	} else {
		resp, err := await(ss, func() (*clientv3.GetResponse, error) { return ss.store.list(ctx) })
		if err != nil {
			return err
		}
		ss.takeList(resp)
	}

	ss.lastRev = [sources]int64{} // new streams, perhaps to another member

	ctx, cancel := context.WithCancel(ctx)
	var tasks group
	defer tasks.wait()
	defer cancel()
	events := make(chan clientv3.WatchResponse, 64)
	tasks.start(func() { ss.store.watch(ctx, ss.view.rev+1, events) })
	k := &keeper{store: ss.store, out: make(chan renewal, 8), leases: make(chan []etcdLease, 1)}
	tasks.start(func() { k.run(ctx) })

	for {
		if err := ss.advance(ctx, k); err != nil {
			return err
		}
		if err := ss.runErrands(ctx); err != nil {
			return err
		}
		timer := time.NewTimer(ss.nextLook())
		err := ss.wait(ctx, events, k.out, timer.C)
		timer.Stop()
		if err != nil {
			return err
		}
	}
}

// wait takes whatever comes next.
func (ss *Session) wait(ctx context.Context, events <-chan clientv3.WatchResponse, renewals <-chan renewal, timer <-chan time.Time) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case r, ok := <-events:
		if !ok {
			return errors.New("the watch ended")
		}
		return ss.takeEvents(ctx, r, events)
	case r := <-renewals:
		return ss.takeRenewal(ctx, r)
	case <-ss.own.timer():
		ss.fenceByTime()
		return errors.New("the leases could not be kept alive")
	case <-ss.kick:
		ss.applyKick()
	case <-timer:
		if time.Since(ss.heard) >= silence {
			return ss.verify(ctx)
		}
	}
	return nil
}

// nextLook is the time until something is due that no event announces.
func (ss *Session) nextLook() time.Duration {
	d := silence - time.Since(ss.heard)
	if !ss.own.retryAt.IsZero() {
		d = min(d, time.Until(ss.own.retryAt))
	}
	return max(ss.nextErrand(d), time.Millisecond)
}

// takeList makes a list the truth. One that is behind what was seen, or of
// another cluster, is still the truth: nothing cached is believed against it.
func (ss *Session) takeList(resp *clientv3.GetResponse) {
	h := resp.Header
	behind := ss.view.cluster != 0 && (h.ClusterId != ss.view.cluster || h.Revision < ss.seenRev)
	ss.view.rewound = behind || ss.rewound
	ss.rewound = false
	if ss.view.rewound {
		ss.log.WithField("revision", h.Revision).WithField("seen", ss.seenRev).Warn("etcd was replaced or went back; taking its word")
	}
	ss.anchor = anchor{key: ss.store.prefix + keyFabric}
	for _, e := range resp.Kvs {
		if e.ModRevision > ss.anchor.rev {
			ss.anchor = anchor{string(e.Key), e.ModRevision}
		}
	}
	ss.store.fold(ss.view, resp)
	ss.seenRev, ss.trusted, ss.listed = h.Revision, true, true
	ss.own.listed()
	for _, e := range ss.errands {
		e.rev = 0
	}
	ss.locks.follow(&ss.view.locks)
	ss.connected()
	ss.deliver()
}

// takeEvents folds in what the watch brought, and all that waits behind it.
func (ss *Session) takeEvents(ctx context.Context, r clientv3.WatchResponse, more <-chan clientv3.WatchResponse) error {
	end := time.NewTimer(gather - time.Since(ss.taken))
	defer end.Stop()
	changed, ok := false, true
	var err error
	for ok && err == nil {
		if err = ss.watchErr(ctx, r); err != nil {
			break // what was folded before is delivered nevertheless
		}
		changed = ss.foldEvents(r) || changed
		r, ok = nextEvents(ctx, more, end.C)
	}
	ss.locks.follow(&ss.view.locks)
	if changed {
		ss.deliver()
	}
	return err
}

// watchErr is what is wrong with a response, as its header or itself says.
func (ss *Session) watchErr(ctx context.Context, r clientv3.WatchResponse) error {
	switch err := r.Err(); {
	case is(err, rpctypes.ErrCompacted), is(err, rpctypes.ErrFutureRev):
		return errRelist
	case err != nil:
		return fmt.Errorf("the watch ended: %w", ss.store.explain("watch", err))
	}
	return ss.see(ctx, fromWatch, r.Header)
}

// foldEvents folds one response in. How far the view is by then is what the
// last event says: the header may be ahead of a response that is only a part.
// It reports whether a snapshot may have changed; locks are not in it.
func (ss *Session) foldEvents(r clientv3.WatchResponse) (changed bool) {
	for _, e := range r.Events {
		rec := ss.store.fromEtcd(e.Kv)
		if e.Type == clientv3.EventTypeDelete {
			ss.view.del(rec.key, rec.mod)
		} else {
			ss.view.put(rec)
			ss.anchor = anchor{string(e.Kv.Key), e.Kv.ModRevision}
		}
		changed = changed || !strings.HasPrefix(rec.key, dirLocks)
		ss.view.rev = max(ss.view.rev, e.Kv.ModRevision)
	}
	if r.IsProgressNotify() {
		ss.view.rev = max(ss.view.rev, r.Header.Revision)
	}
	return changed || ss.view.staleProblems
}

// nextEvents takes what comes until the time is over; then nothing more, so
// that a steady stream of events cannot keep a snapshot back.
func nextEvents(ctx context.Context, more <-chan clientv3.WatchResponse, end <-chan time.Time) (r clientv3.WatchResponse, ok bool) {
	select {
	case <-end: // checked alone first: select picks at random
		return r, false
	default:
	}
	select {
	case r, ok = <-more:
	case <-end:
	case <-ctx.Done():
	}
	return r, ok
}

// source is where a response's header came from. Each is in order by itself;
// between them, an older answer may well be read after a newer one.
type source int

const (
	fromCall source = iota
	fromWatch
	fromKeeper
	sources
)

// see looks at a response's header: a watch on a restored or replaced etcd
// would wait without a word for a revision that comes much later or never.
func (ss *Session) see(ctx context.Context, from source, h *pb.ResponseHeader) error {
	ss.connected()
	if h == nil {
		return nil
	}
	last := ss.lastRev[from]
	ss.lastRev[from] = h.Revision
	switch {
	case h.ClusterId != 0 && h.ClusterId != ss.view.cluster:
		ss.rewound = true
		return errRelist
	case h.Revision < last:
		return ss.verify(ctx) // or a member that is a little behind
	}
	ss.seenRev = max(ss.seenRev, h.Revision)
	return nil
}

// verify asks etcd, with one small linearizable read, whether its history is
// still the one that the view was made from.
func (ss *Session) verify(ctx context.Context) error {
	at := ss.anchor
	get := func(opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
		return await(ss, func() (resp *clientv3.GetResponse, err error) {
			err = ss.store.do(ctx, "get", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
				resp, err = cli.Get(ctx, at.key, append(opts, clientv3.WithKeysOnly())...)
				return err
			})
			return resp, err
		})
	}
	resp, err := get()
	if err == nil && !at.in(resp) { // overwritten since, or never written
		resp, err = get(clientv3.WithRev(at.rev))
	}
	switch {
	case is(err, rpctypes.ErrCompacted):
		return errRelist
	case is(err, rpctypes.ErrFutureRev):
		ss.rewound = true
		return errRelist
	case err != nil:
		return err
	}
	if resp.Header.ClusterId != ss.view.cluster || resp.Header.Revision < ss.seenRev || !at.in(resp) {
		ss.rewound = true
		return errRelist
	}
	ss.seenRev = resp.Header.Revision
	ss.connected()
	return nil
}

// in reports whether the answer shows the anchor where it was.
func (a anchor) in(resp *clientv3.GetResponse) bool {
	return a.rev == 0 || len(resp.Kvs) == 1 && resp.Kvs[0].ModRevision == a.rev
}

// watch forwards what etcd says from a revision on; out is closed at its end.
// The client resumes by itself after a lost connection.
func (s *Store) watch(ctx context.Context, rev int64, out chan<- clientv3.WatchResponse) {
	defer close(out)
	cli, err := s.client()
	s.count("watch", err)
	if err != nil {
		return
	}
	ch := cli.Watch(clientv3.WithRequireLeader(ctx), s.prefix, clientv3.WithPrefix(), clientv3.WithRev(rev),
		clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
	for r := range ch {
		select {
		case out <- r:
		case <-ctx.Done():
			return
		}
	}
}
