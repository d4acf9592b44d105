package command

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
	"github.com/weft-net/weft/lab/topologies"
)

func demoBGPCommand(f *flags) *cobra.Command {
	var file string
	c := &cobra.Command{
		Use:   "demo-bgp",
		Short: "Two racks with two ToRs each, routed by BGP, with faults: under two minutes",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			t, err := lab.ParseTopology(topologies.Routers)
			if file != "" {
				t, err = lab.ReadTopology(file)
			}
			if err != nil {
				return err
			}
			bin, err := f.binaries()
			if err != nil {
				return err
			}
			d := &demoBGP{demo{out: c.OutOrStdout(), began: time.Now()}}
			return d.run(c.Context(), lab.Options{Topology: t, Binaries: bin})
		},
	}
	c.Flags().StringVarP(&file, "file", "f", "", "topology `file` (default: two racks, the routers that weft-lab has in it)")
	return c
}

// demoBGP tells the story of a fabric that routes.
type demoBGP struct{ demo }

func (d *demoBGP) run(ctx context.Context, o lab.Options) error {
	l, err := lab.New(o)
	if err != nil {
		return err
	}
	return errors.Join(d.tell(ctx, l), d.cleanUp(l))
}

func (d *demoBGP) tell(ctx context.Context, l *lab.Lab) error {
	fmt.Fprintf(d.out, "%d racks with %d switches, %d hosts with an uplink to each ToR of their rack,\n%s etcd, real weftd, %d pods.\n",
		len(l.Topo.Racks), len(l.Switches()), len(l.Hosts), l.Etcd.Spec.Server, len(l.Topo.Pods))
	d.say("Starting switches, etcd, weft apply, agents, pods by CNI ...")
	if err := errors.Join(l.Up(ctx), l.WaitSessions(ctx)); err != nil {
		return err
	}
	d.say("Each agent leased a subnet of each family from etcd:")
	look(ctx, l).leases(d.out, l)
	if err := d.routes(l); err != nil {
		return err
	}
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
	d.say("Sessions with all gateways of default routes, and routes accepted:")
	return errors.Join(d.verdict(r), d.sessions(ctx, l), d.loseToR(ctx, l), d.killAgent(ctx, l))
}

// sessions has one row per session of each host.
func (d *demoBGP) sessions(ctx context.Context, l *lab.Lab) error {
	rows := [][]string{{"HOST", "AS", "PEER", "ITS AS", "STATE", "IPV4", "IPV6"}}
	for _, h := range l.Hosts {
		b, err := counted(ctx, h)
		if err != nil {
			return err
		}
		for _, s := range b.Sessions {
			rows = append(rows, []string{
				h.Spec.Name, strconv.Itoa(int(b.ASN)), s.Address.String(), strconv.Itoa(int(s.RemoteASN)), s.State,
				strconv.Itoa(int(s.Families.IPv4.Accepted)), strconv.Itoa(int(s.Families.IPv6.Accepted)),
			})
		}
	}
	table(d.out, rows...)
	return nil
}

// counted is what an agent says of its sessions once it has counted the routes
// on each, which it does every few seconds; where there are none, without.
func counted(ctx context.Context, h *lab.Host) (*api.BGP, error) {
	short, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	_ = h.Agent.WaitBGP(short, "routes", func(b *api.BGP) error {
		for _, s := range b.Sessions {
			if s.Families.IPv4.Accepted+s.Families.IPv6.Accepted == 0 {
				return errors.New("none yet")
			}
		}
		return nil
	})
	return h.Agent.BGP(ctx)
}

// routes shows both sides: the pods' subnets as a host's kernel has them, and
// as a ToR's has.
func (d *demoBGP) routes(l *lab.Lab) error {
	host, tor := l.Hosts[0], l.Switches()[0]
	for _, side := range []struct {
		what  string
		space *lab.Namespace
	}{
		{"Pods' subnets in the kernel of host " + host.Spec.Name, host.Namespace},
		{"and in that of ToR " + tor.Spec.Name, tor.Namespace},
	} {
		d.say("%s:", side.what)
		rows := [][]string{{"SUBNET", "BY"}}
		for _, within := range networks(l) {
			routes, err := side.space.Routes(within)
			if err != nil {
				return err
			}
			for _, r := range routes {
				var by []string
				for _, h := range r.Hops {
					by = append(by, h.String())
				}
				rows = append(rows, []string{r.Dst.String(), strings.Join(by, ", ")})
			}
		}
		table(d.out, rows...)
	}
	return nil
}

// networks are those that the pods' addresses lie in.
func networks(l *lab.Lab) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range l.Pods()[:1] {
		for _, a := range p.Addrs {
			bits := 16
			if a.Is6() {
				bits = 48
			}
			out = append(out, netip.PrefixFrom(a, bits).Masked())
		}
	}
	return out
}

// loseToR is the second act: all links of a ToR go down, for longer than its
// sessions live, and come back.
func (d *demoBGP) loseToR(ctx context.Context, l *lab.Lab) error {
	tor := l.Switches()[0]
	d.say("ToR %s loses all its links under traffic, for 12 s:", tor.Spec.Name)
	err := d.underTraffic(ctx, l, func() error { return errors.Join(tor.Cut(), lab.Pause(ctx, 12*time.Second)) })
	if err := errors.Join(err, l.WaitReachable(ctx)); err != nil {
		return err
	}
	d.say("ToR %s comes back under traffic:", tor.Spec.Name)
	return d.underTraffic(ctx, l, func() error {
		return errors.Join(tor.Restore(), l.WaitSessions(ctx), lab.Pause(ctx, 2*time.Second))
	})
}

// underTraffic runs do while every pod sends to every other, and prints what
// became of the packets.
func (d *demoBGP) underTraffic(ctx context.Context, l *lab.Lab, do func() error) error {
	m, err := lab.StartMesh(ctx, l.PodEndpoints(), lab.ProbeOptions{Rate: 200})
	if err != nil {
		return err
	}
	err = errors.Join(lab.Pause(ctx, time.Second), do(), lab.Pause(ctx, time.Second))
	r, stopErr := m.Stop(ctx)
	if err := errors.Join(err, stopErr); err != nil {
		return err
	}
	t := r.Total()
	fmt.Fprintf(d.out, "  %s\n\n  packets lost: %d (at most %d of a flow in a row)\n", r.Summary(), t.Lost+t.LostReplies, t.LongestGap)
	return nil
}
