package switchconf

import (
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testbgp"
	"github.com/weft-net/weft/internal/testns"
)

// TestParsersAccept: the real FRR and the real BIRD read what is written for
// them, all of it.
func TestParsersAccept(t *testing.T) {
	testns.New(t)
	testbgp.EnterFRRsGroup(t)
	for _, s := range scenarios() {
		for kind, check := range map[string]func(file string) string{FRR: checkFRR, SONiC: checkFRR, BIRD: checkBIRD} {
			if complaint := check(filepath.Join("testdata", s.name+"."+kind)); complaint != "" {
				t.Errorf("%s.%s: %s", s.name, kind, complaint)
			}
		}
	}
	if checkFRR(filepath.Join("testdata", "rack.bird")) == "" || checkBIRD(filepath.Join("testdata", "rack.frr")) == "" {
		t.Error("the checks accept anything")
	}
}

// checkFRR returns what FRR's shell and its bgpd have to say against a file.
// bgpd exits with 0 whatever it reads.
func checkFRR(file string) string {
	if out, err := exec.Command("vtysh", "--config_dir", filepath.Dir(file), "-C", "-f", file).CombinedOutput(); err != nil {
		return fmt.Sprintf("vtysh: %v: %s", err, out)
	}
	out, err := exec.Command("/usr/lib/frr/bgpd", "-C", "-f", file, "-u", "root", "-g", "root").CombinedOutput()
	if err != nil {
		return fmt.Sprintf("bgpd: %v: %s", err, out)
	}
	return strings.TrimSpace(strings.ReplaceAll(string(out), "Graceful restart configuration changed, reset all peers to take effect", ""))
}

func checkBIRD(file string) string {
	if out, err := exec.Command("/usr/sbin/bird", "-p", "-c", file).CombinedOutput(); err != nil {
		return fmt.Sprintf("bird: %v: %s", err, out)
	}
	return ""
}

// session is a node's configuration in gobgpd's own form.
func session(n Node, asn uint32, local, far netip.Addr, extra string) string {
	return fmt.Sprintf(`[global.config]
  as = %d
  router-id = "%s"
[[neighbors]]
  [neighbors.config]
    neighbor-address = "%s"
    peer-as = 65101
    %s
  [neighbors.timers.config]
    connect-retry = 1
    idle-hold-time-after-reset = 1
  [neighbors.transport.config]
    local-address = "%s"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv4-unicast"
  [[neighbors.afi-safis]]
    [neighbors.afi-safis.config]
      afi-safi-name = "ipv6-unicast"
`, asn, n.Underlay.IPv4, far, extra, local)
}

// segment makes the switch's segment and the addresses it has there.
func segment(t *testing.T, p Place) {
	t.Helper()
	testns.New(t)
	testbgp.EnterFRRsGroup(t)
	testns.Run(t, "ip", "link", "add", "seg", "type", "bridge")
	for _, a := range p.Addrs {
		testns.Run(t, "sh", "-c", addAddress(a.String(), "seg"))
	}
	testns.Run(t, "ip", "link", "set", "seg", "up")
}

// run starts a switch with what is written for it.
func run(t *testing.T, kind string, f Fabric, p Place) tor {
	t.Helper()
	sw, err := For(f, p)
	if err != nil {
		t.Fatal(err)
	}
	text, err := Render(kind, sw)
	if err != nil {
		t.Fatal(err)
	}
	text = strings.ReplaceAll(text, Placeholder("tors"), "secret")
	if kind == BIRD {
		return bird{testbgp.StartBIRD(t, text)}
	}
	return frr{testbgp.StartFRR(t, text)}
}

