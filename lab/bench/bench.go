package bench

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weft-net/weft/lab"
)

// Options say how much to measure.
type Options struct {
	Binaries lab.Binaries
	Out      io.Writer
	Peers    []int // sizes of the fabric that a new node joins, ascending
	// RestartPeers is the size in which a restart is measured.
	RestartPeers int
	Runs         int // per size; the least counts
	Rounds       int // of the lease
}

// Run measures everything and prints one table: each line a figure, the floor
// measured beside it, and the ratio that weft promises to stay below.
func Run(ctx context.Context, o Options) error {
	t := &sheet{w: tabwriter.NewWriter(o.Out, 0, 0, 2, ' ', 0)}
	t.row("", "WEFT", "FLOOR", "RATIO", "BOUND", "")
	joins, err := joinAll(ctx, o)
	if err != nil {
		return err
	}
	for _, j := range joins[1:] {
		t.ratio(fmt.Sprintf("new node, %d peers", j.Peers), j.Weftd.Wall, j.Floor.Wall, 2)
	}
	base, small, large := joins[0], joins[1], joins[len(joins)-1]
	t.limit(fmt.Sprintf("its CPU seconds, %d peers", large.Peers), large.Weftd.CPU.Seconds(), 0.5, "s")
	t.limit(fmt.Sprintf("its memory, %d peers", large.Peers), float64(large.Weftd.RSS)/1e6, 60, "MB")
	t.ratio(fmt.Sprintf("CPU per peer, %d to %d", large.Peers, small.Peers), perPeer(large, base), perPeer(small, base), 1.5)
	t.ratio("the floor's CPU, all of it", large.Weftd.CPU, large.Floor.CPU, 0)
	var requests []string
	for _, j := range joins {
		requests = append(requests, fmt.Sprintf("%d at %d", j.Requests, j.Peers))
	}

	le, err := lease(ctx, o.Binaries, small.Peers, o.Rounds)
	if err != nil {
		return err
	}
	t.ratio("lease to kernel, median", le.Route, le.Put, 1.5)
	re, err := restart(ctx, o.Binaries, o.RestartPeers)
	if err != nil {
		return err
	}
	t.limit(fmt.Sprintf("restart, %d peers: netlink writes", re.Peers), float64(re.Writes), 0, "")
	t.limit(fmt.Sprintf("  packets lost of %d", re.Packets.Sent), float64(re.Packets.Lost+re.Packets.LostReplies), 0, "")
	if err := t.w.Flush(); err != nil {
		return err
	}
	_, err = fmt.Fprintf(o.Out, "requests of a new node to etcd: %s peers\n", strings.Join(requests, ", "))
	return err
}

// joinAll measures each size, 0 first, several times in turn, and keeps the
// least of each figure: whatever else the machine does can only add.
func joinAll(ctx context.Context, o Options) ([]Join, error) {
	sizes := append([]int{0}, o.Peers...)
	out := make([]Join, len(sizes))
	for run := range o.Runs {
		for i, n := range sizes {
			j, err := join(ctx, o.Binaries, n)
			if err != nil {
				return nil, fmt.Errorf("new node with %d peers: %w", n, err)
			}
			if run > 0 {
				j.Floor, j.Weftd = j.Floor.least(out[i].Floor), j.Weftd.least(out[i].Weftd)
				j.Requests = max(j.Requests, out[i].Requests)
			}
			out[i] = j
		}
	}
	return out, nil
}

// perPeer is the CPU that a peer adds to that of an agent without any.
func perPeer(j, base Join) time.Duration {
	return (j.Weftd.CPU - base.Weftd.CPU) / time.Duration(max(j.Peers, 1))
}

// sheet is the table.
type sheet struct{ w *tabwriter.Writer }

func (t *sheet) row(cells ...string) {
	var row [6]string // all of them, or the columns below do not line up
	copy(row[:], cells)
	fmt.Fprintln(t.w, strings.Join(row[:], "\t"))
}

// ratio prints a time, its floor, their ratio and whether it is within bound.
func (t *sheet) ratio(what string, got, floor time.Duration, bound float64) {
	r := float64(got) / float64(max(floor, 1))
	word, limit := "", ""
	if bound > 0 {
		limit = fmt.Sprintf("<= %.2f", bound)
		word = verdict(r <= bound)
	}
	t.row(what, round(got), round(floor), fmt.Sprintf("%.2f", r), limit, word)
}

// limit prints a figure with an absolute bound.
func (t *sheet) limit(what string, got, bound float64, unit string) {
	t.row(what, strings.TrimSpace(fmt.Sprintf("%.4g %s", got, unit)), "", "", strings.TrimSpace(fmt.Sprintf("<= %g %s", bound, unit)), verdict(got <= bound))
}

func verdict(ok bool) string {
	if ok {
		return "ok"
	}
	return "OVER"
}

func round(d time.Duration) string {
	switch {
	case d > 10*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d > 10*time.Microsecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.String()
}
