package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/fabric"
)

// drainPause bounds how often an agent writes how far a drain is.
const drainPause = time.Second

// Drain notes that the traffic to a node's extra prefixes shall leave it. A
// node that is drained already stays as it is. The error is ErrNotFound for a
// node that the fabric does not know.
func (s *Store) Drain(ctx context.Context, node string) error {
	if err := checkName(node); err != nil {
		return err
	}
	key := drainedKey(node)
	t := s.newTxn()
	t.present(nodeKey(node))
	t.unchanged(key, 0)
	t.put(key, encodeJSON(fabric.Drain{Since: time.Now().UTC()}), 0)
	_, err := s.commit(ctx, t)
	if !errors.Is(err, ErrChanged) {
		return err
	}
	if _, _, err := s.Get(ctx, nodeKey(node)); err != nil {
		return s.noNode(node, err)
	}
	if _, _, getErr := s.Get(ctx, key); !errors.Is(getErr, ErrNotFound) {
		return getErr
	}
	return err
}

// Undrain takes a node's drain back. One that is not drained stays as it is;
// ErrNotFound is for a node that the fabric does not know.
func (s *Store) Undrain(ctx context.Context, node string) error {
	if err := checkName(node); err != nil {
		return err
	}
	key := drainedKey(node)
	_, mod, err := s.Get(ctx, key)
	if errors.Is(err, ErrNotFound) {
		_, _, err = s.Get(ctx, nodeKey(node))
		return s.noNode(node, err)
	}
	if err != nil {
		return err
	}
	// The agent may write its state meanwhile; that is no reason to fail.
	for tries := 0; ; tries++ {
		err := s.Apply(ctx, []Change{{Key: key, ModRev: mod}})
		if !errors.Is(err, ErrChanged) || tries == 5 {
			return err
		}
		if _, mod, err = s.Get(ctx, key); errors.Is(err, ErrNotFound) {
			return nil // somebody else did
		}
		if err != nil {
			return err
		}
	}
}

func (s *Store) noNode(node string, err error) error {
	if errors.Is(err, ErrNotFound) {
		return fmt.Errorf("node %s: %w", node, ErrNotFound)
	}
	return err
}

// ReportDrain says how far this node's drain is; any goroutine may call it. d
// is the drain of the last snapshot with another State and Reason (and At,
// else it is now): by Since it is told from an earlier drain, whose state must
// not be taken for this one's. It is written when it changes what is in etcd,
// the newest state only and once a second at most, and only while an operator
// wants the drain; an etcd that is away gets it when it is back.
func (ss *Session) ReportDrain(d fabric.Drain) {
	ss.mu.Lock()
	ss.drain = &d
	ss.mu.Unlock()
	ss.wake()
}

// planDrain compares the drain record with what was reported.
func (ss *Session) planDrain(t *txn) {
	ss.mu.Lock()
	d := ss.drain
	ss.mu.Unlock()
	o := ss.view.drainOf(ss.opt.Self.Name)
	if d == nil || o == nil {
		return
	}
	was, ok := o.spec.(*fabric.Drain)
	if !ok || !was.Since.Equal(d.Since) || was.State == d.State && was.Reason == d.Reason {
		return
	}
	now := *was
	now.State, now.Reason, now.At = d.State, d.Reason, d.At
	if now.At.IsZero() {
		now.At = time.Now().UTC()
	}
	t.unchanged(o.key, o.mod)
	t.put(o.key, encodeJSON(now), 0)
}
