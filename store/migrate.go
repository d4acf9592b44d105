package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// ErrMigrating is that there is a migration already; the text says which.
var ErrMigrating = errors.New("a migration is under way")

// casTries bounds how often a change of the migration that lost a race with
// another one is tried again.
const casTries = 10

// Migrate begins a migration. Of several that begin one at once exactly one
// does; the others get ErrMigrating, with the one that there is. The error is
// ErrChanged where m.From is not, or no longer, the Fabric's plan.
func (s *Store) Migrate(ctx context.Context, m fabric.Migration) error {
	if err := checkMigration(&m); err != nil {
		return err
	}
	value, rev, err := s.Get(ctx, keyFabric)
	if err != nil {
		return err
	}
	spec, err := config.DecodeFabric(value)
	if err != nil {
		return err
	}
	if err := config.CheckPlan(spec, m.To); err != nil {
		return err
	}
	t := s.newTxn()
	t.unchanged(keyMigration, 0)
	t.unchanged(keyFabric, rev)
	t.unchanged(finishedKey(m.ID), 0)
	t.put(keyMigration, encodeJSON(m), 0)
	err = ErrChanged
	if spec.Plan().Equal(m.From) {
		_, err = s.commit(ctx, t)
	}
	if !errors.Is(err, ErrChanged) {
		return err
	}
	// Which of the compares it was, only a look can tell.
	value, _, err = s.Get(ctx, keyMigration)
	switch {
	case errors.Is(err, ErrNotFound):
		return fmt.Errorf("the Fabric was %w", ErrChanged)
	case err != nil:
		return err
	}
	return underway(value)
}

// underway names the migration that there is.
func underway(value []byte) error {
	m, err := decodeMigration(value)
	if err != nil {
		return fmt.Errorf("%w, whose record cannot be read: %w", ErrMigrating, err)
	}
	by := ""
	if m.By != "" {
		by = " by " + printable(m.By)
	}
	return fmt.Errorf("%w: %s from %s to %s, begun %s%s", ErrMigrating, printable(m.ID), m.From.Backend, m.To.Backend, m.Created.UTC().Format("2006-01-02 15:04:05"), by)
}

// migration reads the record of a migration: ErrNotFound where there is none,
// or another one.
func (s *Store) migration(ctx context.Context, id string) (m *fabric.Migration, value []byte, rev int64, err error) {
	value, rev, err = s.Get(ctx, keyMigration)
	if err == nil {
		m, err = decodeMigration(value)
	}
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, nil, 0, fmt.Errorf("migration %s: %w", printable(id), ErrNotFound)
	case err != nil:
		return nil, nil, 0, err
	case m.ID != id:
		return nil, nil, 0, fmt.Errorf("migration %s: %w, there is the migration %s", printable(id), ErrNotFound, printable(m.ID))
	}
	return m, value, rev, nil
}

// ChangeMigration changes the migration with that id: pauses, resumes, undoes
// it. change may be called several times, on what others have written meanwhile;
// an error of its own is returned as it is. ErrNotFound: there is no such
// migration (any more).
func (s *Store) ChangeMigration(ctx context.Context, id string, change func(*fabric.Migration) error) error {
	for tries := 0; ; tries++ {
		was, value, rev, err := s.migration(ctx, id)
		if err != nil {
			return err
		}
		now := *was
		if err := change(&now); err != nil {
			return err
		}
		if reflect.DeepEqual(now, *was) {
			return nil
		}
		if err := checkMigration(&now); err != nil {
			return err
		}
		t := s.newTxn()
		t.unchanged(keyMigration, rev)
		t.put(keyMigration, merge(value, *was, now), 0)
		if _, err = s.commit(ctx, t); !errors.Is(err, ErrChanged) || tries == casTries {
			return err
		}
	}
}

// merge is a stored JSON object with what changed from was to now, and all that
// a newer version has written into it.
func merge(stored []byte, was, now any) string {
	out, before, after := rawFields(stored), rawFields([]byte(encodeJSON(was))), rawFields([]byte(encodeJSON(now)))
	for name, value := range after {
		if !bytes.Equal(value, before[name]) {
			out[name] = value
		}
	}
	for name := range before {
		if _, ok := after[name]; !ok {
			delete(out, name)
		}
	}
	return encodeJSON(out)
}

// rawFields are the fields of a JSON object, which it is known to be.
func rawFields(object []byte) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if json.Unmarshal(object, &out) != nil {
		return map[string]json.RawMessage{}
	}
	return out
}

// FinishMigration ends the migration with that id in one transaction: change,
// if it is not nil, becomes the Fabric object (by the new plan, which the
// specification has from then on), and the record and all reports go. judged is
// the revision of the snapshot by which the caller found that it may end: where
// the record or a report was written since, or the Fabric is not at its
// revision any more, the error is ErrChanged and nothing was done; 0 leaves
// records and reports unjudged.
func (s *Store) FinishMigration(ctx context.Context, id string, judged int64, change *Change) error {
	_, _, rev, err := s.migration(ctx, id)
	if err != nil {
		return err
	}
	if judged != 0 && rev > judged {
		return fmt.Errorf("the migration was %w", ErrChanged)
	}
	t := s.newTxn()
	t.unchanged(keyMigration, rev)
	if judged != 0 {
		t.unwritten(dirMigrating, judged)
	}
	if change != nil {
		t.unchanged(keyFabric, change.ModRev)
		t.put(keyFabric, string(change.Value), 0)
	}
	t.del(keyMigration)
	t.delAll(dirMigrating)
	return s.commitMarked(ctx, t, map[string]string{finishedKey(id): "{}"})
}

// delAll deletes a whole folder: as one operation, for etcd allows a
// transaction few.
func (t *txn) delAll(dir string) {
	t.ops = append(t.ops, clientv3.OpDelete(t.prefix+dir, clientv3.WithPrefix()))
}
