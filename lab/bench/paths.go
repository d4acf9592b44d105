package bench

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/weft-net/weft/lab"
)

// PathsOptions say how much of the paths to measure.
type PathsOptions struct {
	Binaries lab.Binaries
	Out      io.Writer
	Packets  int // per round
	Rounds   int // of each layout
	Peers    int // that are moved
}

// RunPaths measures what a packet costs by each path and what it costs to
// change paths, and prints a table like Run's.
func RunPaths(ctx context.Context, o PathsOptions) error {
	t := &sheet{w: tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)}
	t.row("", "WEFT", "OTHER", "RATIO", "BOUND", "")
	d, err := datapath(ctx, o.Binaries, o.Packets, o.Rounds)
	if err != nil {
		return fmt.Errorf("cost of a packet: %w", err)
	}
	for _, p := range []struct {
		name string
		cost time.Duration
	}{{"direct", d.Direct}, {"bgp", d.BGP}} {
		t.ratio("a packet, "+p.name+": to weft's VXLAN", p.cost, d.VXLAN, 0.8)
		t.ratio("  to the common overlay", p.cost, d.Common, 0.55)
	}
	t.ratio("a packet, VXLAN: to the common overlay", d.VXLAN, d.Common, 0)
	t.ratio("  to one from namespace to namespace", d.VXLAN, d.Bare, 0)
	s, err := switchover(ctx, o.Binaries, o.Peers)
	if err != nil {
		return fmt.Errorf("change of paths: %w", err)
	}
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	t.limit(fmt.Sprintf("%d peers from VXLAN to BGP, ms", s.Peers), ms(s.To), 100, "")
	t.limit("  netlink messages for each", float64(s.Messages)/float64(s.Peers), 1, "")
	t.limit("back, from the withdrawal of all, ms", ms(s.Back), 1000, "")
	t.limit("back, from the end of the session, ms", ms(s.Lost), 1000, "")
	return t.w.Flush()
}
