package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

const finishHelp = `End a migration whose nodes have all moved: the Fabric gets the new plan, and the
nodes give up what only the old one needed. There is no undo after that, only
another migration.

It is refused, with the reasons, while a node does not follow. --force leaves out
nodes whose agents are gone, where every way that they may send by stays open;
where it does not, their packets would be lost: bring them back, or take them out
with "weft node remove". A dry run, and a migration that was refused or undone,
just go.`

// finishTries bounds how often a finish is judged anew when a node reported in
// between.
const finishTries = 5

func (a *app) migrateFinishCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "finish", Short: "Give the old way up and end a migration", Args: args(), Long: finishHelp}
	force := cmd.Flags().Bool("force", false, "leave out nodes whose agents are gone, where that is safe")
	dry := cmd.Flags().Bool("dry-run", false, "only say what would be given up, or why not")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			for tries := 1; ; tries++ {
				f, err := a.judge(ctx, s, *force)
				if err != nil {
					return err
				}
				if *dry {
					a.printf("%snothing written (dry run)\n", f.text())
					return nil
				}
				err = s.FinishMigration(ctx, f.m.ID, f.judged, f.change)
				switch {
				case err == nil:
					a.printf("%sfinished\n", f.text())
					return nil
				case errors.Is(err, store.ErrNotFound):
					return errors.New("somebody ended the migration meanwhile")
				case !errors.Is(err, store.ErrChanged) || tries == finishTries:
					return refused(err)
				}
			}
		})
	}
	return cmd
}

// finish is an end that may be put to a migration.
type finish struct {
	m      *fabric.Migration
	judged int64         // the revision by which it may
	change *store.Change // of the Fabric, nil: it stays
	lines  []string      // what changes in it
	gives  []string      // what is given up
	phase  string
}

// judge says whether the migration under way may end, and how.
func (a *app) judge(ctx context.Context, s *store.Store, force bool) (*finish, error) {
	snap, err := underway(ctx, s)
	if err != nil {
		return nil, err
	}
	p := snap.Progress()
	f := &finish{m: snap.Migration, judged: snap.Revision, phase: p.Phase}
	switch {
	case f.m.DryRun:
		f.judged = 0
		return f, nil
	case p.Phase == fabric.PhaseRefused || p.Phase == fabric.PhaseUndone:
		return f, nil
	}
	after := finished(snap.Spec, f.m)
	if err := finishable(snap, after, force); err != nil {
		return nil, err
	}
	value, rev, err := s.Get(ctx, keyOfFabric)
	if err != nil {
		return nil, unreachable(err)
	}
	if rev != snap.SpecRev {
		return nil, refused(fmt.Errorf("the Fabric was %w", store.ErrChanged))
	}
	will, err := rewrite(value, snap.Spec, after)
	if err != nil {
		return nil, err
	}
	f.change, f.lines, f.gives = &store.Change{Key: keyOfFabric, Value: will, ModRev: rev}, compare(value, will), givenUp(snap.Spec, after)
	return f, nil
}

// finishable refuses a finish that would lose packets.
func finishable(snap *fabric.Snapshot, after *fabric.Spec, force bool) error {
	p := snap.Progress()
	hint := "`weft migrate status` shows them"
	var alive, dead []string
	for _, u := range snap.Unready() {
		if u.Alive {
			alive = append(alive, u.Node+": "+u.Reason)
		} else {
			dead = append(dead, u.Node+": "+u.Reason)
		}
	}
	switch {
	case snap.Migration.Undo:
		return &failure{code: exitFailed, err: errors.New("it is being taken back"), hint: "`weft migrate status --follow` tells how it goes"}
	case len(alive) > 0:
		return &failure{code: exitFailed, err: fmt.Errorf("not finished (%s): %s", p.Phase, some(alive, 3)), hint: hint}
	case p.Phase != fabric.PhaseMoved:
		return &failure{code: exitFailed, err: fmt.Errorf("not finished: it is %s, and waits for %s", p.Phase, some(p.Waiting, 3)), hint: hint}
	case len(dead) == 0:
		return nil
	}
	lost := lostWays(snap.Spec, after)
	switch {
	case len(lost) > 0:
		return &failure{code: exitFailed, err: fmt.Errorf("not finished: %s; their packets by %s would be lost", some(dead, 3), strings.Join(lost, " and ")),
			hint: "start weftd there, or `weft node remove` those that are gone for good"}
	case !force:
		return &failure{code: exitFailed, err: fmt.Errorf("not finished: %s", some(dead, 3)),
			hint: "start weftd there; or --force, as every way that they may send by stays open: they follow when they are back"}
	}
	return nil
}

