package lab

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/lab/topologies"
)

// switchesOf builds a topology's underlay and starts its switches.
func switchesOf(t *testing.T, file []byte) *Lab {
	t.Helper()
	topo, err := ParseTopology(file)
	if err != nil {
		t.Fatal(err)
	}
	l := bareLab(t, topo)
	ctx := testContext(t)
	t.Cleanup(func() {
		if t.Failed() {
			showSwitches(t, l)
		}
	})
	must(t, l.StartSwitches(ctx))
	must(t, l.WaitUnderlay(ctx))
	return l
}

// TestSwitchesMakeAnUnderlay: FRR and BIRD as ToRs and spines route between
// racks, and go on without any one ToR, by link and by daemon.
func TestSwitchesMakeAnUnderlay(t *testing.T) {
	t.Parallel()
	l := switchesOf(t, topologies.LeafSpine)
	ctx := testContext(t)
	for _, name := range []string{"t1a", "t2b"} {
		tor := l.Switch(name)
		must(t, tor.Cut())
		must(t, waitClean(ctx, "hosts to reach each other without "+name, endpointsBut(l, tor)))
		must(t, tor.Restore())
		must(t, l.WaitUnderlay(ctx))
	}
	for _, name := range []string{"t2a", "t3b", "s2"} {
		s := l.Switch(name)
		must(t, s.Kill())
		must(t, s.Start(ctx))
		must(t, l.WaitUnderlay(ctx))
		must(t, s.Stop(ctx))
		must(t, s.Start(ctx))
		must(t, l.WaitUnderlay(ctx))
	}
}

// endpointsBut are the hosts' addresses that are not on a ToR's segment.
func endpointsBut(l *Lab, cut *Switch) []Endpoint {
	out := []Endpoint{l.OutsideEndpoint()}
	for _, h := range l.Hosts {
		for _, tor := range l.rackToRs(h.rack) {
			if tor != cut {
				out = append(out, Endpoint{Name: h.Spec.Name + "/" + uplinkName(tor.place), Space: h.Namespace, Addrs: h.addrs(tor.place)})
			}
		}
	}
	return out
}

// showSwitches puts into the test's log what the switches have to say.
func showSwitches(t *testing.T, l *Lab) {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	ask := map[string][]string{
		KindFRR:  {"show running-config", "show bgp summary", "show bgp ipv4 unicast", "show bgp ipv6 unicast"},
		KindBIRD: {"show protocols", "show route"},
	}
	for _, s := range l.Switches() {
		for _, words := range ask[s.Spec.Kind] {
			out, err := s.Command(ctx, words)
			t.Logf("%s: %s: %v\n%s", s.Spec.Name, words, err, out)
		}
		for _, cmd := range []string{"ip -4 route", "ip -6 route"} {
			words := strings.Fields(cmd)
			out, err := s.Run(ctx, words[0], words[1:]...)
			t.Logf("%s: %s: %v\n%s", s.Spec.Name, cmd, err, out)
		}
		for _, p := range s.daemonProcesses() {
			log, _ := os.ReadFile(p.LogFile())
			t.Logf("%s:\n%s", p.Name, log[max(0, len(log)-3000):])
		}
	}
}

func (s *Switch) daemonProcesses() []*Process {
	if s.daemon == nil {
		return nil
	}
	return s.daemon.processes()
}
