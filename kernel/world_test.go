package kernel

import (
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

const (
	overlay = "weft.1"
	bridge  = "weft0"
	uplink  = "up0"
)

// underlay gives the test a namespace of its own with an uplink that has an
// address of either family and a carrier.
func underlay(t *testing.T) {
	t.Helper()
	testns.New(t)
	run(t, "ip", "link", "add", uplink, "type", "veth", "peer", "name", "up1")
	for _, name := range []string{uplink, "up1"} { // nothing that comes by itself, and late
		run(t, "ip", "link", "set", name, "addrgenmode", "none")
	}
	run(t, "ip", "link", "set", "up1", "up")
	run(t, "ip", "link", "set", uplink, "up")
	run(t, "ip", "addr", "add", "198.18.0.1/24", "dev", uplink)
	run(t, "ip", "addr", "add", "fd18::1/64", "dev", uplink, "nodad")
	// The carrier, and with it the address's route, comes a moment later.
	for late := time.Now().Add(time.Minute); !strings.Contains(run(t, "ip", "-6", "route", "show", "table", "local"), "fd18::1 dev up0"); {
		if time.Now().After(late) {
			t.Fatal("the uplink never had a carrier")
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	return testns.Run(t, name, args...)
}

// vtep is peer i's MAC address.
func vtep(i int) fabric.MAC { return fabric.MAC{2, 0, 0, byte(i >> 16), byte(i >> 8), byte(i)} }

// subnet is peer i's subnet of a family.
func subnet(f fabric.Family, i int) netip.Prefix {
	if f == fabric.IPv4 {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 8), byte(i), 0}), 24)
	}
	a := netip.MustParseAddr("fd00:1::").As16()
	a[5], a[6], a[7] = byte(i>>16), byte(i>>8), byte(i)
	return netip.PrefixFrom(netip.AddrFrom16(a), 64)
}

// base is what a node wants without peers; its own subnet is number 0xff00.
func base(local string) Objects {
	o := Objects{
		Links: []Link{
			{Name: overlay, Kind: VXLAN, MAC: vtep(0xff00), MTU: 1430, VXLAN: VXLANConfig{VNI: 1, Port: 4789, Uplink: uplink, Local: netip.MustParseAddr(local)}},
			{Name: bridge, Kind: Bridge, MAC: fabric.MAC{2, 1, 0, 0, 0, 1}, MTU: 1430},
		},
		Sysctls: []Sysctl{
			{"net/ipv4/ip_forward", "1"}, {"net/ipv4/conf/" + overlay + "/rp_filter", "2"},
			{"net/ipv6/conf/all/forwarding", "1"},
		},
		Masquerade: Masquerade{Sources: "10.0.0.0/8 fd00:1::/32", Except: "198.18.0.0/16 198.19.0.0/16"},
	}
	for _, f := range fabric.Families {
		own := subnet(f, 0xff00)
		o.Addrs = append(o.Addrs,
			Addr{overlay, netip.PrefixFrom(own.Addr(), f.Bits())},
			Addr{bridge, netip.PrefixFrom(own.Addr().Next(), own.Bits())})
		o.Routes = append(o.Routes, Route{RouteKey: RouteKey{own, 1 << 31}, Type: Blackhole})
	}
	return o
}

// peer is what a node wants for peer i, from 1.
func peer(i int, families ...fabric.Family) Objects {
	mac := vtep(i)
	o := Objects{FDB: []FDB{{FDBKey{overlay, mac}, netip.AddrFrom4([4]byte{198, 18, byte(i >> 8), byte(i)})}}}
	for _, f := range families {
		p := subnet(f, i)
		id := NexthopID(uint32(i), f, 0)
		via := p.Addr()
		if f == fabric.IPv6 {
			via = linkLocal(mac)
		}
		o.Neighs = append(o.Neighs, Neigh{NeighKey{overlay, via}, mac})
		o.Nexthops = append(o.Nexthops, Nexthop{ID: id, Link: overlay, Gateway: via, OnLink: true})
		o.Routes = append(o.Routes, Route{RouteKey: RouteKey{p, Metric}, Nexthop: id})
	}
	return o
}

