package store

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// markTTL is how long the mark of a removed node or object stays, so that
// agents that were cut off meanwhile still learn that it was meant.
const markTTL = 24 * time.Hour

// Get reads one key relative to the prefix, with its mod revision for Apply.
// The error is ErrNotFound if there is none.
func (s *Store) Get(ctx context.Context, key string) (value []byte, modRev int64, err error) {
	err = s.do(ctx, "get", callTimeout, func(ctx context.Context, cli *clientv3.Client) error {
		resp, err := cli.Get(ctx, s.prefix+key)
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			return fmt.Errorf("%s%s: %w", s.prefix, key, ErrNotFound)
		}
		value, modRev = resp.Kvs[0].Value, resp.Kvs[0].ModRevision
		return nil
	})
	return value, modRev, err
}

// Change is one write of Apply.
type Change struct {
	Key    string // relative to the prefix
	Value  []byte // nil: delete
	ModRev int64  // as Get said; 0: the key must not exist
	Keep   bool   // the key is only compared, and stays as it is
}

// Apply writes all changes in one transaction, or none: ErrChanged if one of
// the keys is no longer at its ModRev. An object that it deletes leaves a mark
// (objecthold.go).
func (s *Store) Apply(ctx context.Context, changes []Change) error {
	t := s.newTxn()
	marks := map[string]string{}
	for _, c := range changes {
		t.unchanged(c.Key, c.ModRev)
		if c.Keep {
			continue
		}
		if c.Value != nil {
			t.put(c.Key, string(c.Value), 0)
			continue
		}
		t.del(c.Key)
		if isObject(c.Key) {
			marks[deletedKey(c.Key)] = "{}"
		}
	}
	return s.commitMarked(ctx, t, marks)
}

// commitMarked commits a transaction together with marks, values by key, that
// tell all agents that what it deletes was meant to go.
func (s *Store) commitMarked(ctx context.Context, t *txn, marks map[string]string) error {
	if len(marks) == 0 {
		_, err := s.commit(ctx, t)
		return err
	}
	lease, err := s.grantAny(ctx, markTTL)
	if err != nil {
		return err
	}
	for key, value := range marks {
		t.put(key, value, lease)
	}
	_, err = s.commit(ctx, t)
	if errors.Is(err, ErrChanged) {
		if reapErr := s.reap(ctx, clientv3.LeaseID(lease)); reapErr != nil {
			s.log.WithError(reapErr).Info("an unused etcd lease is left to expire")
		}
	}
	return err
}

// Reserve keeps a subnet for a node, which need not exist yet: only that node
// gets it, it prefers it, and the record stays until Unreserve. A subnet that
// the node has already becomes reserved as it is.
func (s *Store) Reserve(ctx context.Context, prefix netip.Prefix, node string) error {
	if err := checkName(node); err != nil {
		return err
	}
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	if err := reservable(v, prefix, node); err != nil {
		return err
	}
	rec := fabric.Subnet{For: node}
	t := s.newTxn()
	t.unchanged(keyFabric, v.specRev)
	var mod int64
	if r := v.subnets[prefix]; r != nil {
		rec, mod = *r.subnet, r.mod
		rec.For = node
	}
	t.claimsSubnet(v.spec, prefix, mod)
	t.put(subnetKey(prefix), encodeJSON(rec), 0)
	_, err = s.commit(ctx, t)
	return err
}

