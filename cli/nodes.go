package cli

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// nodeRow is a node as `weft nodes -o json` shows it.
type nodeRow struct {
	fabric.Node
	Alive   bool           `json:"alive"`
	Subnets []netip.Prefix `json:"subnets"`
}

func nodeRows(snap *fabric.Snapshot) []nodeRow {
	rows := make([]nodeRow, 0, len(snap.Peers))
	for _, p := range snap.Peers {
		rows = append(rows, nodeRow{p.Node, p.Alive, prefixes(p.Subnets)})
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

func nodesTable(rows []nodeRow, wide bool) *table {
	if !wide {
		t := newTable(false, "NAME…", "AGENT", "UNDERLAY", "SUBNETS")
		for _, n := range rows {
			t.add(n.Name, aliveWord(n.Alive), addrs(n.Underlay), list(n.Subnets))
		}
		return t
	}
	t := newTable(true, "NAME", "AGENT", "UNDERLAY", "SUBNETS", "INDEX", "MTU", "VTEP-MAC", "RECEIVES", "VERSION", "ID")
	for _, n := range rows {
		var receives []string
		for _, r := range n.Receives {
			receives = append(receives, string(r))
		}
		t.add(n.Name, aliveWord(n.Alive), addrs(n.Underlay), list(n.Subnets), fmt.Sprint(n.Index), fmt.Sprint(n.MTU),
			n.VTEPMAC.String(), strings.Join(receives, " "), n.Version, string(n.ID))
	}
	return t
}

// aliveWord is about the agent: the host of one that is gone may well forward.
func aliveWord(alive bool) string {
	if alive {
		return "alive"
	}
	return "gone"
}

func (a *app) nodesCommand() *cobra.Command {
	return listing(a, "nodes", "List the nodes of the fabric", "no node has joined yet", nodeRows, nodesTable)
}

// listing is a command that prints a part of the fabric's records.
func listing[R any](a *app, use, short, nothing string, pick func(*fabric.Snapshot) []R, draw func(rows []R, wide bool) *table) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: args()}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			snap, err := s.View(ctx)
			if err != nil {
				return unreachable(err)
			}
			rows := pick(snap)
			if err := a.print(*f, rows, func(wide bool) *table { return draw(rows, wide) }); err != nil {
				return err
			}
			a.notes(snap, len(rows) == 0, nothing)
			return nil
		})
	}
	return cmd
}

// notes says on standard error what a table cannot.
func (a *app) notes(snap *fabric.Snapshot, empty bool, nothing string) {
	if empty {
		fmt.Fprintln(a.Err, "note:", nothing)
	}
	if snap.Spec == nil {
		fmt.Fprintln(a.Err, "note: there is no Fabric yet; weft apply -f FILE makes one")
	}
	for _, p := range snap.Problems {
		fmt.Fprintf(a.Err, "note: record %s counts for nothing: %s\n", p.Key, p.Reason)
	}
}

func (a *app) nodeCommand() *cobra.Command {
	cmd := group("node", "Commands about one node", "")
	remove := &cobra.Command{
		Use: "remove NAME", Short: "Take a node out of the fabric for good", Args: args("NAME"),
		Long: "Take a node out of the fabric for good: its record and its subnets are given back\nat once, its reservations stay. A node whose agent is alive is refused, as it\nwould come right back: stop weftd there first.",
	}
	remove.RunE = func(cmd *cobra.Command, given []string) error {
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error { return a.removeNode(ctx, s, given[0]) })
	}
	cmd.AddCommand(remove)
	return cmd
}

func (a *app) removeNode(ctx context.Context, s *store.Store, name string) error {
	snap, err := s.View(ctx)
	if err != nil {
		return unreachable(err)
	}
	err = s.RemoveNode(ctx, name)
	switch {
	case errors.Is(err, store.ErrAlive):
		return &failure{code: exitFailed, err: fmt.Errorf("node %s: its agent is alive", name),
			hint: "stop weftd on it, then repeat this after spec.lease.liveness has passed"}
	case errors.Is(err, store.ErrNotFound):
		return &failure{code: exitFailed, err: fmt.Errorf("there is no node %s", name), hint: "`weft nodes` lists them"}
	case err != nil:
		return refused(err)
	}
	var given, kept []netip.Prefix
	for _, p := range snap.Peers {
		if p.Name != name {
			continue
		}
		for _, l := range p.Subnets {
			if l.For == "" {
				given = append(given, l.Prefix)
			} else {
				kept = append(kept, l.Prefix)
			}
		}
	}
	a.printf("node %s: removed\n", name)
	if len(given) > 0 {
		a.printf("  given back: %s\n", list(given))
	}
	if len(kept) > 0 {
		a.printf("  still reserved for it: %s\n", list(kept))
	}
	return nil
}
