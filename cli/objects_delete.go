package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/store"
)

func (a *app) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete KIND NAME... | -f FILE", Short: "Delete objects of the fabric",
		Long:              "Delete objects of the fabric, all or none: those that are named, or those that a\nfile holds. A Fabric is kept while subnets of it are leased, a BGPPolicy while a\nBGPPeer names it. Sessions that end are listed.",
		Example:           "  weft delete bgppeer tors\n  weft delete -f peers.yaml --dry-run",
		ValidArgsFunction: completeKinds,
	}
	file := fileFlag(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "check and show, delete nothing")
	cmd.Args = func(cmd *cobra.Command, given []string) error {
		switch {
		case *file != "" && len(given) > 0:
			return usagef("%s takes either KIND NAME or -f FILE; see `%s --help`", cmd.CommandPath(), cmd.CommandPath())
		case *file == "" && len(given) < 2:
			return args("KIND", "NAME")(cmd, given)
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		objects, err := a.objectsToDelete(*file, given)
		if err != nil {
			return err
		}
		return a.delete(cmd.Context(), objects, deletion{mayBeAbsent: *file != "", dry: *dryRun})
	}
	return cmd
}

// objectsToDelete are those of a file, or of a kind by their names.
func (a *app) objectsToDelete(file string, given []string) ([]config.Object, error) {
	if file != "" {
		return a.readObjects(file)
	}
	kind, err := config.KindFor(given[0])
	if err != nil {
		return nil, usagef("%w", err)
	}
	var out []config.Object
	for _, name := range given[1:] {
		o := config.Object{Kind: kind.Name}
		o.Metadata.Name = name
		out = append(out, o)
	}
	return out, nil
}

// deletion is how objects are deleted.
type deletion struct {
	mayBeAbsent bool // a file can be deleted again and again
	dry         bool
}

func (a *app) delete(ctx context.Context, objects []config.Object, how deletion) error {
	var todo considered
	err := a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		stored, err := readShelf(ctx, s)
		if err != nil {
			return err
		}
		var absent []config.Object
		todo.plan, absent = planDeletion(stored, objects)
		for _, o := range absent {
			if !how.mayBeAbsent {
				return whyAbsent(stored, o)
			}
			a.printf("%s: not there\n", title(o))
		}
		if len(todo.plan) == 0 {
			return nil
		}
		return todo.considerDeletion(ctx, s, stored)
	})
	if err != nil || len(todo.plan) == 0 {
		return err
	}
	a.showResets(todo)
	if how.dry {
		for _, p := range todo.plan {
			a.printf("%s: would be deleted\n", p.title)
		}
		a.printf("nothing deleted (dry run)\n")
		return nil
	}
	if err := a.write(ctx, todo.plan); err != nil {
		return err
	}
	for _, p := range todo.plan {
		a.printf("%s: deleted\n", p.title)
	}
	return nil
}

// whyAbsent says what there is instead of an object that is not there.
func whyAbsent(stored shelf, o config.Object) error {
	if _, name := config.Head(stored[o.Key()].Value); name != "" {
		return fmt.Errorf("there is no %s (its name is %s)", title(o), name)
	}
	return &failure{code: exitFailed, err: fmt.Errorf("there is no %s", title(o)), hint: "`weft get " + strings.ToLower(o.Kind) + "` shows what there is"}
}

// considerDeletion refuses to take the ground away under running nodes, and
// what other objects name.
func (c *considered) considerDeletion(ctx context.Context, s *store.Store, stored shelf) error {
	snap, err := s.View(ctx)
	if err != nil {
		return unreachable(err)
	}
	n := 0
	for _, p := range snap.Peers {
		n += len(p.Subnets)
	}
	for _, p := range c.plan {
		if p.key == keyOfFabric && n > 0 {
			return &failure{code: exitFailed, err: fmt.Errorf("%s: %s leased", p.title, count(n, "subnet is", "subnets are")),
				hint: "stop the agents and `weft node remove` their nodes first; `weft leases` lists them"}
		}
	}
	c.before, c.after, c.nodes = stored.objects(), stored.after(c.plan).objects(), snap.Peers
	var reasons []string
	for _, conflict := range newConflicts(c.before, c.after, c.nodes) {
		reasons = append(reasons, conflictText(conflict, c.plan))
	}
	if len(reasons) > 0 {
		return &failure{code: exitFailed, err: errors.New(strings.Join(reasons, "; ")), hint: "delete or change that too; nothing was deleted"}
	}
	return nil
}