func reservable(v *view, prefix netip.Prefix, node string) error {
	if v.spec == nil {
		return fmt.Errorf("there is no Fabric object (run `weft apply` first): %w", ErrNotFound)
	}
	if !prefix.IsValid() || prefix != prefix.Masked() {
		return fmt.Errorf("%v is not a subnet (it has bits set after its length)", prefix)
	}
	if why := outsideOf(v.spec, prefix); why != "" {
		return fmt.Errorf("%s", why)
	}
	if want := v.spec.SubnetLength.Get(fabric.FamilyOf(prefix.Addr())); prefix.Bits() != want {
		return fmt.Errorf("%v has length %d, the fabric's subnets have %d", prefix, prefix.Bits(), want)
	}
	for _, r := range v.spec.Reserved {
		if r.Overlaps(prefix) {
			return fmt.Errorf("%v lies in %v, which spec.reserved keeps out of the fabric", prefix, r)
		}
	}
	var err error
	v.order.overlapping(prefix, func(r *record) {
		n := v.nodes[node]
		switch {
		case r.subnet.Prefix != prefix:
			err = fmt.Errorf("%v overlaps %v", prefix, r.subnet.Prefix)
		case r.subnet.For != "" && r.subnet.For != node:
			err = fmt.Errorf("%v is reserved for %s", prefix, r.subnet.For)
		case r.subnet.Owner != "" && (n == nil || n.node.ID != r.subnet.Owner):
			err = fmt.Errorf("%v belongs to %s", prefix, v.nameOf(r.subnet.Owner))
		}
	})
	return err
}

// nameOf is the name of the node with this id, or the id.
func (v *view) nameOf(id fabric.NodeID) string {
	if r := v.nodeByID(id); r != nil {
		return r.node.Name
	}
	return "the node with id " + quote(string(id))
}

// Unreserve gives a reservation up. A subnet that its node uses stays its
// own, as an ordinary lease.
func (s *Store) Unreserve(ctx context.Context, prefix netip.Prefix) error {
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	r := v.subnets[prefix]
	if r == nil || r.subnet.For == "" {
		return fmt.Errorf("reservation %v: %w", prefix, ErrNotFound)
	}
	t := s.newTxn()
	t.unchanged(r.key, r.mod)
	if r.subnet.Owner == "" || v.spec == nil {
		t.del(r.key)
	} else {
		rec := *r.subnet
		rec.For = ""
		l := longLease(rec.Owner, time.Duration(v.spec.Lease.TTL))
		if _, _, err := s.grant(ctx, l); err != nil {
			return err
		}
		t.put(r.key, encodeJSON(rec), int64(l.id))
	}
	_, err = s.commit(ctx, t)
	return err
}

// RemoveNode takes a node out: its record, its drain, its report on a
// migration and its subnets go in one transaction, its reservations stay for it. The mark that it leaves tells
// all agents that this was meant. A live agent would put its records back,
// so its node is refused with ErrAlive.
func (s *Store) RemoveNode(ctx context.Context, name string) error {
	v, err := s.view(ctx)
	if err != nil {
		return err
	}
	n, ok := v.nodes[name]
	_, bad := v.bad[nodeKey(name)]
	a, alive := v.alive[name]
	switch {
	case !ok && !bad:
		return fmt.Errorf("node %s: %w", name, ErrNotFound)
	case alive:
		return fmt.Errorf("node %s: %w: stop it first, then wait for its alive key to expire", name, ErrAlive)
	}
	t := s.newTxn()
	t.unchanged(aliveKey(name), a.mod)
	t.del(aliveKey(name))
	t.del(nodeKey(name))
	t.del(drainedKey(name))
	t.del(reportKey(name))
	if !ok {
		t.cmps = nil // the garbage under the alive key, if any, goes too
		t.unchanged(nodeKey(name), v.bad[nodeKey(name)].mod)
		_, err := s.commit(ctx, t)
		return err
	}
	t.unchanged(nodeKey(name), n.mod)
	if len(v.claims[idResource(n.node.ID)].rest()) == 0 {
		t.dropSubnets(v.owned[n.node.ID])
	} // else another record has this id, and the subnets are that node's
	marks := map[string]string{removedKey(name): encodeJSON(removedValue{ID: n.node.ID})}
	if v.drainOf(name) != nil {
		marks[deletedKey(drainedKey(name))] = "{}"
	}
	return s.commitMarked(ctx, t, marks)
}

// dropSubnets gives leases back and turns used reservations into unused ones.
func (t *txn) dropSubnets(recs []*record) {
	for _, r := range recs {
		t.unchanged(r.key, r.mod)
		if r.subnet.For == "" {
			t.del(r.key)
			continue
		}
		t.put(r.key, encodeJSON(fabric.Subnet{For: r.subnet.For}), 0)
	}
}
