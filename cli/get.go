package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

func completeKinds(_ *cobra.Command, given []string, _ string) ([]string, cobra.ShellCompDirective) {
	var words []string
	if len(given) == 0 {
		for _, k := range config.Kinds() {
			words = append(words, k.Words[0])
		}
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}

// stored is an object as it was found.
type stored struct {
	config.Object
	raw []byte
	rev int64
}

// find reads the object that a command names; name "" stands for any.
func find(ctx context.Context, s *store.Store, k config.Kind, name string) (stored, error) {
	raw, rev, err := s.Get(ctx, k.Key(name))
	if errors.Is(err, store.ErrNotFound) {
		return stored{}, &failure{code: exitFailed, err: fmt.Errorf("there is no %s", strings.TrimSpace(k.Words[0]+" "+name)),
			hint: "weft apply -f FILE makes one"}
	}
	if err != nil {
		return stored{}, unreachable(err)
	}
	o, err := config.DecodeObject(raw)
	if err != nil {
		return stored{}, fmt.Errorf("%s: %w", k.Key(name), err)
	}
	if name != "" && o.Metadata.Name != name {
		return stored{}, fmt.Errorf("there is no %s %s (its name is %s)", k.Words[0], name, o.Metadata.Name)
	}
	return stored{o, raw, rev}, nil
}

func (a *app) getCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "get KIND [NAME]", Short: "Show objects of the fabric", Args: args("KIND", "[NAME]"),
		Example: "  weft get fabric\n  weft get fabric -o yaml > fabric.yaml", ValidArgsFunction: completeKinds,
	}
	f := formFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		kind, err := config.KindFor(given[0])
		if err != nil {
			return usagef("%w", err)
		}
		name := ""
		if len(given) > 1 {
			name = given[1]
		}
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			o, err := find(ctx, s, kind, name)
			if err != nil {
				return err
			}
			if *f == formJSON || *f == formYAML {
				return a.printJSON(*f, o.raw) // as stored, with what only newer versions know
			}
			return a.print(*f, nil, func(wide bool) *table { return fabricTable(o, wide) })
		})
	}
	return cmd
}

func fabricTable(o stored, wide bool) *table {
	s := o.Fabric()
	head := []string{"NAME…", "NETWORK", "SUBNETS", "BACKEND", "VNI", "PORT"}
	row := []string{o.Metadata.Name, list(s.Networks()), lengths(s), s.Backend, fmt.Sprint(s.VXLAN.VNI), fmt.Sprint(s.VXLAN.Port)}
	if wide {
		head = append(head, "DIRECT", "MTU", "MASQUERADE", "TTL", "LIVENESS", "RESERVED", "REVISION")
		mtu := "auto"
		if s.VXLAN.MTU != 0 {
			mtu = fmt.Sprint(s.VXLAN.MTU)
		}
		row = append(row, yesNo(s.VXLAN.DirectRouting), mtu, yesNo(s.Masquerade.Enabled),
			s.Lease.TTL.String(), s.Lease.Liveness.String(), list(s.Reserved), fmt.Sprint(o.rev))
	}
	t := newTable(wide, head...)
	t.add(row...)
	return t
}

// lengths are those of the subnets, like "/24 /64".
func lengths(s *fabric.Spec) string {
	var out []string
	for _, f := range fabric.Families {
		if s.Network.Get(f).IsValid() {
			out = append(out, fmt.Sprintf("/%d", s.SubnetLength.Get(f)))
		}
	}
	return strings.Join(out, " ")
}

func (a *app) deleteCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "delete KIND NAME", Short: "Delete an object of the fabric", Args: args("KIND", "NAME"),
		Long: "Delete an object of the fabric. A Fabric is kept while subnets of it are leased.", ValidArgsFunction: completeKinds,
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		kind, err := config.KindFor(given[0])
		if err != nil {
			return usagef("%w", err)
		}
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			o, err := find(ctx, s, kind, given[1])
			if err != nil {
				return err
			}
			if err := deletable(ctx, s, o); err != nil {
				return err
			}
			if err := s.Apply(ctx, []store.Change{{Key: o.Key(), ModRev: o.rev}}); err != nil {
				return refused(err)
			}
			a.printf("%s: deleted\n", title(o.Object))
			return nil
		})
	}
	return cmd
}

// deletable refuses to take the ground away under running nodes.
func deletable(ctx context.Context, s *store.Store, o stored) error {
	if o.Fabric() == nil {
		return nil
	}
	snap, err := s.View(ctx)
	if err != nil {
		return unreachable(err)
	}
	n := 0
	for _, p := range snap.Peers {
		n += len(p.Subnets)
	}
	if n == 0 {
		return nil
	}
	return &failure{code: exitFailed, err: fmt.Errorf("%s: %s leased", title(o.Object), count(n, "subnet is", "subnets are")),
		hint: "stop the agents and `weft node remove` their nodes first; `weft leases` lists them"}
}
