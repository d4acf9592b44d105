package command

import (
	"github.com/spf13/cobra"

	"github.com/weft-net/weft/lab/bench"
)

func benchCommand(f *flags) *cobra.Command {
	var o bench.Options
	c := &cobra.Command{
		Use:   "bench",
		Short: "Measure weftd and the plugin against floors taken in the same run",
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
	c.Flags().IntVar(&o.Rounds, "rounds", 100, "leases and attachments")
	return c
}

func floorCommand() *cobra.Command {
	return &cobra.Command{
		Use: bench.FloorCommand + " ENDPOINT", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error { return bench.Floor(c.Context(), args[0]) },
	}
}
