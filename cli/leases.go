package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// leaseRow is a subnet on record as `weft leases -o json` shows it.
type leaseRow struct {
	Subnet      netip.Prefix  `json:"subnet"`
	Node        string        `json:"node,omitempty"` // that has it
	NodeID      fabric.NodeID `json:"nodeID,omitempty"`
	Alive       bool          `json:"alive"` // its agent
	ReservedFor string        `json:"reservedFor,omitempty"`
	Epoch       uint64        `json:"epoch,omitempty"`
	EtcdLease   string        `json:"etcdLease,omitempty"`
	Created     int64         `json:"createRevision"`
}

func leaseRows(snap *fabric.Snapshot) []leaseRow {
	rows := []leaseRow{}
	add := func(s fabric.Subnet, p *fabric.Peer) {
		r := leaseRow{Subnet: s.Prefix, ReservedFor: s.For, Epoch: s.Epoch, Created: s.CreateRevision}
		if s.EtcdLease != 0 {
			r.EtcdLease = fmt.Sprintf("%x", s.EtcdLease)
		}
		if p != nil {
			r.Node, r.NodeID, r.Alive = p.Name, p.ID, p.Alive
		}
		rows = append(rows, r)
	}
	for _, p := range snap.Peers {
		for _, s := range p.Subnets {
			add(s, p)
		}
	}
	for _, s := range snap.Reservations {
		add(s, nil)
	}
	slices.SortFunc(rows, func(a, b leaseRow) int { return comparePrefix(a.Subnet, b.Subnet) })
	return rows
}

func (r leaseRow) state() string {
	switch {
	case r.Node == "":
		return "unused"
	case r.Alive:
		return "in use"
	}
	return "agent gone"
}

func leasesTable(rows []leaseRow, wide bool) *table {
	head := []string{"SUBNET", "NODE…", "STATE", "RESERVED-FOR…"}
	if wide {
		head = append(head, "EPOCH", "CREATED", "ETCD-LEASE", "NODE-ID")
	}
	t := newTable(wide, head...)
	for _, r := range rows {
		cells := []string{r.Subnet.String(), cmp.Or(r.Node, "-"), r.state(), cmp.Or(r.ReservedFor, "-")}
		if wide {
			cells = append(cells, fmt.Sprint(r.Epoch), fmt.Sprint(r.Created), cmp.Or(r.EtcdLease, "-"), cmp.Or(string(r.NodeID), "-"))
		}
		t.add(cells...)
	}
	return t
}

func (a *app) leasesCommand() *cobra.Command {
	return listing(a, "leases", "List the subnets that are leased or reserved", "no subnet is leased or reserved", leaseRows, leasesTable)
}

func (a *app) leaseCommand() *cobra.Command {
	cmd := group("lease", "Reserve subnets for nodes", "")
	reserve := &cobra.Command{
		Use: "reserve PREFIX --node NAME", Short: "Keep a subnet for one node, for good", Args: args("PREFIX"),
		Long:    "Keep a subnet for one node, which may join later. No other node gets it, and it\ndoes not expire. A subnet that the node has already becomes reserved as it is.",
		Example: "  weft lease reserve 10.244.7.0/24 --node rack1-host7",
	}
	node := reserve.Flags().String("node", "", "name of the node that the subnet is for")
	reserve.RunE = func(cmd *cobra.Command, given []string) error {
		if *node == "" {
			return usagef("%s needs --node NAME", cmd.CommandPath())
		}
		return a.onPrefix(cmd.Context(), given[0], func(ctx context.Context, s *store.Store, p netip.Prefix) error {
			if err := s.Reserve(ctx, p, *node); err != nil {
				return refused(err)
			}
			a.printf("%s: reserved for %s\n", p, *node)
			return nil
		})
	}
	unreserve := &cobra.Command{
		Use: "unreserve PREFIX", Short: "Give a reservation up", Args: args("PREFIX"),
		Long: "Give a reservation up. A node that uses the subnet keeps it as an ordinary lease.",
	}
	unreserve.RunE = func(cmd *cobra.Command, given []string) error {
		return a.onPrefix(cmd.Context(), given[0], func(ctx context.Context, s *store.Store, p netip.Prefix) error {
			err := s.Unreserve(ctx, p)
			if errors.Is(err, store.ErrNotFound) {
				return &failure{code: exitFailed, err: fmt.Errorf("%s is not reserved", p), hint: "`weft leases` lists what is"}
			}
			if err != nil {
				return refused(err)
			}
			a.printf("%s: no longer reserved\n", p)
			return nil
		})
	}
	cmd.AddCommand(reserve, unreserve)
	return cmd
}

// onPrefix runs what changes a subnet's record. Etcd is asked for the fabric
// first, so that one that is down is not taken for a refusal.
func (a *app) onPrefix(ctx context.Context, text string, do func(context.Context, *store.Store, netip.Prefix) error) error {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return usagef("%q is not a prefix (like 10.244.7.0/24)", text)
	}
	if p != p.Masked() {
		return usagef("%s has host bits set (did you mean %s?)", p, p.Masked())
	}
	return a.withStore(ctx, func(ctx context.Context, s *store.Store) error {
		if _, _, err := s.Get(ctx, "fabric"); errors.Is(err, store.ErrNotFound) {
			return &failure{code: exitFailed, err: errors.New("there is no Fabric yet"), hint: "weft apply -f FILE makes one"}
		} else if err != nil {
			return unreachable(err)
		}
		return do(ctx, s, p)
	})
}
