package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/store"
)

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate -f FILE", Short: "Check objects in a file, without etcd", Args: args(),
		Long: "Check objects in a file by themselves, without etcd. What depends on the running\nfabric, such as leases in a network that goes, is checked by apply and diff.",
	}
	file := fileFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		objects, err := a.readObjects(*file)
		if err != nil {
			return err
		}
		for _, o := range objects {
			a.printf("%s: valid\n", title(o))
		}
		return nil
	}
	return cmd
}

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff -f FILE", Short: "Show what apply would change", Args: args(),
		Long: "Show what apply would change. Exits with 0 if nothing would, with 3 if something\nwould, with 1 if apply would refuse it.",
	}
	file := fileFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		differs, err := a.apply(cmd.Context(), *file, true)
		if err == nil && differs {
			err = answerNo()
		}
		return err
	}
	return cmd
}

func (a *app) applyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "apply -f FILE", Short: "Write objects from a file to the fabric", Args: args(),
		Long:    "Write objects from a file to the fabric, all or none. They are checked by\nthemselves and against the running fabric; what changes is shown. Nothing is\nwritten if somebody else changes the same objects meanwhile.",
		Example: "  weft apply -f fabric.yaml\n  weft apply -f - --dry-run < fabric.yaml",
	}
	file := fileFlag(cmd)
	dryRun := cmd.Flags().Bool("dry-run", false, "check and show, write nothing")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		differs, err := a.apply(cmd.Context(), *file, *dryRun)
		switch {
		case err != nil:
			return err
		case differs && *dryRun:
			a.printf("nothing written (dry run)\n")
		case differs:
			a.printf("written\n")
		}
		return nil
	}
	return cmd
}

// apply shows what a file changes, and writes it unless dry. It reports
// whether anything changes.
func (a *app) apply(ctx context.Context, file string, dry bool) (differs bool, err error) {
	objects, err := a.readObjects(file)
	if err != nil {
		return false, err
	}
	err = a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		plan, err := plan(ctx, s, objects)
		if err != nil {
			return err
		}
		snap, err := s.View(ctx)
		if err != nil {
			return unreachable(err)
		}
		for _, p := range plan {
			a.show(p)
			differs = differs || p.changes()
		}
		if reasons := check(plan, snap); len(reasons) > 0 {
			return errors.New(strings.Join(reasons, "; "))
		}
		if dry || !differs {
			return nil
		}
		return write(ctx, s, plan)
	})
	return differs, err
}

// write stores what a plan changes, all or nothing, unless somebody else has
// written any of it since the plan was made.
func write(ctx context.Context, s *store.Store, plan []planned) error {
	var changes []store.Change
	for _, p := range plan {
		if p.changes() {
			changes = append(changes, store.Change{Key: p.Key(), Value: p.will, ModRev: p.rev})
		}
	}
	return refused(s.Apply(ctx, changes))
}

// show prints what happens to one object.
func (a *app) show(p planned) {
	what := "changes"
	switch {
	case !p.changes():
		what = "unchanged"
	case p.was == nil:
		what = "is new"
	}
	a.printf("%s: %s\n", title(p.Object), what)
	for _, line := range p.lines {
		a.printf("  %s\n", line)
	}
}
