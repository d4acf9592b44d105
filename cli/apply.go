package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

func (a *app) validateCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "validate -f FILE", Short: "Check objects in a file, without etcd", Args: args(),
		Long: "Check the objects in a file, without etcd. What depends on the running fabric,\nsuch as leases in a network that goes, is checked by apply and diff.",
	}
	file := fileFlag(cmd)
	cmd.RunE = func(*cobra.Command, []string) error {
		objects, err := a.readObjects(*file)
		if err != nil {
			return err
		}
		return a.validate(objects)
	}
	return cmd
}

func (a *app) diffCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff -f FILE", Short: "Show what apply would change", Args: args(),
		Long: "Show what apply would change, and which BGP sessions it would reset and why.\nExits with 0 if nothing would change, with 3 if something would, with 1 if apply\nwould refuse it.",
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
		Long:    "Write objects from a file to the fabric, all or none. They are checked by\nthemselves and against the running fabric; what changes is shown, and which BGP\nsessions it resets. Nothing is written if somebody else changes the same objects\nmeanwhile.",
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

// validate checks objects by themselves and against each other. What they name
// may be in the fabric already, so that it is not in the file is only noted.
func (a *app) validate(objects []config.Object) error {
	var all []planned // for where they are written
	for _, o := range objects {
		all = append(all, planned{title: title(o), where: o.Where, will: []byte{}})
	}
	var notes, wrong []string
	for _, c := range config.CheckObjects(config.BGPOf(objects), config.SpecOf(objects), nil) {
		if c.Missing {
			notes = append(notes, conflictText(c, all)+" in this file")
		} else {
			wrong = append(wrong, conflictText(c, all))
		}
	}
	if len(wrong) > 0 {
		return usagef("%s", strings.Join(wrong, "; "))
	}
	for _, n := range notes {
		fmt.Fprintln(a.Err, "note:", n)
	}
	for _, o := range objects {
		a.printf("%s: valid\n", title(o))
	}
	return nil
}

// apply shows what a file changes, and writes it unless dry. It reports
// whether anything changes.
func (a *app) apply(ctx context.Context, file string, dry bool) (differs bool, err error) {
	objects, err := a.readObjects(file)
	if err != nil {
		return false, err
	}
	var todo considered
	err = a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		stored, err := readShelf(ctx, s)
		if err != nil {
			return err
		}
		if todo.plan, err = plan(stored, objects); err != nil {
			return err
		}
		for _, p := range todo.plan {
			a.show(p)
		}
		if !changed(todo.plan) {
			return nil
		}
		return todo.consider(ctx, s, stored)
	})
	if err != nil || !changed(todo.plan) {
		return false, err
	}
	a.showResets(todo)
	if dry {
		return true, nil
	}
	return true, a.write(ctx, todo.plan)
}

// considered is a plan and what is around it.
type considered struct {
	plan          []planned
	before, after bgp.Objects
	nodes         []*fabric.Peer
}

// consider refuses a plan that cannot be carried out as things are.
func (c *considered) consider(ctx context.Context, s *store.Store, stored shelf) error {
	snap, err := s.View(ctx)
	if err != nil {
		return unreachable(err)
	}
	c.before, c.after, c.nodes = stored.objects(), stored.after(c.plan).objects(), snap.Peers
	if reasons := check(c.plan, c.before, c.after, snap); len(reasons) > 0 {
		return errors.New(strings.Join(reasons, "; "))
	}
	return nil
}

// write carries a plan out. It has its own time with etcd: what the plan does
// to the sessions of a thousand nodes takes a while to find out.
func (a *app) write(ctx context.Context, plan []planned) error {
	return a.withStore(ctx, func(ctx context.Context, s *store.Store) error { return write(ctx, s, plan) })
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
	a.printf("%s: %s\n", p.title, what)
	for _, line := range p.lines {
		a.printItem(line)
	}
}

// printItem prints a line below a heading, broken where a screen ends.
func (a *app) printItem(text string) {
	const indent, more = "  ", "      "
	for i, line := range wrap(text, screen-len(more)) {
		if i == 0 {
			a.printf("%s%s\n", indent, line)
		} else {
			a.printf("%s%s\n", more, line)
		}
	}
}

// showResets says what a change does to sessions that are up.
func (a *app) showResets(c considered) {
	before, after, nodes := c.before, c.after, c.nodes
	if !routes(before.Spec) && !routes(after.Spec) {
		if len(after.BGP.Peers)+len(after.BGP.Prefixes) > 0 {
			fmt.Fprintln(a.Err, "note: objects of BGP do nothing while spec.backend of the Fabric is not bgp")
		}
		return
	}
	a.noteNumberless(after.Spec, nodes)
	resets := bgp.DiffResets(before, after, nodes)
	if len(resets) == 0 {
		a.printf("sessions: none resets or ends, what changes does so in place\n")
		return
	}
	a.printf("sessions that reset or end, one at a time:\n")
	for _, line := range resets {
		a.printItem(line)
	}
}

// noteNumberless says which nodes would have no AS number. They are no reason
// to refuse a change: their speakers stay as they are.
func (a *app) noteNumberless(s *fabric.Spec, nodes []*fabric.Peer) {
	if !routes(s) {
		return
	}
	const most = 3
	n := 0
	for _, node := range nodes {
		_, err := bgp.ASNOf(&s.BGP, &node.Node)
		if err == nil {
			continue
		}
		if n++; n <= most {
			fmt.Fprintf(a.Err, "note: %v\n", err)
		}
	}
	if n > most {
		fmt.Fprintf(a.Err, "note: and so for %s more\n", count(n-most, "node", "nodes"))
	}
}

// routes reports whether nodes speak BGP.
func routes(s *fabric.Spec) bool { return s != nil && s.Plan().Routes(s.PathRules) }
