package speaker

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testbgp"
	"github.com/weft-net/weft/internal/testns"
)

// network is a host and a switch: the test's namespace is the switch's, with
// the daemons of other makes; the host's outlives the speakers that run in it.
// Two links: 198.18.0.1 and fd18::1 face the host's 198.18.0.2 and fd18::2 on
// eth0; 198.18.1.1 faces 198.18.1.2 on eth1.
type network struct {
	t    *testing.T
	host *testbgp.Process
}

func newNetwork(t *testing.T) *network {
	t.Helper()
	testns.New(t)
	testbgp.EnterFRRsGroup(t)
	n := &network{t: t, host: testbgp.Start(t, true, "sleep", "infinity")}
	n.in("ip", "link", "set", "lo", "up")
	for i := range 2 {
		eth := fmt.Sprintf("eth%d", i)
		testns.Run(t, "ip", "link", "add", fmt.Sprintf("tor%d", i), "type", "veth", "peer", "name", eth, "netns", fmt.Sprint(n.host.Pid()))
		testns.Run(t, "ip", "address", "add", fmt.Sprintf("198.18.%d.1/24", i), "dev", fmt.Sprintf("tor%d", i))
		n.in("ip", "address", "add", fmt.Sprintf("198.18.%d.2/24", i), "dev", eth)
		if i == 0 {
			testns.Run(t, "ip", "address", "add", "fd18::1/64", "dev", "tor0", "nodad")
			n.in("ip", "address", "add", "fd18::2/64", "dev", "eth0", "nodad")
		}
		testns.Run(t, "ip", "link", "set", fmt.Sprintf("tor%d", i), "up")
		n.in("ip", "link", "set", eth, "up")
	}
	return n
}

// in runs a program in the host's namespace.
func (n *network) in(args ...string) string {
	n.t.Helper()
	all := append([]string{"--target", fmt.Sprint(n.host.Pid()), "--net", "--"}, args...)
	return testns.Run(n.t, "nsenter", all...)
}

type frr struct {
	*testbgp.FRR
	t *testing.T
}

// frr is an FRR that listens on 198.18.0.1 and on every IPv6 address.
func (n *network) frr(config string) *frr {
	n.t.Helper()
	return &frr{testbgp.StartFRR(n.t, config, "-l", "198.18.0.1", "-l", "::"), n.t}
}

// has waits until bgpd uses a route (or does not).
func (f *frr) has(family, prefix string, want bool) {
	f.t.Helper()
	testbgp.Poll(f.t, fmt.Sprintf("FRR: %s %v", prefix, want), func() (bool, string) {
		out := f.Show("show bgp " + family + " unicast")
		return strings.Contains(out, prefix) == want && !strings.Contains(out, "failed"), out
	})
}

// torConfig is FRR in AS 65001 with one neighbour and two networks; more goes
// into the router's section.
func torConfig(neighbour, as string, more ...string) string {
	return fmt.Sprintf(`
router bgp 65001
 bgp router-id 198.18.0.1
 no bgp ebgp-requires-policy
 no bgp default ipv4-unicast
 no bgp network import-check
 timers bgp 3 9
 neighbor %[1]s remote-as %[2]s
 neighbor %[1]s timers connect 1
 %[3]s
 address-family ipv4 unicast
  neighbor %[1]s activate
  network 10.9.0.0/24
 exit-address-family
 address-family ipv6 unicast
  neighbor %[1]s activate
  network fd99::/64
 exit-address-family
`, neighbour, as, strings.Join(more, "\n "))
}

type bird struct {
	*testbgp.BIRD
	t *testing.T
}

func (n *network) bird(config string) *bird {
	n.t.Helper()
	return &bird{testbgp.StartBIRD(n.t, config), n.t}
}

func (b *bird) has(prefix string, want bool) {
	b.t.Helper()
	testbgp.Poll(b.t, fmt.Sprintf("BIRD: %s %v", prefix, want), func() (bool, string) {
		out := b.Show("route", "all")
		return strings.Contains(out, prefix) == want && strings.Contains(out, "ready"), out
	})
}

// birdConfig is BIRD in AS 65011 on the second link, with two networks; routes
// go into the kernel's table 100, beside FRR's.
const birdConfig = `
router id 198.18.1.1;
protocol device {}
protocol static { ipv4; route 10.8.0.0/24 blackhole; route 10.9.0.0/24 blackhole; }
protocol kernel { ipv4 { export where source = RTS_BGP; }; kernel table 100; }
protocol bgp host {
	local 198.18.1.1 as 65011;
	neighbor 198.18.1.2 as 65002;
	strict bind yes;
	hold time 9; keepalive time 3; connect retry time 1; connect delay time 1; error wait time 1, 2;
	graceful restart on;
	ipv4 { import all; export where source = RTS_STATIC; };
}
`

// bothFamilies are those of most sessions.
var bothFamilies = fabric.PerFamily[bool]{IPv4: true, IPv6: true}

func pfx(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func all() []bgp.Rule { return []bgp.Rule{{Name: "all", Action: bgp.Accept}} }

// wanted is a speaker in AS 65002 with a session to the switch and one
// announcement in each family.
func wanted(sessions ...bgp.Session) bgp.Desired {
	return bgp.Desired{
		Global: bgp.Global{
			ASN: 65002, RouterID: netip.MustParseAddr("198.18.0.2"), Port: 179, Multipath: 4, RestartTime: 30 * time.Second,
		},
		Sessions: sessions,
		Announcements: []bgp.Announcement{
			{Prefix: pfx("10.1.0.0/24"), Why: "lease"},
			{Prefix: pfx("fd10:1::/64"), Why: "lease"},
		},
	}
}

// toTor is a session with the switch's first link, and toBird with its second.
func toTor() bgp.Session {
	return bgp.Session{
		Key:     "tors/198.18.0.1",
		Opening: bgp.Opening{Address: netip.MustParseAddr("198.18.0.1"), RemoteASN: 65001, Port: 179, Families: bothFamilies},
		Hold:    9 * time.Second, Keepalive: 3 * time.Second, ConnectRetry: time.Second, MaxPrefixes: 200000,
		Import: all(), Export: all(),
	}
}

func toBird() bgp.Session {
	s := toTor()
	s.Key, s.Address, s.RemoteASN, s.Families = "tors/198.18.1.1", netip.MustParseAddr("198.18.1.1"), 65011, fabric.PerFamily[bool]{IPv4: true}
	return s
}

// testnsRoutes are the kernel's routes of the switch, of both families.
func testnsRoutes(t *testing.T) string {
	t.Helper()
	return testns.Run(t, "ip", "-4", "route", "show", "table", "all") + testns.Run(t, "ip", "-6", "route", "show", "table", "all")
}

// dialHost opens a plain TCP connection to the speaker from the switch.
func dialHost() (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(198, 18, 0, 1)}}
	return d.Dial("tcp", "198.18.0.2:179")
}

func testnsRun(t *testing.T, name string, args ...string) string {
	t.Helper()
	return testns.Run(t, name, args...)
}
