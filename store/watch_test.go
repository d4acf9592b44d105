package store

import (
	"context"
	"errors"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Every header is looked at. One that is behind may be that of a member that
// lags; a linearizable read tells. One of another cluster ends the trust.
func TestHeadersAreLookedAt(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	st, ctx := operator(t, e), context.Background()
	resp, err := st.list(ctx)
	must(t, err)
	ss := st.NewSession(SessionOptions{Self: testNode(1)})
	ss.cache = startCacheWriter("", ss.log)
	defer ss.cache.close()
	ss.takeList(resp)
	h := func(cluster uint64, rev int64) *pb.ResponseHeader {
		return &pb.ResponseHeader{ClusterId: cluster, Revision: rev}
	}
	cluster, rev := ss.view.cluster, ss.seenRev
	for _, c := range []struct {
		name   string
		seen   int64
		header *pb.ResponseHeader
		want   error
	}{
		{"the same", rev, h(cluster, rev), nil},
		{"a lagging member", rev, h(cluster, rev-1), nil},
		{"it went back", rev + 100, h(cluster, rev), errRelist},
		{"another cluster", rev, h(cluster+1, rev+5), errRelist},
		{"ahead", rev, h(cluster, rev+5), nil},
	} {
		ss.seenRev, ss.lastRev[fromKeeper], ss.rewound = c.seen, c.seen, false
		if err := ss.see(ctx, fromKeeper, c.header); !errors.Is(err, c.want) || ss.rewound != (c.want != nil) {
			t.Errorf("%s: %v, rewound %v; want %v", c.name, err, ss.rewound, c.want)
		}
	}
}
