package lab

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab/topologies"
)

// full probes from one host to another with packets of a size, bytes.
func full(ctx context.Context, t *testing.T, from, to *Host, size int) Report {
	t.Helper()
	r, err := Probe(ctx, []Endpoint{from.Endpoint(), to.Endpoint()},
		ProbeOptions{Rate: 100, From: from.Spec.Name, Packet: size, Drain: 300 * time.Millisecond}, 200*time.Millisecond)
	must(t, err)
	return r
}

// TestShrunkenLinkTells: whoever sends what no longer fits is told, and cuts
// it up from then on; where the message is swallowed, nothing arrives.
func TestShrunkenLinkTells(t *testing.T) {
	t.Parallel()
	ctx, l := testContext(t), bareLab(t, Topology{})
	h1, h3 := l.Host("h1"), l.Host("h3")
	wantClean(t, "full size", full(ctx, t, h1, h3, 1500))
	must(t, l.Switch("r2").SetLinkMTU(1400))
	if r := full(ctx, t, h1, h3, 1500); r.Clean() || !errors.Is(r.Total().Err, unix.EMSGSIZE) && r.Total().Received == 0 {
		t.Errorf("want the first packets lost and the others cut up: %s, %v", r.Summary(), r.Total().Err)
	}
	wantClean(t, "what is cut up", full(ctx, t, h1, h3, 1500))

	h2 := l.Host("h2") // which has been told nothing yet
	for _, s := range l.Switches() {
		_, err := s.SwallowTooBig(ctx)
		must(t, err)
	}
	if r := full(ctx, t, h2, h3, 1500); r.Total().Received != 0 {
		t.Errorf("too big and nobody says so: %s", r.Summary())
	}
	wantClean(t, "what fits", full(ctx, t, h2, h3, 1400))
}

// TestSilentEater: what is too big is lost without a word, segments of TCP too,
// and what is not passes.
func TestSilentEater(t *testing.T) {
	t.Parallel()
	ctx, l := testContext(t), bareLab(t, Topology{})
	h1, h3 := l.Host("h1"), l.Host("h3")
	eater, err := l.Switch("r2").SwallowBig(ctx, 1400)
	must(t, err)
	r := full(ctx, t, h1, h3, 1401)
	if n, err := eater.Dropped(ctx); err != nil || r.Total().Received != 0 || n != r.Total().Sent || n == 0 {
		t.Errorf("%s; dropped %d, %v", r.Summary(), n, err)
	}
	wantClean(t, "what fits", full(ctx, t, h1, h3, 1400))
	must(t, eater.Remove(ctx))
	wantClean(t, "without it", full(ctx, t, h1, h3, 1500))
	s, err := StartTCP(ctx, h1.Namespace, h3.Namespace, h3.Underlay.IPv4, 8<<20)
	must(t, err)
	eater, err = l.Switch("r2").SwallowBig(ctx, 1500)
	must(t, err)
	must(t, await(ctx, "1 MiB", func() error {
		if s.Received() < 1<<20 {
			return errors.New("not yet")
		}
		return nil
	}))
	if n, err := eater.Dropped(ctx); err != nil || n != 0 {
		t.Errorf("%d segments dropped that fit, %v", n, err)
	}
	must(t, eater.Remove(ctx))
	eater, err = l.Switch("r2").SwallowBig(ctx, 1499)
	must(t, err)
	must(t, await(ctx, "a full segment to be eaten", func() error {
		n, err := eater.Dropped(ctx)
		if err == nil && n == 0 {
			err = errors.New("none")
		}
		return err
	}))
	must(t, eater.Remove(ctx))
	if r, err := s.Stop(); err != nil || r.Retransmits == 0 || r.Sent != r.Received {
		t.Errorf("%+v, %v: want what was eaten sent again", r, err)
	}
}

// TestFirewallCounts: what fits a match is dropped and counted, in both
// families, and the rest passes.
func TestFirewallCounts(t *testing.T) {
	t.Parallel()
	ctx, l := testContext(t), bareLab(t, Topology{})
	h1, h3 := l.Host("h1"), l.Host("h3")
	f, err := h3.Drop(ctx, []string{"input"}, "udp dport 7117 meta protocol ip", "udp dport 4789")
	must(t, err)
	r := full(ctx, t, h1, h3, 100)
	v4, _ := r.Flow("h1", "h3", fabric.IPv4)
	v6, _ := r.Flow("h1", "h3", fabric.IPv6)
	if n, err := f.Dropped(ctx); err != nil || n != v4.Sent || v4.Received != 0 || v6.Lost != 0 {
		t.Errorf("dropped %d, %v: %s", n, err, r.Summary())
	}
	must(t, f.Remove(ctx))
	wantClean(t, "without it", full(ctx, t, h1, h3, 100))
}

// TestMixedUnderlay: hosts reach each other before a switch has said a word of
// BGP, and when none does any more.
func TestMixedUnderlay(t *testing.T) {
	t.Parallel()
	topo, err := ParseTopology(topologies.MTUs)
	must(t, err)
	ctx, l := testContext(t), bareLab(t, topo)
	reach := func(when string) {
		t.Helper()
		r, err := Probe(ctx, hostEndpoints(l), ProbeOptions{Packet: 1500}, 100*time.Millisecond)
		must(t, err)
		wantClean(t, when, r)
	}
	reach("before")
	must(t, l.StartSwitches(ctx))
	sessions := func(n int) {
		t.Helper()
		must(t, await(ctx, "the switches' sessions", func() error {
			for _, f := range fabric.Families {
				out, err := l.Switch("s1").Command(ctx, "show bgp "+f.String()+" unicast summary established json")
				if err != nil {
					return err
				}
				if strings.Count(out, `"state":"Established"`) != n {
					return errors.New(out)
				}
			}
			return nil
		}))
	}
	sessions(len(l.tors))
	must(t, l.CutOff(ctx, l.Switch("t1"), true))
	sessions(len(l.tors) - 1)
	must(t, l.CutOff(ctx, l.Switch("t1"), false))
	sessions(len(l.tors))
	reach("with BGP")
	for _, s := range l.Switches() {
		must(t, s.Stop(ctx))
	}
	reach("after")
	wantClean(t, "large frames", full(ctx, t, l.Host("h2"), l.Host("h3"), 9000))
}
