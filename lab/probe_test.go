package lab

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

func TestArrivals(t *testing.T) {
	type want struct{ Received, Reordered, Duplicated, Gap, From int }
	for _, tt := range []struct {
		name string
		sent uint64
		in   []uint64
		want want
	}{
		{"in order", 3, []uint64{0, 1, 2}, want{3, 0, 0, 0, 0}},
		{"one lost", 3, []uint64{0, 2}, want{2, 0, 0, 1, 1}},
		{"swapped", 3, []uint64{0, 2, 1}, want{3, 1, 0, 0, 0}},
		{"one very late", 4, []uint64{1, 2, 3, 0}, want{4, 1, 0, 0, 0}},
		{"reversed", 4, []uint64{3, 2, 1, 0}, want{4, 3, 0, 0, 0}},
		{"doubled", 2, []uint64{0, 0, 1, 0}, want{2, 0, 2, 0, 0}},
		{"a late double is no reordering", 3, []uint64{0, 1, 2, 0}, want{3, 0, 1, 0, 0}},
		{"nothing", 5, nil, want{0, 0, 0, 5, 0}},
		{"gap over a word's end", 130, []uint64{0, 62, 66, 129}, want{4, 0, 0, 62, 67}},
		{"the last ones lost", 70, []uint64{0, 1}, want{2, 0, 0, 68, 2}},
	} {
		var a arrivals
		for _, seq := range tt.in {
			a.add(seq)
		}
		got := want{Received: a.received, Reordered: a.reordered, Duplicated: a.duplicated}
		got.Gap, got.From = a.longestGap(tt.sent)
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
	}
}

// TestProbeCountsWhatTheKernelDropped loses packets on the way and compares
// with the kernel's own count of them, in each direction.
func TestProbeCountsWhatTheKernelDropped(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ctx := testContext(t)
	h1, h3 := l.Host("h1"), l.Host("h3")
	// Of what comes to h1 every third packet is dropped, of both kinds.
	rules := `table inet loss {
		chain in { type filter hook input priority 0; udp dport 7117 numgen inc mod 3 == 0 counter drop; }
	}`
	if _, err := h1.RunInput(ctx, []byte(rules), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	r, err := Probe(ctx, []Endpoint{h1.Endpoint(), h3.Endpoint()}, ProbeOptions{Rate: 200, Drain: 500 * time.Millisecond}, 500*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	lost := 0
	for _, f := range r.Flows {
		toH1, other := f.Lost, f.LostReplies
		if f.From == "h1" {
			toH1, other = other, toH1
		}
		if other != 0 {
			t.Errorf("%s -> %s %s: %d lost on a path that loses nothing", f.From, f.To, f.Family, other)
		}
		lost += toH1
	}
	if want := dropped(ctx, t, h1); lost != want || want == 0 {
		t.Errorf("%d lost, the kernel dropped %d; %s", lost, want, r.Summary())
	}
}

// dropped reads the counter of the rule.
func dropped(ctx context.Context, t *testing.T, h *Host) int {
	t.Helper()
	out, err := h.Run(ctx, "nft", "list", "table", "inet", "loss")
	if err != nil {
		t.Fatal(err)
	}
	m := regexp.MustCompile(`counter packets (\d+)`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no counter in %s", out)
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

// TestProbeCountsDuplicates sends each packet to h3 twice.
func TestProbeCountsDuplicates(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ctx := testContext(t)
	rules := fmt.Sprintf(`table ip twice {
		chain out { type route hook output priority 0; udp dport 7117 dup to %s device eth0; }
	}`, torSegment(1, fabric.IPv4).gateway)
	if _, err := l.Host("h1").RunInput(ctx, []byte(rules), "nft", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	ends := []Endpoint{l.Host("h1").Endpoint(), l.Host("h3").Endpoint()}
	r, err := Probe(ctx, ends, ProbeOptions{From: "h1"}, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := r.Flow("h1", "h3", fabric.IPv4); f.Duplicated < f.Sent || f.Lost != 0 {
		t.Errorf("%+v: want every request doubled and none lost", f)
	}
}

func TestProbeNotesTheSenderSeen(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ends := []Endpoint{l.Host("h1").Endpoint(), l.OutsideEndpoint()}
	r, err := Probe(testContext(t), ends, ProbeOptions{From: "h1"}, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Flows) != 2 {
		t.Fatalf("%d flows, want one per family from h1 alone", len(r.Flows))
	}
	for _, f := range r.Flows {
		if want := l.Host("h1").Underlay.Get(f.Family); f.SeenFrom != want {
			t.Errorf("%s: seen from %s, want %s", f.Family, f.SeenFrom, want)
		}
	}
}

func TestProbeReportsRefusal(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ctx := testContext(t)
	if err := l.Host("h1").Tamper(ctx, "ip", "route", "replace", "unreachable", "default"); err != nil {
		t.Fatal(err)
	}
	ends := []Endpoint{l.Host("h1").Endpoint(), l.Host("h3").Endpoint()}
	r, err := Probe(ctx, ends, ProbeOptions{From: "h1", Drain: 50 * time.Millisecond}, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if f, _ := r.Flow("h1", "h3", fabric.IPv4); f.Sent == 0 || f.Refused != f.Sent || f.Lost != f.Sent || f.Err == nil {
		t.Errorf("%+v: want all refused, with the error", f)
	}
}

func TestTCPStreamCountsRetransmissions(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ctx := testContext(t)
	h1, h3 := l.Host("h1"), l.Host("h3")
	s, err := StartTCP(ctx, h1.Namespace, h3.Namespace, h3.Underlay.IPv6, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	arrived := func(more int64) {
		t.Helper()
		from := s.Received()
		if err := await(ctx, "data", func() error {
			if s.Received() < from+more {
				return fmt.Errorf("%d bytes since", s.Received()-from)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	arrived(64 << 10)
	if err := h3.Swallow(true); err != nil {
		t.Fatal(err)
	}
	timer := time.NewTimer(300 * time.Millisecond) // longer than the smallest retransmission timeout
	<-timer.C
	if err := h3.Swallow(false); err != nil {
		t.Fatal(err)
	}
	arrived(64 << 10)
	r, err := s.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if r.Received != r.Sent || r.Retransmits == 0 || r.LongestStall < 200*time.Millisecond || r.PathMTU != 1500 {
		t.Errorf("%+v: want all of it, some of it twice, after a stall", r)
	}
}

func TestMatrix(t *testing.T) {
	flow := func(from, to string, sent, received int, rtt time.Duration) FlowReport {
		return FlowReport{From: from, To: to, Family: fabric.IPv4, Sent: sent, Received: received, Lost: sent - received, RTT: RTT{Median: rtt}}
	}
	r := Report{Flows: []FlowReport{
		flow("a", "b", 10, 10, 120*time.Microsecond), flow("b", "a", 10, 9, time.Millisecond),
		flow("a", "c", 10, 0, 0), flow("c", "a", 10, 10, 3*time.Millisecond),
	}}
	want := "" +
		"    ipv4       a       b       c\n" +
		"       a       .    0.12    none\n" +
		"       b    -10%       .       .\n" +
		"       c    3.00       .       .\n"
	if d := cmp.Diff(want, r.Matrix(fabric.IPv4)); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
	if _, ok := r.Flow("a", "b", fabric.IPv6); ok {
		t.Error("found a flow that is not there")
	}
}
