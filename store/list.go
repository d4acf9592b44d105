package store

import (
	"bytes"
	"context"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// list reads everything under the prefix in one linearizable range.
func (s *Store) list(ctx context.Context) (*clientv3.GetResponse, error) {
	var resp *clientv3.GetResponse
	err := s.do(ctx, "list", listTimeout, func(ctx context.Context, cli *clientv3.Client) (err error) {
		resp, err = cli.Get(ctx, s.prefix, clientv3.WithPrefix())
		return err
	})
	return resp, err
}

// fold puts a list into a view as its whole truth.
func (s *Store) fold(v *view, resp *clientv3.GetResponse) {
	v.expect(len(resp.Kvs) / 3)
	v.relist(func(yield func(kv) bool) {
		for i, e := range resp.Kvs {
			if !yield(s.fromEtcd(e)) {
				return
			}
			resp.Kvs[i] = nil // ten thousand values need not live twice
		}
	}, resp.Header.ClusterId, resp.Header.Revision)
}

// fromEtcd converts one key; the value is not copied.
func (s *Store) fromEtcd(e *mvccpb.KeyValue) kv {
	return kv{
		key:    string(bytes.TrimPrefix(e.Key, []byte(s.prefix))),
		value:  e.Value,
		create: e.CreateRevision, mod: e.ModRevision, lease: e.Lease,
	}
}

// View reads the fabric once.
func (s *Store) View(ctx context.Context) (*fabric.Snapshot, error) {
	v, err := s.view(ctx)
	if err != nil {
		return nil, err
	}
	return v.snapshot(time.Now()), nil
}

func (s *Store) view(ctx context.Context) (*view, error) {
	resp, err := s.list(ctx)
	if err != nil {
		return nil, err
	}
	v := newView("")
	s.fold(v, resp)
	v.settle()
	return v, nil
}

// txn is one transaction of compares and operations, keys relative to the prefix.
type txn struct {
	prefix string
	cmps   []clientv3.Cmp
	ops    []clientv3.Op
}

func (s *Store) newTxn() *txn { return &txn{prefix: s.prefix} }

// unchanged demands that the key is as it was at a mod revision; 0: absent.
func (t *txn) unchanged(key string, mod int64) {
	t.cmps = append(t.cmps, clientv3.Compare(clientv3.ModRevision(t.prefix+key), "=", mod))
}

// present demands that the key exists.
func (t *txn) present(key string) {
	t.cmps = append(t.cmps, clientv3.Compare(clientv3.CreateRevision(t.prefix+key), ">", 0))
}

// absent demands that no key lies in [from, to).
func (t *txn) absent(from, to string) {
	if from < to {
		t.cmps = append(t.cmps, clientv3.Compare(clientv3.CreateRevision(t.prefix+from).WithRange(t.prefix+to), "=", 0))
	}
}

// unwritten demands that no key in the folder was written after a revision.
func (t *txn) unwritten(dir string, rev int64) {
	t.cmps = append(t.cmps, clientv3.Compare(clientv3.ModRevision(t.prefix+dir).WithPrefix(), "<", rev+1))
}

func (t *txn) put(key, value string, lease int64) {
	t.ops = append(t.ops, clientv3.OpPut(t.prefix+key, value, clientv3.WithLease(clientv3.LeaseID(lease))))
}

func (t *txn) del(key string) {
	t.ops = append(t.ops, clientv3.OpDelete(t.prefix+key))
}

// commit returns ErrChanged when a compare does not hold; the header then
// says how far etcd was.
func (s *Store) commit(ctx context.Context, t *txn) (*pb.ResponseHeader, error) {
	var header *pb.ResponseHeader
	err := s.do(ctx, "txn", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		resp, err := cli.Txn(ctx).If(t.cmps...).Then(t.ops...).Commit()
		if err != nil {
			return err
		}
		header = resp.Header
		if !resp.Succeeded {
			return ErrChanged
		}
		return nil
	})
	return header, err
}
