package bench

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/weft-net/weft/lab"
)

// BGPOptions say how much of the routing mode to measure.
type BGPOptions struct {
	Binaries lab.Binaries
	Out      io.Writer
	Routes   []int // from one peer, ascending
	Rounds   int   // of single changes
	Failover int   // routes behind two ToRs of which one is lost
	Mesh     int   // nodes with a session to each other
	Clients  int   // of two route reflectors
}

// RunBGP measures the routing mode and prints a table like Run's.
func RunBGP(ctx context.Context, o BGPOptions) error {
	t := &sheet{w: tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)}
	t.row("", "WEFT", "OTHER", "RATIO", "BOUND", "")
	if err := learnAll(ctx, o, t); err != nil {
		return err
	}
	if err := failovers(ctx, o, t); err != nil {
		return fmt.Errorf("loss of a ToR: %w", err)
	}
	for _, c := range []struct {
		what string
		size int
		run  func(context.Context, lab.Binaries, int) (Converge, error)
	}{{"mesh of %d", o.Mesh, mesh}, {"two reflectors with %d clients", o.Clients, reflect}} {
		r, err := c.run(ctx, o.Binaries, c.size)
		if err != nil {
			return fmt.Errorf(c.what+": %w", c.size, err)
		}
		what := fmt.Sprintf(c.what, c.size)
		t.row(what+": all routes", round(r.Wall))
		t.row("  CPU, all agents", round(r.CPU))
		t.row("  memory of all, largest", fmt.Sprintf("%d MB, %d MB", r.RSS/1e6, r.Largest/1e6))
	}
	return t.w.Flush()
}

// failovers loses a ToR several times: its ports go down one after the other,
// and how long that takes is the machine's.
func failovers(ctx context.Context, o BGPOptions, t *sheet) error {
	var runs []Failover
	for range 5 {
		f, err := failover(ctx, o.Binaries, o.Failover)
		if err != nil {
			return err
		}
		runs = append(runs, f)
	}
	slices.SortFunc(runs, func(a, b Failover) int { return cmp.Compare(a.Out, b.Out) })
	f, last := runs[len(runs)/2], runs[len(runs)-1]
	t.limit("a ToR lost: longest silence, median of 5, ms", float64(f.Out.Milliseconds()), 100, "")
	t.row("  the longest of 5", round(last.Out))
	t.limit(fmt.Sprintf("  routes rewritten until it was over, of %d", f.Routes), float64(f.Changed), 0, "")
	t.row("  nexthop objects changed", fmt.Sprint(f.Nexthops))
	return nil
}

// perRack is the number of routes that share an AS path where each rack is an
// AS.
const perRack = 100

// learnAll measures routes from a peer into the kernel, in each size.
func learnAll(ctx context.Context, o BGPOptions, t *sheet) error {
	var last Learn
	for _, n := range o.Routes {
		for _, perPath := range []int{perRack, 1} { // the last is the one that what follows is taken from
			r, err := learn(ctx, o.Binaries, n, perPath, o.Rounds)
			if err != nil {
				return fmt.Errorf("%d routes: %w", n, err)
			}
			bird := 0.0 // printed, not promised
			if n <= 10000 {
				bird = 1 / 0.6
			}
			t.ratio(fmt.Sprintf("%d routes, %d to a path: to FRR", n, perPath), r.Weft.Wall, r.FRR.Wall, 1)
			t.ratio("  to BIRD", r.Weft.Wall, r.BIRD.Wall, bird)
			t.row("  CPU: weft, FRR and BIRD", round(r.Weft.CPU), round(r.FRR.CPU)+", "+round(r.BIRD.CPU))
			last = r
		}
	}
	t.limit("one changed prefix, median, ms", float64(last.Change.Microseconds())/1000, 5, "")
	own, err := gobgpMemory(ctx, o.Binaries, last.Routes)
	if err != nil {
		return fmt.Errorf("gobgpd's memory: %w", err)
	}
	per := func(b int64) float64 { return float64(b) / float64(last.Routes) }
	t.row(fmt.Sprintf("bytes per route at %d: weft, gobgpd", last.Routes), fmt.Sprintf("%.0f", per(last.Weft.RSS)), fmt.Sprintf("%.0f", per(own)))
	t.limit("  on top of GoBGP's own", per(last.Weft.RSS-own), 1024, "")
	return nil
}
