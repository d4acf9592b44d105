package store

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// answerLimit is how long a renewal may stay unanswered.
const answerLimit = 5 * time.Second

// renewal is etcd's answer to one keep-alive, or the end of the stream.
type renewal struct {
	id     clientv3.LeaseID
	ttl    int64 // seconds; 0: there is no such lease
	header *pb.ResponseHeader
	sent   time.Time
	err    error
}

// keeper keeps leases alive over one stream. The etcd client could do that
// too, but it hides why it fails, and it logs in again for every single one.
type keeper struct {
	store  *Store
	leases chan []etcdLease // what to keep from now on; holds one
	out    chan renewal
	now    []etcdLease // as last set; the session's goroutine
}

// set says what to keep alive. The session's goroutine calls it.
func (k *keeper) set(leases []etcdLease) {
	if len(leases) == len(k.now) && (len(leases) == 0 || leases[0] == k.now[0] && leases[1] == k.now[1]) {
		return
	}
	k.now = leases
	select {
	case <-k.leases: // not seen yet
	default:
	}
	k.leases <- leases
}

// run ends with ctx or with the first failure, which it reports.
func (k *keeper) run(ctx context.Context) {
	var leases []etcdLease
	for {
		if len(leases) == 0 {
			select {
			case <-ctx.Done():
				return
			case leases = <-k.leases:
			}
			continue
		}
		next, err := k.keep(ctx, leases)
		if err != nil {
			k.send(ctx, renewal{err: err})
			return
		}
		leases = next
	}
}

func (k *keeper) send(ctx context.Context, r renewal) bool {
	select {
	case k.out <- r:
		return true
	case <-ctx.Done():
		return false
	}
}

// keep renews the leases until there are others to keep.
func (k *keeper) keep(ctx context.Context, leases []etcdLease) (next []etcdLease, err error) {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	var tasks group
	defer tasks.wait()
	defer cancel()
	cli, err := k.store.client()
	if err != nil {
		return nil, k.store.failed("keepalive", cli, err)
	}
	stream, err := pb.NewLeaseClient(cli.ActiveConnection()).LeaseKeepAlive(ctx)
	if err != nil {
		return nil, k.store.failed("keepalive", cli, err)
	}
	answers := make(chan renewal)
	tasks.start(func() { receive(ctx, stream, answers) })
	r := &renewer{store: k.store, stream: stream, leases: leases, due: make([]time.Time, len(leases))}
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case next = <-k.leases:
			return next, nil
		case a := <-answers:
			if a.err != nil {
				return nil, k.store.failed("keepalive", cli, a.err)
			}
			if !k.send(ctx, r.answered(a)) {
				return nil, ctx.Err()
			}
		case <-tick.C:
			if err := r.renew(time.Now()); err != nil {
				return nil, err
			}
			tick.Reset(time.Second)
		}
	}
}

// renewer sends what is due on one stream. Answers come in order.
type renewer struct {
	store   *Store
	stream  pb.Lease_LeaseKeepAliveClient
	leases  []etcdLease
	due     []time.Time
	waiting []time.Time // when the unanswered ones were sent
}

func (r *renewer) renew(now time.Time) error {
	if len(r.waiting) > 0 && now.Sub(r.waiting[0]) > answerLimit {
		return fmt.Errorf("etcd has not answered a lease renewal for %v", answerLimit)
	}
	for i, l := range r.leases {
		if now.Before(r.due[i]) {
			continue
		}
		r.store.count("keepalive", nil)
		if r.stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.id)}) != nil {
			return nil // the stream's own error comes where the answers do
		}
		r.waiting = append(r.waiting, now)
		r.due[i] = now.Add(period(l.ttl))
	}
	return nil
}

// answered says when the renewal that this answers was sent.
func (r *renewer) answered(a renewal) renewal {
	if len(r.waiting) > 0 {
		a.sent, r.waiting = r.waiting[0], r.waiting[1:]
	}
	return a
}

// period is how often a lease is renewed: three times in its life, and a long
// one often enough that its end is never far from certain.
func period(ttl time.Duration) time.Duration {
	return min(ttl/3-100*time.Millisecond, 10*time.Minute)
}

func receive(ctx context.Context, stream pb.Lease_LeaseKeepAliveClient, out chan<- renewal) {
	for {
		resp, err := stream.Recv()
		r := renewal{err: err}
		if err == nil {
			r = renewal{id: clientv3.LeaseID(resp.ID), ttl: resp.TTL, header: resp.Header}
		}
		select {
		case out <- r:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// group waits for the goroutines it started.
type group struct{ wg sync.WaitGroup }

func (g *group) start(f func()) { g.wg.Go(f) }
func (g *group) wait()          { g.wg.Wait() }
