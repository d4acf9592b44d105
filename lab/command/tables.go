package command

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

// table writes aligned columns.
func table(w io.Writer, rows ...[]string) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, r := range rows {
		fmt.Fprintln(t, "  "+strings.Join(r, "\t"))
	}
	t.Flush()
}

// view is what the agents say, by host; nil where one does not answer.
type view map[string]*api.Status

func look(ctx context.Context, l *lab.Lab) view {
	v := view{}
	for _, h := range l.Hosts {
		if s, err := h.Agent.Status(ctx); err == nil {
			v[h.Spec.Name] = s
		}
	}
	return v
}

// leases has one row per host: where it is and what it leased.
func (v view) leases(w io.Writer, l *lab.Lab) {
	rows := [][]string{{"HOST", "RACK", "UNDERLAY", "IPV4 LEASE", "IPV6 LEASE", "AGENT"}}
	for _, h := range l.Hosts {
		s := v[h.Spec.Name]
		row := []string{h.Spec.Name, h.Spec.Rack, first(h.Underlay).String(), subnet(s, fabric.IPv4), subnet(s, fabric.IPv6), state(s)}
		rows = append(rows, row)
	}
	table(w, rows...)
}

func first(a fabric.PerFamily[netip.Addr]) netip.Addr {
	if a.IPv4.IsValid() {
		return a.IPv4
	}
	return a.IPv6
}

func subnet(s *api.Status, f fabric.Family) string {
	if s != nil {
		for _, p := range s.Lease.Subnets {
			if fabric.FamilyOf(p.Addr()) == f {
				return p.String()
			}
		}
	}
	return "-"
}

func state(s *api.Status) string {
	switch {
	case s == nil:
		return "no answer"
	case s.Ready:
		return "ready"
	}
	return strings.Join(append([]string{"not ready"}, s.NotReady...), ": ")
}

// paths is a square: how the row's host reaches the column's.
func (v view) paths(w io.Writer, l *lab.Lab) {
	head := []string{"FROM"}
	for _, h := range l.Hosts {
		head = append(head, "TO "+strings.ToUpper(h.Spec.Name))
	}
	rows := [][]string{head}
	for _, h := range l.Hosts {
		row := []string{h.Spec.Name}
		for _, to := range l.Hosts {
			row = append(row, v.path(h, to))
		}
		rows = append(rows, row)
	}
	table(w, rows...)
}

func (v view) path(from, to *lab.Host) string {
	if from == to {
		return "."
	}
	if s := v[from.Spec.Name]; s != nil {
		for _, p := range s.Peers {
			if p.Name == to.Spec.Name {
				return p.Path
			}
		}
	}
	return "-"
}

func pods(w io.Writer, l *lab.Lab) {
	rows := [][]string{{"POD", "HOST", "ADDRESSES"}}
	for _, p := range l.Pods() {
		var addrs []string
		for _, a := range p.Addrs {
			addrs = append(addrs, a.String())
		}
		rows = append(rows, []string{p.Name, p.Host.Spec.Name, strings.Join(addrs, "  ")})
	}
	table(w, rows...)
}

func printStatus(c *cobra.Command, l *lab.Lab) error {
	w, v := c.OutOrStdout(), look(c.Context(), l)
	fmt.Fprintf(w, "lab %s, files in %s\n\n", l.Name, l.Dir())
	v.leases(w, l)
	fmt.Fprintln(w)
	v.paths(w, l)
	fmt.Fprintln(w)
	pods(w, l)
	return nil
}
