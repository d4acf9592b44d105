package cli

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// shelf holds every object as it is stored, by key.
type shelf map[string]store.Record

// readShelf reads the objects of all kinds, and the migration under way.
func readShelf(ctx context.Context, s *store.Store) (shelf, error) {
	out := shelf{}
	switch value, rev, err := s.Get(ctx, store.KeyMigration); {
	case err == nil:
		out[store.KeyMigration] = store.Record{Key: store.KeyMigration, Value: value, ModRev: rev}
	case !errors.Is(err, store.ErrNotFound):
		return nil, unreachable(err)
	}
	for _, k := range config.Kinds() {
		records, err := readKind(ctx, s, k)
		if err != nil {
			return nil, err
		}
		for _, r := range records {
			out[r.Key] = r
		}
	}
	return out, nil
}

// readKind reads the objects of one kind.
func readKind(ctx context.Context, s *store.Store, k config.Kind) ([]store.Record, error) {
	key := k.Key("")
	if k.Many {
		records, err := s.Records(ctx, key)
		return records, unreachable(err)
	}
	value, rev, err := s.Get(ctx, key)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, unreachable(err)
	}
	return []store.Record{{Key: key, Value: value, ModRev: rev}}, nil
}

// after is the shelf once a plan is carried out.
func (sh shelf) after(plan []planned) shelf {
	out := shelf{}
	for key, r := range sh {
		out[key] = r
	}
	for _, p := range plan {
		if p.will == nil {
			delete(out, p.key)
		} else {
			out[p.key] = store.Record{Key: p.key, Value: p.will, ModRev: p.rev}
		}
	}
	return out
}

// objects is what agents make of it: of what cannot be read they keep what
// they had before, so nothing is said of it.
func (sh shelf) objects() bgp.Objects {
	var all []config.Object
	for _, r := range sh.sorted() {
		if o, err := config.DecodeObject(r.Value); err == nil {
			all = append(all, o)
		}
	}
	return bgp.Objects{Spec: config.SpecOf(all), BGP: config.BGPOf(all)}
}

func (sh shelf) sorted() []store.Record {
	out := make([]store.Record, 0, len(sh))
	for _, r := range sh {
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b store.Record) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// planned is an object on its way into the store or out of it.
type planned struct {
	key   string
	title string // as people say: "bgppeer tors"
	where string // it was written, "" where it was not
	spec  *fabric.Spec
	was   []byte // as stored; nil: there is none
	will  []byte // nil: it is deleted
	rev   int64  // of was
	lines []string
	// migration is the revision of its record, on which it depends what of the
	// Fabric may change.
	migration int64
}

func (p planned) changes() bool { return len(p.lines) > 0 }

// plan compares objects with what is stored. Objects that do not change are
// not written, so that a file can be applied again and again.
func plan(sh shelf, objects []config.Object) ([]planned, error) {
	var out []planned
	known := sh.objects().Spec
	for _, o := range objects {
		if s := o.Fabric(); s != nil {
			config.KeepGeneration(known, s)
		}
		will, err := o.Encode()
		if err != nil {
			return nil, err
		}
		r := sh[o.Key()]
		out = append(out, planned{
			key: o.Key(), title: title(o), where: o.Where, spec: o.Fabric(),
			was: r.Value, will: will, rev: r.ModRev, lines: compare(r.Value, will), migration: sh[store.KeyMigration].ModRev,
		})
	}
	return out, nil
}

// planDeletion takes objects away, and says which of them are not there.
func planDeletion(sh shelf, objects []config.Object) (plan []planned, absent []config.Object) {
	for _, o := range objects {
		r, ok := sh[o.Key()]
		_, name := config.Head(r.Value) // "" for garbage, which nobody will miss
		if isOther := o.Key() == keyOfFabric && name != "" && name != o.Metadata.Name; !ok || isOther {
			absent = append(absent, o)
			continue
		}
		plan = append(plan, planned{key: o.Key(), title: title(o), was: r.Value, rev: r.ModRev, lines: []string{"- all of it"}, migration: sh[store.KeyMigration].ModRev})
	}
	return plan, absent
}

// changed reports whether a plan does anything.
func changed(plan []planned) bool { return slices.ContainsFunc(plan, planned.changes) }

// write stores what a plan changes, all or nothing, unless somebody else has
// written any of it since the plan was made.
func write(ctx context.Context, s *store.Store, plan []planned) error {
	var changes []store.Change
	for _, p := range plan {
		if p.changes() {
			changes = append(changes, store.Change{Key: p.key, Value: p.will, ModRev: p.rev})
		}
		if p.changes() && p.key == keyOfFabric {
			changes = append(changes, store.Change{Key: store.KeyMigration, ModRev: p.migration, Keep: true})
		}
	}
	return refused(s.Apply(ctx, changes))
}

// newConflicts are those that a plan brings; what was wrong before stays
// possible to change piece by piece.
func newConflicts(before, after bgp.Objects, nodes []*fabric.Peer) []config.Conflict {
	old := config.CheckObjects(before.BGP, before.Spec, nodes)
	found := config.CheckObjects(after.BGP, after.Spec, nodes)
	return slices.DeleteFunc(found, func(c config.Conflict) bool { return slices.Contains(old, c) })
}

// conflictText says what is wrong with an object, and where it is written if
// it is in the plan.
func conflictText(c config.Conflict, plan []planned) string {
	text := strings.ToLower(c.Kind) + " " + c.Name
	i := slices.IndexFunc(plan, func(p planned) bool { return p.title == text })
	if i >= 0 && plan[i].where != "" && plan[i].will != nil {
		text = plan[i].where + ": " + text
	}
	return text + ": " + c.Path + ": " + c.Text
}
