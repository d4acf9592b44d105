package store

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// errand is a small write of the session's, besides its own records: the
// difference between what is wanted and what the view says, computed anew
// until it is nothing. So a try that fails is lost without harm, and what is
// written in the end is the newest.
type errand struct {
	what    string
	plan    func(*txn)
	done    func(error)   // takes the outcome of a try; plan will look again
	pause   time.Duration // at least, between two writes
	notTill time.Time
	rev     int64 // the view must have come this far: it was written at
	tries   int
	failed  string // why the last try did, as logged
}

func (e *errand) due(rev int64) bool {
	if time.Now().Before(e.notTill) {
		return false
	}
	e.notTill = time.Time{}
	return rev >= e.rev
}

// runErrands takes a step on each. Only who is accepted in the fabric has any:
// a second host with this one's name must not write in its place.
func (ss *Session) runErrands(ctx context.Context) error {
	for _, e := range ss.errands {
		if !ss.own.granted || !e.due(ss.view.rev) {
			continue
		}
		t := ss.store.newTxn()
		if e.plan(t); len(t.ops) == 0 {
			continue
		}
		h, err := await(ss, func() (*pb.ResponseHeader, error) { return ss.store.commit(ctx, t) })
		e.done(err)
		if err == nil {
			e.rev, e.tries, e.failed, e.notTill = h.Revision, 0, "", time.Now().Add(e.pause)
		} else {
			e.notTill = time.Now().Add(retryAfter(e.tries))
			e.tries++
		}
		switch {
		case is(err, rpctypes.ErrLeaseNotFound):
			ss.own.granted = false // it expired meanwhile; advance grants it again
		case err == nil, errors.Is(err, ErrChanged):
			if err := ss.see(ctx, fromCall, h); err != nil {
				return err
			}
		case err.Error() != e.failed:
			e.failed = err.Error()
			ss.log.WithError(err).WithField("what", e.what).Warn("cannot be written to etcd; trying again")
		}
	}
	return nil
}

// nextErrand is the time until one is to be tried, or limit.
func (ss *Session) nextErrand(limit time.Duration) time.Duration {
	for _, e := range ss.errands {
		if ss.own.granted && !e.notTill.IsZero() {
			limit = min(limit, time.Until(e.notTill))
		}
	}
	return limit
}