// linkLocal is the address of a MAC (RFC 4291, appendix A). As the gateway of
// an IPv6 nexthop it is beyond the reach of any route, see TestMoveIntoOverlay.
func linkLocal(m fabric.MAC) netip.Addr {
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]})
}

func join(all ...Objects) Objects {
	var o Objects
	for _, a := range all {
		o.Links = append(o.Links, a.Links...)
		o.Sysctls = append(o.Sysctls, a.Sysctls...)
		o.Addrs = append(o.Addrs, a.Addrs...)
		o.FDB = append(o.FDB, a.FDB...)
		o.Neighs = append(o.Neighs, a.Neighs...)
		o.Nexthops = append(o.Nexthops, a.Nexthops...)
		o.Routes = append(o.Routes, a.Routes...)
		if a.Masquerade != (Masquerade{}) {
			o.Masquerade = a.Masquerade
		}
	}
	return o
}

// peers are peers 1..n in both families.
func peers(n int) Objects {
	var o Objects
	for i := 1; i <= n; i++ {
		o = join2(o, peer(i, fabric.IPv4, fabric.IPv6))
	}
	return o
}

// join2 is join without copying a each time.
func join2(a, b Objects) Objects {
	a.FDB = append(a.FDB, b.FDB...)
	a.Neighs = append(a.Neighs, b.Neighs...)
	a.Nexthops = append(a.Nexthops, b.Nexthops...)
	a.Routes = append(a.Routes, b.Routes...)
	return a
}

// open opens a host that wants w and closes it with the test.
func open(t testing.TB, w Objects) *Host {
	t.Helper()
	h, err := Open(Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	h.SetWant(w)
	return h
}

func doSync(t testing.TB, h *Host) Report {
	t.Helper()
	r, err := h.Sync()
	if err != nil {
		t.Fatalf("sync: %v", err)
	}
	return r
}

// inSync syncs and fails the test unless all is in place then.
func inSync(t testing.TB, h *Host) Report {
	t.Helper()
	r := doSync(t, h)
	if !r.InSync {
		t.Fatalf("not in sync: %s", problems(r))
	}
	return r
}

func problems(r Report) (s string) {
	for _, f := range r.Failed {
		s += fmt.Sprintf("\n  failed %s (%s): %v", f.Object, f.Kind, f.Err)
	}
	for _, c := range r.Conflicts {
		s += fmt.Sprintf("\n  conflict %s held by %s", c.Object, c.Holder)
	}
	return s
}

// idle checks that a sync finds nothing to do.
func idle(t testing.TB, h *Host) {
	t.Helper()
	if r := inSync(t, h); r.Writes != 0 || len(r.Repaired) != 0 {
		t.Fatalf("a state in place: %d writes, repaired %v", r.Writes, r.Repaired)
	}
}

// tolerant runs a program and gives its output without interface indexes,
// bridge ids and timers; a device that is not there is no error.
func tolerant(args []string) string {
	out, _ := exec.Command(args[0], args[1:]...).CombinedOutput()
	var lines []string
	for line := range strings.Lines(string(out)) {
		lines = append(lines, volatile.ReplaceAllString(line, "$1"))
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// A bridge's link-local address comes with its first moment of carrier.
var volatile = regexp.MustCompile(`fe80::[0-9a-f:]+/64 *|^fe80::/64 dev weft0.*\n|^local fe80::.*\n| linkdown|NO-CARRIER,|,LOWER_UP|LOWER_|state [A-Z]+|(?:LOWERLAYERDOWN|DOWN|UP|UNKNOWN) +|^[0-9]+: |((?:hello|tcn|topology_change|gc)_timer) +[0-9.]+|@up[0-9]+|qlen [0-9]+`)

// commands runs commands separated by ;.
func commands(t *testing.T, script string) {
	t.Helper()
	for _, c := range strings.Split(script, ";") {
		if args := strings.Fields(c); len(args) > 0 {
			run(t, args[0], args[1:]...)
		}
	}
}
