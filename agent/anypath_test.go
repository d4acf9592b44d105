package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// hearing is a prober that knows what the test says; what it was not told of
// answers at full size.
type hearing struct {
	found   map[probe.Key]probe.Verdict
	watched map[probe.Key]probe.Target
}

func (a *hearing) Watch(targets []probe.Target) {
	a.watched = map[probe.Key]probe.Target{}
	for _, t := range targets {
		a.watched[t.Key] = t
	}
}

func (a *hearing) Touch(peer fabric.NodeID, f fabric.Family, targets []probe.Target) {
	for k := range a.watched {
		if k.Peer == peer && k.Family == f {
			delete(a.watched, k)
		}
	}
	for _, t := range targets {
		a.watched[t.Key] = t
	}
}

func (a *hearing) Verdict(k probe.Key) probe.Verdict {
	if v, said := a.found[k]; said {
		return v
	}
	return probe.Verdict{State: probe.Answers}
}

func (a *hearing) Reduced() (out []probe.Finding) {
	for k, v := range a.found {
		if t, ok := a.watched[k]; ok && v.MTU != 0 && v.MTU < t.Full {
			out = append(out, probe.Finding{Key: k, Verdict: v, Full: t.Full})
		}
	}
	return out
}

// moment is a clock that the test sets.
type moment struct{ at time.Time }

func (m *moment) now() time.Time       { return m.at }
func (m *moment) pass(d time.Duration) { m.at = m.at.Add(d) }
func watch(l *loop, m *moment, p *hearing) {
	l.clock, l.want.ways.watch.prober, l.want.ways.verdict = m.now, p, p.Verdict
}

// anyPath is a host with two uplinks in a fabric whose paths are the usual ones
// where it routes, with peers on other segments.
func anyPath(t *testing.T, peers ...*fabric.Peer) (*loop, *told, *hearing, *moment) {
	t.Helper()
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	p, m := &hearing{found: map[probe.Key]probe.Verdict{}}, &moment{time.Now()}
	watch(l, m, p)
	l.in.setSnapshot(anyPathSnapshot(peers...))
	return l, from, p, m
}

func anyPathSnapshot(peers ...*fabric.Peer) *fabric.Snapshot {
	s := routingSnapshot(peers...)
	s.Spec.Paths = nil
	return s
}

// hear lets the loop go round because the prober has news.
func (l *loop) hear(t *testing.T) *summary {
	t.Helper()
	l.want.ways.watch.heard.Store(true)
	return l.roundWant(t, true)
}

// pathsOf says by which path each peer is reached, and that the kernel agrees.
func (l *loop) pathsOf(t *testing.T) string {
	t.Helper()
	var out []string
	for _, p := range l.peers() {
		row := p.Name + " " + p.Path
		if !p.Programmed && p.Path != "none" {
			row += " (" + p.Reason + ")"
		}
		for _, s := range p.Subnets {
			line := strings.TrimSpace(testns.Run(t, "ip", "route", "show", s.String(), "metric", "158"))
			on := "none"
			switch {
			case strings.Contains(line, "dev weft."):
				on = "vxlan"
			case strings.HasPrefix(line, "unreachable"):
				on = "unreachable"
			case strings.Contains(line, "via 198.18.9") || strings.Contains(line, "via 198.18.1.2"):
				on = "direct"
			case line != "":
				on = "bgp"
			}
			if on != p.Path {
				row += fmt.Sprintf(" but the kernel has %q", line)
			}
		}
		out = append(out, row)
	}
	return strings.Join(out, ", ")
}

func (l *loop) pathsWant(t *testing.T, when, want string) {
	t.Helper()
	if diff := cmp.Diff(want, l.pathsOf(t)); diff != "" {
		t.Errorf("%s: -want +got:\n%s", when, diff)
	}
}

// round1 is a round that need not leave the node ready.
func (l *loop) round1(t *testing.T) *summary {
	t.Helper()
	l.round()
	return l.summary.Load()
}