// TestSessions: real switches with generated configuration talk to nodes of
// another make: over GTSM and MD5, both families on one session, and take
// what the fabric may announce and nothing else.
func TestSessions(t *testing.T) {
	for _, kind := range []string{FRR, BIRD} {
		t.Run(kind, func(t *testing.T) {
			p := place("198.18.1.1/24", "2001:db8:1::1/64")
			segment(t, p)
			p.Addrs = p.Addrs[:1]
			n := node(1, 1)
			objs := objects(peer("tors", func(s *fabric.BGPPeerSpec) { s.GTSM, s.Auth.MD5File = 1, "/etc/weft/bgp/tors" }))
			objs.Prefixes = []fabric.BGPPrefix{{Name: "dns", Spec: fabric.BGPPrefixSpec{Prefixes: []netip.Prefix{netip.MustParsePrefix("192.0.2.53/32")}}}}
			h := startHost(t, 1, []string{"198.18.1.11/24", "2001:db8:1::11/64"}, session(n, 4200000011, n.Underlay.IPv4, p.Addrs[0].Addr(),
				"auth-password = \"secret\"\n  [neighbors.ttl-security.config]\n    enabled = true\n    ttl-min = 255"))
			sw := run(t, kind, Fabric{spec(), objs, []Node{n}}, p)
			for _, r := range []string{"0.0.0.0/0", "10.244.0.0/16", "10.244.11.128/25", "172.20.0.0/16", "10.244.11.0/24", "192.0.2.53/32"} {
				h.Command(t, "global", "rib", "add", r, "-a", "ipv4")
			}
			for _, r := range []string{"::/0", "fd00:10:244::/48", "fd00:10:244:11:8000::/65", "fd00:10:244:11::/64"} {
				h.Command(t, "global", "rib", "add", r, "nexthop", "2001:db8:1::11", "-a", "ipv6")
			}
			wantRoutes(t, sw, "ipv4", []string{"10.244.11.0/24", "192.0.2.53/32", "198.18.1.11"}, []string{"172.20", "10.244.0.0/16", "11.128", "0.0.0.0/0"})
			wantRoutes(t, sw, "ipv6", []string{"fd00:10:244:11::/64", "2001:db8:1::11"}, []string{"::/0", "244::/48", "/65"})
			wantKernel(t, "10.244.11.0/24", "198.18.1.11")
			wantKernel(t, "fd00:10:244:11::/64", "2001:db8:1::11")
		})
	}
}

// TestSessionsOfOneAS: nodes of one AS that come from anywhere on a segment of
// IPv6 reach each other's IPv4 networks.
func TestSessionsOfOneAS(t *testing.T) {
	for _, kind := range []string{FRR, BIRD} {
		t.Run(kind, func(t *testing.T) {
			p := place("2001:db8:1::1/64")
			p.RouterID, p.Listen = netip.MustParseAddr("198.18.255.1"), true
			segment(t, p)
			s := spec()
			s.BGP.ASN = "64512"
			sw := run(t, kind, Fabric{s, objects(peer("tors", nil)), nil}, p)
			var hosts []host
			for i := 1; i <= 2; i++ {
				addr := netip.MustParseAddr(fmt.Sprintf("2001:db8:1::1%d", i))
				h := startHost(t, i, []string{addr.String() + "/64"}, session(node(1, i), 64512, addr, p.Addrs[0].Addr(), ""))
				h.Command(t, "global", "rib", "add", fmt.Sprintf("10.244.1%d.0/24", i), "nexthop", addr.String(), "-a", "ipv4")
				hosts = append(hosts, h)
			}
			wantRoutes(t, sw, "ipv4", []string{"10.244.11.0/24", "10.244.12.0/24"}, nil)
			wantKernel(t, "10.244.11.0/24", "2001:db8:1::11")
			testbgp.Poll(t, "the second node's route at the first", func() (bool, string) {
				out, err := hosts[0].In("/usr/bin/gobgp", "global", "rib", "10.244.12.0/24")
				return err == nil && strings.Contains(out, "65101 65101"), out
			})
		})
	}
}

// wantRoutes waits for routes at a switch, and fails for those that must not
// be there.
func wantRoutes(t *testing.T, sw tor, family string, want, never []string) {
	t.Helper()
	testbgp.Poll(t, fmt.Sprint(family, " routes ", want), func() (bool, string) {
		got := sw.routes(family)
		for _, w := range want {
			if !strings.Contains(got, w) {
				return false, got
			}
		}
		return true, ""
	})
	got := sw.routes(family)
	for _, n := range never {
		if strings.Contains(got, n) {
			t.Errorf("%s: %s got in:\n%s", family, n, got)
		}
	}
}

// wantKernel waits for a route in the switch's kernel.
func wantKernel(t *testing.T, prefix, via string) {
	t.Helper()
	testbgp.Poll(t, prefix+" in the kernel", func() (bool, string) {
		out, err := exec.Command("ip", "route", "show", prefix).CombinedOutput()
		if strings.Contains(prefix, ":") {
			out, err = exec.Command("ip", "-6", "route", "show", prefix).CombinedOutput()
		}
		return err == nil && strings.Contains(string(out), via), string(out)
	})
}
