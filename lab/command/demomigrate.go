package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/topologies"
)

// demoRate is what all pods send to each other, packets per second.
const demoRate = 2000

func demoMigrateCommand(f *flags) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "demo-migrate",
		Short: "Two racks move from VXLAN to BGP and back under traffic: about a minute",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := migratingTopology(file)
			if err != nil {
				return err
			}
			bin, err := f.binaries()
			if err != nil {
				return err
			}
			d := &demoMigrate{demo{out: c.OutOrStdout(), began: time.Now()}}
			return d.run(c.Context(), lab.Options{Topology: t, Binaries: bin})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "topology `file` (default: two racks of three hosts, a ToR each)")
	return c
}

// migratingTopology reads the file, or gives the one of our own. Where FRR is not
// installed its switches are the routers that weft-lab has in it.
func migratingTopology(file string) (lab.Topology, error) {
	if file != "" {
		return lab.ReadTopology(file)
	}
	t, err := lab.ParseTopology(topologies.Paths)
	if err != nil || lab.HasFRR() {
		return t, err
	}
	for i := range t.Spines {
		t.Spines[i].Kind = lab.KindRouter
	}
	for i := range t.Racks {
		for j := range t.Racks[i].ToRs {
			t.Racks[i].ToRs[j].Kind = lab.KindRouter
		}
	}
	return t, nil
}

// demoMigrate tells the story of a fabric that is moved while it runs.
type demoMigrate struct{ demo }

func (d *demoMigrate) run(ctx context.Context, o lab.Options) error {
	l, err := lab.New(o)
	if err != nil {
		return err
	}
	return errors.Join(d.tell(ctx, l), d.cleanUp(l))
}

func (d *demoMigrate) tell(ctx context.Context, l *lab.Lab) error {
	fmt.Fprintf(d.out, "%d hosts in %d racks with a ToR each (%s), %s etcd, real weftd, %d pods.\n",
		len(l.Hosts), len(l.Topo.Racks), l.Switches()[0].Spec.Kind, l.Etcd.Spec.Server, len(l.Topo.Pods))
	d.say("Starting switches, etcd, weft apply, agents, pods by CNI ...")
	if err := errors.Join(l.Up(ctx), l.WaitAllWays(ctx, lab.BetweenRacks(fabric.PathVXLAN))); err != nil {
		return err
	}
	d.say("How hosts reach each other: directly in a rack, VXLAN between racks:")
	look(ctx, l).paths(d.out, l)
	d.say("Every pod sends to every other, %d packets/s in all, each answered; a\nTCP stream runs in each family from the first pod to the last.", demoRate)
	traffic, err := l.StartTraffic(ctx, demoRate)
	if err != nil {
		return err
	}
	err = errors.Join(
		lab.Pause(ctx, time.Second),
		d.move(ctx, l, "vxlan-to-bgp", fabric.PathBGP), d.move(ctx, l, "bgp-to-vxlan", fabric.PathVXLAN),
		lab.Pause(ctx, time.Second),
	)
	r, stopErr := traffic.Stop(ctx)
	if err := errors.Join(err, stopErr); err != nil {
		return err
	}
	return d.result(r)
}

// move migrates the fabric as an operator would, and shows what that one sees.
func (d *demoMigrate) move(ctx context.Context, l *lab.Lab, migration string, path fabric.PathKind) error {
	for _, words := range []string{migration, "finish"} {
		d.say("weft migrate %s", words)
		out, err := l.Hosts[0].Weft(ctx, "migrate", words)
		for line := range strings.Lines(out) {
			fmt.Fprint(d.out, "  | "+line)
		}
		if err != nil {
			return err
		}
	}
	if err := l.WaitAllWays(ctx, lab.BetweenRacks(path)); err != nil {
		return err
	}
	d.say("How hosts reach each other now:")
	look(ctx, l).paths(d.out, l)
	return nil
}

// result prints what became of the traffic; an error if anything was lost or
// came out of order.
func (d *demoMigrate) result(r lab.TrafficReport) error {
	var bytes int64
	for _, s := range r.TCP {
		bytes += s.Received
	}
	all, spurious := r.Retransmits()
	total := r.Total()
	d.say("What became of the traffic, over both migrations:")
	fmt.Fprintf(d.out, "  %s\n\n", r.Summary())
	fmt.Fprintf(d.out, "  TCP: %d MB in %d streams, retransmissions: %d (%d of them of segments\n  that had arrived)\n",
		bytes>>20, len(r.TCP), all, spurious)
	fmt.Fprintf(d.out, "  packets reordered: %d\n  packets lost: %d\n", total.Reordered, total.Lost+total.LostReplies)
	faults := r.Faults()
	for _, line := range faults {
		fmt.Fprintln(d.out, "  "+line)
	}
	if len(faults) > 0 {
		return errLoss
	}
	return nil
}
