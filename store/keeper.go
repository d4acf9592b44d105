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

	var queue []time.Time // when the unanswered ones were sent; answers come in order
	renew := func(l etcdLease) error {
		k.store.count("keepalive", nil)
		queue = append(queue, time.Now())
		return stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(l.id)})
	}
	due := make([]time.Time, len(leases))
	tick := time.NewTimer(0)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case next = <-k.leases:
			return next, nil
		case r := <-answers:
			if r.err != nil {
				return nil, k.store.failed("keepalive", cli, r.err)
			}
			if len(queue) > 0 {
				r.sent, queue = queue[0], queue[1:]
			}
			if !k.send(ctx, r) {
				return nil, ctx.Err()
			}
		case <-tick.C:
			if len(queue) > 0 && time.Since(queue[0]) > answerLimit {
				return nil, fmt.Errorf("etcd has not answered a lease renewal for %v", answerLimit)
			}
			for i, l := range leases {
				if time.Now().Before(due[i]) {
					continue
				}
				if err := renew(l); err != nil {
					continue // the stream's own error comes with the answers
				}
				due[i] = time.Now().Add(period(l.ttl))
			}
			tick.Reset(time.Second)
		}
	}
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
