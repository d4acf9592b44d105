package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

func demoCommand(f *flags) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Three hosts, six pods, one agent killed under traffic: under a minute",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := topology(file)
			if err != nil {
				return err
			}
			bin, err := f.binaries()
			if err != nil {
				return err
			}
			return (&demo{out: c.OutOrStdout(), began: time.Now()}).run(c.Context(), lab.Options{Topology: t, Binaries: bin})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "topology `file` (default: three hosts in two racks, two pods on each)")
	return c
}

// errLoss is the demo's failure: weft lost a packet that it had to carry.
var errLoss = errors.New("packets were lost")

// demo tells a story on out.
type demo struct {
	out   io.Writer
	began time.Time
}

// say begins a chapter, with the seconds since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Fprintf(d.out, "\n[%4.1f s] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

func (d *demo) run(ctx context.Context, o lab.Options) error {
	l, err := lab.New(o)
	if err != nil {
		return err
	}
	return errors.Join(d.tell(ctx, l), d.cleanUp(l))
}

func (d *demo) cleanUp(l *lab.Lab) error {
	if err := l.Down(); err != nil {
		return err
	}
	d.say("All namespaces, processes and files of the lab are gone.")
	return nil
}

func (d *demo) tell(ctx context.Context, l *lab.Lab) error {
	fmt.Fprintf(d.out, "%d hosts in %d racks out of network namespaces, %s etcd, real weftd, %d pods.\n",
		len(l.Hosts), len(l.Topo.Racks), l.Etcd.Spec.Server, len(l.Topo.Pods))
	d.say("Starting etcd, weft apply, an agent on each host, pods by CNI ...")
	if err := l.Up(ctx); err != nil {
		return err
	}
	v := look(ctx, l)
	d.say("Each agent leased a subnet of each family from etcd:")
	v.leases(d.out, l)
	d.say("How hosts reach each other: directly in a rack, VXLAN between racks:")
	v.paths(d.out, l)
	d.say("Pods:")
	pods(d.out, l)

	r, err := lab.Probe(ctx, l.PodEndpoints(), lab.ProbeOptions{}, 2*time.Second)
	if err != nil {
		return err
	}
	d.say("Every pod to every pod: median round trip in ms, or the share lost:")
	for _, f := range fabric.Families {
		fmt.Fprintln(d.out)
		fmt.Fprint(d.out, r.Matrix(f))
	}
	fmt.Fprintf(d.out, "\n  %s\n", r.Summary())
	return errors.Join(d.verdict(r), d.killAgent(ctx, l))
}

// killAgent is the second act: the agent dies and comes back, the packets do
// not notice.
func (d *demo) killAgent(ctx context.Context, l *lab.Lab) error {
	victim := l.Hosts[len(l.Hosts)-1]
	d.say("The agent on %s is killed (SIGKILL) under traffic, and started again:", victim.Spec.Name)
	m, err := lab.StartMesh(ctx, l.PodEndpoints(), lab.ProbeOptions{Rate: 40})
	if err != nil {
		return err
	}
	err = killAndRestart(ctx, victim)
	r, stopErr := m.Stop(ctx)
	if err := errors.Join(err, stopErr); err != nil {
		return err
	}
	t := r.Total()
	fmt.Fprintf(d.out, "  %s\n\n  packets lost: %d\n", r.Summary(), t.Lost+t.LostReplies)
	return d.verdict(r)
}

func killAndRestart(ctx context.Context, h *lab.Host) error {
	if err := lab.Pause(ctx, time.Second); err != nil {
		return err
	}
	if err := h.Agent.Kill(); err != nil {
		return err
	}
	if err := lab.Pause(ctx, 2*time.Second); err != nil {
		return err
	}
	if err := h.Agent.Start(); err != nil {
		return err
	}
	if err := h.Agent.WaitReady(ctx); err != nil {
		return err
	}
	return lab.Pause(ctx, time.Second)
}

// verdict is an error if anything was lost; it prints where.
func (d *demo) verdict(r lab.Report) error {
	if r.Clean() {
		return nil
	}
	for _, line := range r.Losses() {
		fmt.Fprintln(d.out, "  "+line)
	}
	return errLoss
}
