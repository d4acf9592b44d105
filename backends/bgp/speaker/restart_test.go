package speaker

import (
	"fmt"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/internal/testbgp"
)

// monitor writes down every change of the switch's routes.
func monitor(t *testing.T) *lockedBuffer {
	t.Helper()
	out := &lockedBuffer{}
	cmd := exec.Command("ip", "monitor", "route")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	// It listens when it says the first thing.
	testbgp.Poll(t, "ip monitor", func() (bool, string) {
		testnsRun(t, "ip", "route", "replace", "blackhole", "10.255.0.1/32")
		testnsRun(t, "ip", "route", "delete", "blackhole", "10.255.0.1/32")
		return strings.Contains(out.String(), "10.255.0.1"), out.String()
	})
	return out
}

// Neither an orderly restart nor a crash, nor one right after the other, takes
// a route from FRR or BIRD.
func TestRestartLosesNothing(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	other := n.bird(birdConfig)
	s := n.speaker()
	d := wanted(toTor(), toBird())
	s.set(d)
	settled := func(s *child) {
		t.Helper()
		for _, key := range []string{"tors/198.18.0.1", "tors/198.18.1.1"} {
			s.established(key)
		}
		testbgp.Poll(t, "synced", func() (bool, string) { return s.call(request{Op: "synced"}).Synced, "" })
		testbgp.Poll(t, "routes", func() (bool, string) { r := s.routes(); return len(r) == 3, fmt.Sprint(r) })
	}
	settled(s)
	far.has("ipv4", "10.1.0.0/24", true)
	far.has("ipv6", "fd10:1::/64", true)
	other.has("10.1.0.0/24", true)
	testbgp.Poll(t, "routes in the kernel", func() (bool, string) {
		out := testnsRoutes(t)
		return strings.Count(out, "10.1.0.0/24 ") == 2 && strings.Contains(out, "fd10:1::/64 "), out
	})
	changes := monitor(t)
	for i, end := range []func(*child){(*child).exit, (*child).kill, (*child).kill} {
		end(s)
		if i == 2 { // a second crash before anything is settled
			s = n.speaker()
			s.set(d)
			s.kill()
		}
		s = n.speaker()
		s.set(d)
		settled(s)
		far.has("ipv4", "10.1.0.0/24", true)
		other.has("10.1.0.0/24", true)
	}
	// What is announced later arrives later: the end-of-RIB is behind us then.
	d.Announcements = append(d.Announcements, bgp.Announcement{Prefix: pfx("10.1.1.0/24")})
	s.set(d)
	far.has("ipv4", "10.1.1.0/24", true)
	other.has("10.1.1.0/24", true)
	for line := range strings.Lines(changes.String()) {
		if strings.HasPrefix(line, "Deleted") && (strings.Contains(line, "10.1.0.0/24") || strings.Contains(line, "fd10:1::/64")) {
			t.Errorf("a route was lost: %s", line)
		}
	}

	s.call(request{Op: "shutdown"})
	far.has("ipv4", "10.1.0.0/24", false)
	far.has("ipv6", "fd10:1::/64", false)
	other.has("10.1.0.0/24", false)
	if out := far.Show("show bgp neighbors 198.18.0.2"); !strings.Contains(out, "Administrative Shutdown") {
		t.Errorf("FRR was not told why:\n%s", out)
	}
}

// What all sessions share can only be changed by starting GoBGP anew, which
// loses no learnt route here and none of ours there.
func TestNewRouterID(t *testing.T) {
	t.Parallel()
	n := newNetwork(t)
	far := n.frr(torConfig("198.18.0.2", "65002"))
	s := n.speaker()
	d := wanted(toTor())
	s.set(d)
	s.established("tors/198.18.0.1")
	far.has("ipv4", "10.1.0.0/24", true)
	testbgp.Poll(t, "routes", func() (bool, string) { r := s.routes(); return len(r) == 2, fmt.Sprint(r) })
	d.Global.RouterID = netip.MustParseAddr("0.0.0.7")
	s.set(d)
	for _, c := range s.call(request{Op: "take", Most: 100}).Changes {
		t.Errorf("%v changed", c)
	}
	s.established("tors/198.18.0.1")
	testbgp.Poll(t, "the new id at FRR", func() (bool, string) {
		out := far.Show("show bgp neighbors 198.18.0.2")
		return strings.Contains(out, "remote router ID 0.0.0.7"), out
	})
	far.has("ipv4", "10.1.0.0/24", true)
	far.Show("configure terminal", "router bgp 65001", "address-family ipv4 unicast", "no network 10.9.0.0/24")
	testbgp.Poll(t, "the withdrawal", func() (bool, string) { r := s.routes(); return len(r) == 1, fmt.Sprint(r) })
}