// lostWays are the ways of a specification that the next one does not keep open.
// The segment is open always.
func lostWays(before, after *fabric.Spec) (lost []string) {
	from, to := before.Plan(), after.Plan()
	if from.Routes(before.PathRules) && !to.Routes(after.PathRules) {
		lost = append(lost, "BGP")
	}
	if from.Uses(before.PathRules, fabric.PathVXLAN) && (!to.Uses(after.PathRules, fabric.PathVXLAN) || from.VXLAN.Generation != to.VXLAN.Generation) {
		lost = append(lost, overlayWords(from.VXLAN))
	}
	return lost
}

func overlayWords(v fabric.VXLANSpec) string {
	return fmt.Sprintf("VXLAN (UDP port %d, VNI %d)", v.Port, v.VNI)
}

// givenUp says in words what the end of a migration takes away.
func givenUp(before, after *fabric.Spec) (out []string) {
	from, to := before.Plan(), after.Plan()
	if from.Routes(before.PathRules) && !to.Routes(after.PathRules) {
		out = append(out, "BGP: the nodes withdraw their routes and close their sessions")
	}
	uses := to.Uses(after.PathRules, fabric.PathVXLAN)
	switch had := from.Uses(before.PathRules, fabric.PathVXLAN); {
	case had && !uses:
		out = append(out, overlayWords(from.VXLAN)+": the nodes take its device away", "the pods' MTU grows by the overhead; pods that run keep theirs")
	case had && from.VXLAN.Generation != to.VXLAN.Generation:
		out = append(out, overlayWords(from.VXLAN)+": the nodes take its device away; "+overlayWords(to.VXLAN)+" stays")
	}
	if len(out) == 0 {
		out = append(out, "nothing: every way of the old plan is one of the new plan's too, and stays open")
	}
	return out
}

// text is what the end means.
func (f *finish) text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "migration %s: %s\n", f.m.ID, f.phase)
	if f.change == nil {
		b.WriteString("  nothing of it is left; the Fabric stays as it is\n")
		return b.String()
	}
	b.WriteString("fabric: changes\n")
	for _, line := range f.lines {
		b.WriteString(itemText(line))
	}
	b.WriteString("given up:\n")
	for _, line := range f.gives {
		b.WriteString(itemText(line))
	}
	return b.String()
}

// rewrite is a stored Fabric with what changes from one specification to the
// next, and all else as it was: a newer version may have written it.
func rewrite(stored []byte, before, after *fabric.Spec) ([]byte, error) {
	var object, spec map[string]json.RawMessage
	if err := json.Unmarshal(stored, &object); err != nil {
		return nil, fmt.Errorf("stored Fabric: %w", err)
	}
	if err := json.Unmarshal(object["spec"], &spec); err != nil {
		return nil, fmt.Errorf("stored Fabric: spec: %w", err)
	}
	after, err := complete("", after)
	if err != nil {
		return nil, err
	}
	was, err := fieldsOf(before)
	if err != nil {
		return nil, err
	}
	will, err := fieldsOf(after)
	if err != nil {
		return nil, err
	}
	for name, v := range will {
		if !bytes.Equal(v, was[name]) {
			spec[name] = v
		}
	}
	for name := range was {
		if _, ok := will[name]; !ok {
			delete(spec, name)
		}
	}
	if object["spec"], err = json.Marshal(spec); err != nil {
		return nil, err
	}
	return json.Marshal(object)
}

// fieldsOf are the fields of a specification as it is stored.
func fieldsOf(s *fabric.Spec) (map[string]json.RawMessage, error) {
	raw, err := fabricObject("", s).Encode()
	if err != nil {
		return nil, err
	}
	var object struct {
		Spec map[string]json.RawMessage `json:"spec"`
	}
	err = json.Unmarshal(raw, &object)
	return object.Spec, err
}
