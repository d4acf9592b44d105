package lab

import (
	"fmt"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Report is what a mesh of probes found.
type Report struct {
	Duration time.Duration
	Flows    []FlowReport
}

// Total adds up all flows. Its round-trip times are the extremes: the
// smallest minimum, the median of medians, the largest of the others.
func (r Report) Total() FlowReport {
	var t FlowReport
	var medians []time.Duration
	for i, f := range r.Flows {
		t.Sent += f.Sent
		t.Received += f.Received
		t.Lost += f.Lost
		t.LostReplies += f.LostReplies
		t.Refused += f.Refused
		t.Late += f.Late
		t.Reordered += f.Reordered
		t.Duplicated += f.Duplicated
		t.LongestGap = max(t.LongestGap, f.LongestGap)
		t.RTT.P99, t.RTT.Max = max(t.RTT.P99, f.RTT.P99), max(t.RTT.Max, f.RTT.Max)
		if i == 0 || f.RTT.Min < t.RTT.Min {
			t.RTT.Min = f.RTT.Min
		}
		if f.RTT.Median > 0 {
			medians = append(medians, f.RTT.Median)
		}
		if f.Err != nil {
			t.Err = f.Err
		}
	}
	t.RTT.Median = summarize(medians).Median
	return t
}

// Clean reports whether nothing at all was lost, in either direction.
func (r Report) Clean() bool {
	t := r.Total()
	return t.Lost == 0 && t.LostReplies == 0
}

// Flow returns the report of one direction.
func (r Report) Flow(from, to string, f fabric.Family) (FlowReport, bool) {
	i := slices.IndexFunc(r.Flows, func(x FlowReport) bool { return x.From == from && x.To == to && x.Family == f })
	if i < 0 {
		return FlowReport{}, false
	}
	return r.Flows[i], true
}

// shownLosses is as many lines as anybody reads.
const shownLosses = 8

// Losses lists the flows that lost something, one line each; of many the
// first few.
func (r Report) Losses() []string {
	var out []string
	for _, f := range r.Flows {
		if f.Lost == 0 && f.LostReplies == 0 {
			continue
		}
		line := fmt.Sprintf("%s -> %s %s: lost %d of %d (%d in a row from number %d, %d refused by the sender's kernel), %d answers lost",
			f.From, f.To, f.Family, f.Lost, f.Sent, f.LongestGap, f.GapFrom, f.Refused, f.LostReplies)
		if f.Err != nil {
			line += ": " + f.Err.Error()
		}
		out = append(out, line)
	}
	if more := len(out) - shownLosses; more > 0 {
		out = append(out[:shownLosses], fmt.Sprintf("and %d more of %d flows", more, len(r.Flows)))
	}
	return out
}

// Summary is the total in one line of less than 80 columns; the round trip is
// the median and the worst.
func (r Report) Summary() string {
	t := r.Total()
	return fmt.Sprintf("%d sent, %d lost, %d late, %d reordered, %d doubled; RTT %.2f, worst %.1f ms",
		t.Sent, t.Lost+t.LostReplies, t.Late, t.Reordered, t.Duplicated, millis(t.RTT.Median), millis(t.RTT.Max))
}

// Matrix draws a table for one family: a row per sender, a column per
// receiver, in each cell the median round trip in milliseconds, or what share
// was lost.
func (r Report) Matrix(f fabric.Family) string {
	var names []string
	cells := map[[2]string]FlowReport{}
	for _, x := range r.Flows {
		if x.Family != f {
			continue
		}
		cells[[2]string{x.From, x.To}] = x
		for _, n := range []string{x.From, x.To} {
			if !slices.Contains(names, n) {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 8, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "%s\t%s\t\n", f, strings.Join(names, "\t"))
	for _, from := range names {
		fmt.Fprintf(w, "%s\t", from)
		for _, to := range names {
			x, ok := cells[[2]string{from, to}]
			fmt.Fprintf(w, "%s\t", cell(x, ok))
		}
		fmt.Fprintln(w)
	}
	w.Flush()
	return b.String()
}

func cell(x FlowReport, ok bool) string {
	lost := x.Lost + x.LostReplies
	switch {
	case !ok:
		return "."
	case x.Received == 0 || lost >= x.Sent:
		return "none"
	case lost > 0:
		return fmt.Sprintf("-%.3g%%", 100*float64(lost)/float64(x.Sent))
	}
	return fmt.Sprintf("%.2f", float64(x.RTT.Median.Microseconds())/1000)
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
