package store

import (
	"context"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Record is a key as it is stored.
type Record struct {
	Key    string // relative to the prefix
	Value  []byte
	ModRev int64 // for Apply
}

// Records reads all keys that begin with dir, like "bgppeers/", relative to
// the prefix and sorted, whatever they hold.
func (s *Store) Records(ctx context.Context, dir string) ([]Record, error) {
	var resp *clientv3.GetResponse
	err := s.do(ctx, "list", listTimeout, func(ctx context.Context, cli *clientv3.Client) (err error) {
		resp, err = cli.Get(ctx, s.prefix+dir, clientv3.WithPrefix())
		return err
	})
	if err != nil {
		return nil, err
	}
	out := make([]Record, 0, len(resp.Kvs))
	for _, e := range resp.Kvs {
		kv := s.fromEtcd(e)
		out = append(out, Record{Key: kv.key, Value: kv.value, ModRev: kv.mod})
	}
	return out, nil
}
