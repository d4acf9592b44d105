package lab

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
)

// hostEndpoints are all hosts and the machine outside.
func hostEndpoints(l *Lab) []Endpoint {
	out := []Endpoint{l.OutsideEndpoint()}
	for _, h := range l.Hosts {
		out = append(out, h.Endpoint())
	}
	return out
}

func TestUnderlayReachesEverybody(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{
		Racks: []Rack{{Name: "r1"}, {Name: "r2", MTU: 9000}},
		Hosts: []HostSpec{
			{Name: "h1"}, {Name: "h2", Families: []string{"ipv4"}},
			{Name: "h3", Rack: "r2"}, {Name: "h4", Rack: "r2", Families: []string{"ipv6"}, MTU: 1400},
		},
	})
	r, err := Probe(testContext(t), hostEndpoints(l), ProbeOptions{}, 200*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	// Four ends have an address in each family: 12 directions.
	if len(r.Flows) != 24 || !r.Clean() || r.Total().Sent == 0 {
		t.Errorf("%d flows, %s\n%s", len(r.Flows), r.Summary(), strings.Join(r.Losses(), "\n"))
	}
	for name, want := range map[string]string{"h1": "1500", "h3": "9000", "h4": "1400"} {
		got, err := l.Host(name).Run(testContext(t), "cat", "/proc/sys/net/ipv6/conf/eth0/mtu")
		if err != nil || strings.TrimSpace(got) != want {
			t.Errorf("mtu of %s: %q, %v; want %s", name, got, err, want)
		}
	}
}

func TestUnderlayKnowsNoPodNetwork(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	for _, n := range []*Namespace{l.Outside(), l.spines[0].Namespace, l.tors[0].Namespace} {
		if out, err := n.Run(testContext(t), "ip", "route", "get", "10.244.0.1"); err == nil && strings.Contains(out, "10.244.0.1 dev") {
			t.Errorf("%s has a connected route to a pod network: %s", n.Name, out)
		}
	}
}

func TestCutAndRestore(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	ctx := testContext(t)
	reach := func() bool {
		r, err := Probe(ctx, []Endpoint{l.Host("h1").Endpoint(), l.Host("h3").Endpoint()}, ProbeOptions{Drain: 300 * time.Millisecond}, 50*time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return r.Clean()
	}
	connected := func(when string) {
		t.Helper()
		if err := await(ctx, "a connection "+when, func() error {
			if !reach() {
				return errors.New("there is none")
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	}
	h := l.Host("h3")
	for _, f := range []struct {
		name          string
		cut, restore  func() error
		losesCarriers bool
	}{
		{"link", h.Cut, h.Restore, true},
		{"frames", func() error { return h.Swallow(true) }, func() error { return h.Swallow(false) }, false},
		{"rack", func() error { return l.CutRack("r2", true) }, func() error { return l.CutRack("r2", false) }, false},
	} {
		connected("before " + f.name)
		if err := f.cut(); err != nil {
			t.Fatal(err)
		}
		if reach() {
			t.Errorf("%s: connection in spite of the cut", f.name)
		}
		link, err := h.link(uplink)
		if err != nil {
			t.Fatal(err)
		}
		if got := link.Attrs().OperState.String() != "up"; got != f.losesCarriers {
			t.Errorf("%s: carrier lost %v, want %v", f.name, got, f.losesCarriers)
		}
		if err := f.restore(); err != nil {
			t.Fatal(err)
		}
	}
	connected("after everything was restored")
}

func TestAddHostToRunningLab(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	h, err := l.AddHost(HostSpec{Name: "h4", Rack: "r2"})
	if err != nil {
		t.Fatal(err)
	}
	r, err := Probe(testContext(t), []Endpoint{h.Endpoint(), l.Host("h1").Endpoint()}, ProbeOptions{}, 50*time.Millisecond)
	if err != nil || !r.Clean() {
		t.Errorf("%v, %v", r.Losses(), err)
	}
	if _, err := l.AddHost(HostSpec{Name: "h4"}); err == nil {
		t.Error("a second host of the same name was accepted")
	}
}

func TestDownLeavesNothing(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	cmd, err := l.Host("h1").sleeper()
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Down(); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err == nil {
		t.Error("a process in a host's namespace outlived the lab")
	}
	if left, _ := filepath.Glob(filepath.Join(netnsDir, namespacePrefix(l.Name)+"*")); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := os.Stat(l.Dir()); err == nil {
		t.Errorf("%s is left", l.Dir())
	}
}

func TestPlanStaysInBenchmarkRanges(t *testing.T) {
	in := fabric.PerFamily[netip.Prefix]{IPv4: netip.MustParsePrefix("198.18.0.0/15"), IPv6: netip.MustParsePrefix("2001:2::/48")}
	seen := map[netip.Addr]bool{}
	note := func(f fabric.Family, a netip.Addr) {
		if !in.Get(f).Contains(a) || seen[a] {
			t.Errorf("%s is outside %s or used twice", a, in.Get(f))
		}
		seen[a] = true
	}
	for _, f := range fabric.Families {
		for k := linkOutside; k < linkEtcd+maxMembers; k++ {
			note(f, leafAddr(k, f))
			note(f, linkSegment(k, 1, f).gateway)
		}
		for i := 1; i <= maxRacks; i++ {
			for t := 1; t <= maxToRs; t++ {
				n := torNumber(i, t)
				note(f, torSegment(n, f).gateway)
				for j := 1; j <= maxHostsPerRack; j++ {
					note(f, hostAddr(n, j, f))
				}
				for s := 1; s <= maxSpines; s++ {
					note(f, farAddr(linkToR+n, s, f))
					note(f, linkSegment(linkToR+n, s, f).gateway)
				}
			}
		}
	}
}

// sleeper starts a process in the namespace that does nothing for long.
func (n *Namespace) sleeper() (*exec.Cmd, error) {
	cmd := exec.Command("sleep", "600")
	return cmd, n.Start(cmd)
}
