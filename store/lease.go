package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// etcdLease is a lease of etcd's. Its id follows from what it is for, so a
// restarted agent finds the one it had instead of piling up new ones.
type etcdLease struct {
	id  clientv3.LeaseID
	ttl time.Duration
}

// longLease carries the node's subnets: one per node and length of life.
func longLease(id fabric.NodeID, ttl time.Duration) etcdLease {
	return newLease("subnets", string(id), "", ttl)
}

// shortLease carries the alive key. The instance is part of it: a second host
// with the same id must not keep the first one's key alive.
func shortLease(id fabric.NodeID, instance string, ttl time.Duration) etcdLease {
	return newLease("alive", string(id), instance, ttl)
}

func newLease(purpose, id, instance string, ttl time.Duration) etcdLease {
	ttl = max(ttl.Truncate(time.Second), 2*time.Second) // etcd counts seconds; it keeps none under 2
	h := sha256.New()
	for _, word := range []string{"weft", purpose, id, instance, ttl.String()} {
		fmt.Fprintf(h, "%d:%s", len(word), word)
	}
	n := int64(binary.BigEndian.Uint64(h.Sum(nil)) >> 1)
	return etcdLease{id: clientv3.LeaseID(max(n, 1)), ttl: ttl}
}

// grant makes sure that the lease exists; fresh is false if it did already.
func (s *Store) grant(ctx context.Context, l etcdLease) (header *pb.ResponseHeader, fresh bool, err error) {
	err = s.do(ctx, "grant", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		// clientv3.Lease has no way to ask for an id.
		resp, err := pb.NewLeaseClient(cli.ActiveConnection()).LeaseGrant(ctx, &pb.LeaseGrantRequest{ID: int64(l.id), TTL: int64(l.ttl / time.Second)})
		switch {
		case err == nil:
			header, fresh = resp.Header, true
		case is(err, rpctypes.ErrLeaseExist):
			err = nil
		}
		return err
	})
	return header, fresh, err
}

// grantAny makes a lease that nobody keeps alive.
func (s *Store) grantAny(ctx context.Context, ttl time.Duration) (id int64, err error) {
	err = s.do(ctx, "grant", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		resp, err := cli.Grant(ctx, int64(ttl/time.Second))
		if err == nil {
			id = int64(resp.ID)
		}
		return err
	})
	return id, err
}

// reap revokes a lease that is no longer used. One that still has keys is
// left alone: they would go with it.
func (s *Store) reap(ctx context.Context, id clientv3.LeaseID) error {
	empty := false
	err := s.do(ctx, "ttl", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		resp, err := cli.TimeToLive(ctx, id, clientv3.WithAttachedKeys())
		if err == nil {
			empty = resp.TTL > 0 && len(resp.Keys) == 0
		}
		return err
	})
	if err != nil || !empty {
		return err
	}
	return s.do(ctx, "revoke", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		_, err := cli.Revoke(ctx, id)
		return err
	})
}
