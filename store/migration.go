package store

import (
	"fmt"
	"reflect"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
)

// A migration is an object like the others (objects.go), so that it outlives a
// wiped etcd (objecthold.go); its end leaves the mark `finished/<id>`. The
// nodes' reports on it are thousands and change often, so they have a table of
// their own. They stand and fall with the migration: while it is in force, a
// report that is gone from etcd counts nevertheless, until its agent has put it
// back, for what a node sends by must not change because information is missing;
// reports on another migration count for nothing.

// maxRate bounds the peers that a node moves in a second.
const maxRate = 10000

// decodeMigration reads the record, leniently: a newer version may have written
// it. What no version could mean is refused.
func decodeMigration(value []byte) (*fabric.Migration, error) {
	m := new(fabric.Migration)
	err := decodeJSON(value, m)
	if err == nil {
		err = checkMigration(m)
	}
	if err != nil {
		return nil, err
	}
	return m, nil
}

func checkMigration(m *fabric.Migration) error {
	if err := checkName(m.ID); err != nil {
		return fmt.Errorf("the migration's id: %w", err)
	}
	if m.Rate < 1 || m.Rate > maxRate {
		return fmt.Errorf("the migration's rate is %d peers a second (want 1 to %d)", m.Rate, maxRate)
	}
	if err := config.CheckPlan(nil, m.From); err != nil {
		return fmt.Errorf("the migration's from: %w", err)
	}
	if err := config.CheckPlan(nil, m.To); err != nil {
		return fmt.Errorf("the migration's to: %w", err)
	}
	if err := config.CheckMove(m.From, m.To); err != nil {
		return fmt.Errorf("the migration's to: %w", err)
	}
	return nil
}

// decodeReport reads how far a node is.
func decodeReport(value []byte) (r fabric.MigrationReport, err error) {
	if err := decodeJSON(value, &r); err != nil {
		return r, err
	}
	if err := checkName(r.ID); err != nil {
		return r, fmt.Errorf("the id of the migration reported on: %w", err)
	}
	if len(r.Cursor) > maxName {
		return r, fmt.Errorf("the cursor has %d characters (want at most %d)", len(r.Cursor), maxName)
	}
	if r.Moved < 0 || r.Total < 0 {
		return r, fmt.Errorf("%d of %d peers cannot be moved", r.Moved, r.Total)
	}
	return r, nil
}

// reportRecord is a `migrating/<node>` key.
type reportRecord struct {
	report fabric.MigrationReport // immutable
	mod    int64                  // of the key
	gen    uint64                 // of the last list that had it
	gone   bool                   // from etcd, while the migration is in force
}

// reportTable is what is known of reports, by the node's name.
type reportTable struct {
	all     map[string]*reportRecord
	inForce map[string]fabric.MigrationReport // as last delivered
	stale   bool                              // inForce is not what follows from all
}

func (rt *reportTable) put(node string, e kv, gen uint64) error {
	r, err := decodeReport(e.value)
	if err != nil {
		return err
	}
	was := rt.all[node]
	rt.all[node] = &reportRecord{report: r, mod: e.mod, gen: gen}
	rt.stale = rt.stale || was == nil || !reflect.DeepEqual(was.report, r)
	return nil
}

// seed puts what the cache has into an empty table.
func (rt *reportTable) seed(list map[string]fabric.MigrationReport) {
	for node, r := range list {
		rt.all[node] = &reportRecord{report: r}
	}
	rt.stale = true
}

func (rt *reportTable) del(node string) {
	if r := rt.all[node]; r != nil {
		r.gone, rt.stale = true, true
	}
}

// release lets go of the reports that are gone.
func (rt *reportTable) release() {
	for node, r := range rt.all {
		if r.gone {
			delete(rt.all, node)
			rt.stale = true
		}
	}
}

func (rt *reportTable) sweep(gen uint64) {
	for node, r := range rt.all {
		if r.gen != gen {
			rt.del(node)
		}
	}
}

// keyRev is the mod revision of a node's report, 0 if etcd has none.
func (rt *reportTable) keyRev(node string) int64 {
	if r := rt.all[node]; r != nil && !r.gone {
		return r.mod
	}
	return 0
}

// rebuildReports computes which reports count, if that may have changed.
func (v *view) rebuildReports() {
	rt, m := &v.reports, v.objects.migration
	if !rt.stale {
		return
	}
	rt.stale = false
	var next map[string]fabric.MigrationReport
	for node, r := range rt.all {
		counts := m != nil && r.report.ID == m.ID
		if r.gone && (!counts || v.removed[node] != "") {
			delete(rt.all, node)
			continue
		}
		if !counts {
			continue
		}
		if next == nil {
			next = make(map[string]fabric.MigrationReport, len(rt.all))
		}
		next[node] = r.report
	}
	rt.inForce = next
}

// keyRev is the mod revision of an object's key, 0 if etcd has none.
func (s *objects) keyRev(key string) int64 {
	if o := s.all[key]; o != nil && !o.gone {
		return o.mod
	}
	return 0
}
