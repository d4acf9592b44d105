package command

import (
	"github.com/spf13/cobra"

	"github.com/weft-net/weft/lab/bench"
)

func benchCommand(f *flags) *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure weftd against floors taken in the same run",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Binaries, err = f.binaries(); err != nil {
				return err
			}
			o.Out = c.OutOrStdout()
			return bench.Run(c.Context(), o)
		},
	}
	c.Flags().IntSliceVar(&o.Peers, "peers", []int{1000, 5000, 10000}, "sizes of the fabric that a new node joins, ascending")
	c.Flags().IntVar(&o.RestartPeers, "restart-peers", 5000, "size of the fabric in which an agent restarts")
	c.Flags().IntVar(&o.Runs, "runs", 3, "runs per size; the least of each figure counts")
	c.Flags().IntVar(&o.Rounds, "rounds", 100, "leases; the median counts")
	return c
}

func floorCommand() *cobra.Command {
	return &cobra.Command{
		Use: bench.FloorCommand + " ENDPOINT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return bench.Floor(c.Context(), args[0]) },
	}
}

func benchBGPCommand(f *flags) *cobra.Command {
	var o bench.BGPOptions
	c := &cobra.Command{
		Use:   "bench-bgp",
		Short: "Measure the routing mode against FRR, BIRD and gobgpd in the same run",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Binaries, err = f.binaries(); err != nil {
				return err
			}
			o.Out = c.OutOrStdout()
			return bench.RunBGP(c.Context(), o)
		},
	}
	c.Flags().IntSliceVar(&o.Routes, "routes", []int{10000, 100000}, "routes from one peer, ascending")
	c.Flags().IntVar(&o.Rounds, "rounds", 100, "single changes")
	c.Flags().IntVar(&o.Failover, "failover", 5000, "routes behind two ToRs of which one is lost")
	c.Flags().IntVar(&o.Mesh, "mesh", 50, "nodes that each have a session with every other")
	c.Flags().IntVar(&o.Clients, "clients", 200, "clients of two route reflectors")
	return c
}

func benchPathsCommand(f *flags) *cobra.Command {
	var o bench.PathsOptions
	c := &cobra.Command{
		Use:   "bench-paths",
		Short: "Measure what packets cost by each path, and what a change of paths costs",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Binaries, err = f.binaries(); err != nil {
				return err
			}
			o.Out = c.OutOrStdout()
			return bench.RunPaths(c.Context(), o)
		},
	}
	c.Flags().IntVar(&o.Packets, "packets", 200000, "packets of each layout in a round")
	c.Flags().IntVar(&o.Rounds, "rounds", 9, "rounds; the median counts")
	c.Flags().IntVar(&o.Peers, "peers", 1000, "peers whose path changes")
	return c
}

func benchCNICommand(f *flags) *cobra.Command {
	var o bench.CNIOptions
	c := &cobra.Command{
		Use:   "bench-cni",
		Short: "Measure the plugin against the reference plugins in the same run",
		Args:  cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) (err error) {
			if o.Binaries, err = f.binaries(); err != nil {
				return err
			}
			o.Out = c.OutOrStdout()
			return bench.RunCNI(c.Context(), o)
		},
	}
	c.Flags().IntVar(&o.Rounds, "rounds", 100, "calls of each kind; the median counts")
	c.Flags().IntVar(&o.Pods, "pods", 1000, "pods that are on a host already; a bridge holds 1023")
	c.Flags().IntVar(&o.Taken, "taken", 60000, "addresses of a /16 that are in use already")
	return c
}
