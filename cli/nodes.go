package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// nodeRow is a node as `weft nodes -o json` shows it.
type nodeRow struct {
	fabric.Node
	Alive   bool           `json:"alive"`
	Subnets []netip.Prefix `json:"subnets"`
	Drain   *fabric.Drain  `json:"drain,omitempty"`
}

func nodeRows(snap *fabric.Snapshot) []nodeRow {
	rows := make([]nodeRow, 0, len(snap.Peers))
	for _, p := range snap.Peers {
		r := nodeRow{Node: p.Node, Alive: p.Alive, Subnets: prefixes(p.Subnets)}
		if d, ok := snap.Drained[p.Name]; ok {
			r.Drain = &d
		}
		if snap.Spec != nil && snap.Spec.Backend == "bgp" {
			r.ASN, _ = bgp.ASNOf(&snap.Spec.BGP, &p.Node) // 0: not known yet
		}
		rows = append(rows, r)
	}
	slices.SortFunc(rows, func(a, b nodeRow) int { return strings.Compare(a.Name, b.Name) })
	return rows
}

// nodesTable has a column for drains and AS numbers where there are any.
func nodesTable(rows []nodeRow, wide bool) *table {
	head := []string{"NAME…", "AGENT", "UNDERLAY", "SUBNETS"}
	drained := slices.ContainsFunc(rows, func(n nodeRow) bool { return n.Drain != nil })
	routed := slices.ContainsFunc(rows, func(n nodeRow) bool { return n.ASN != 0 })
	if drained {
		head = append(head, "DRAIN…")
	}
	if routed {
		head = append(head, "AS")
	}
	if wide {
		head = append(head, "INDEX", "MTU", "VTEP-MAC", "RECEIVES", "VERSION", "ID")
	}
	t := newTable(wide, head...)
	for _, n := range rows {
		cells := []string{n.Name, aliveWord(n.Alive), addrs(n.Underlay), subnetsWords(n.Subnets, wide)}
		if drained {
			cells = append(cells, n.drainWord(wide))
		}
		if routed {
			cells = append(cells, asn(n.ASN))
		}
		if wide {
			cells = append(cells, fmt.Sprint(n.Index), fmt.Sprint(n.MTU), n.VTEPMAC.String(), receives(n.Receives), n.Version, string(n.ID))
		}
		t.add(cells...)
	}
	return t
}

// drainWord says how far a node's drain is: in a word, or with what was seen.
func (n nodeRow) drainWord(wide bool) string {
	switch {
	case n.Drain == nil:
		return "-"
	case wide:
		return drainWords(*n.Drain)
	}
	return cmp.Or(n.Drain.State, "wanted")
}

func receives(paths []fabric.PathKind) string {
	words := make([]string, len(paths))
	for i, p := range paths {
		words[i] = string(p)
	}
	return strings.Join(words, " ")
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
	cmd.AddCommand(a.drainCommands()...)
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
	case err != nil:
		return noNode(name, err)
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
