package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel/rtnl"
)

// second is the uplink to the second ToR; far2 is its other end.
const second = "eth1"

// The shared nexthop objects of the tests: a gateway per ToR and family, and a
// group of both per family.
var (
	tor4  = [2]uint32{SharedNexthop(0x41), SharedNexthop(0x42)}
	tor6  = [2]uint32{SharedNexthop(0x61), SharedNexthop(0x62)}
	both4 = SharedNexthop(0x4f)
	both6 = SharedNexthop(0x6f)
)

// twoToRs is underlay with a second uplink.
func twoToRs(t testing.TB) {
	t.Helper()
	for _, line := range []string{
		"link add eth1 type veth peer name far2", "link set eth1 addrgenmode none", "link set far2 addrgenmode none",
		"link set far2 up", "link set eth1 up", "addr add 198.18.1.1/24 dev eth1", "addr add fd18:1::1/64 dev eth1 nodad",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
	late := time.Now().Add(time.Minute)
	for !strings.Contains(testns.Run(t, "ip", "-6", "route", "show", "table", "local"), "fd18:1::1 dev eth1") {
		if time.Now().After(late) {
			t.Fatal("the second uplink never had a carrier")
		}
	}
}

// hops are the gateways to the two ToRs; IPv6 ones are link-local, as on
// unnumbered sessions.
func hops() Objects {
	return Objects{Nexthops: []Nexthop{
		Hop{uplink, addr("198.18.0.254")}.Nexthop(tor4[0]), Hop{second, addr("198.18.1.254")}.Nexthop(tor4[1]),
		Hop{uplink, addr("fe80::a")}.Nexthop(tor6[0]), Hop{second, addr("fe80::b")}.Nexthop(tor6[1]),
	}}
}

// ecmp is n routes of each family over both ToRs, and an IPv4 one over the IPv6
// gateways (RFC 5549).
func ecmp(n int) Objects {
	o := hops()
	o.Nexthops = append(o.Nexthops, Nexthop{ID: both4, Group: GroupOf(tor4[:]...)}, Nexthop{ID: both6, Group: GroupOf(tor6[:]...)})
	for i := 1; i <= n; i++ {
		o.Routes = append(o.Routes,
			Route{RouteKey: RouteKey{subnet(4, i), Metric}, Nexthop: both4},
			Route{RouteKey: RouteKey{subnet(6, i), Metric}, Nexthop: both6})
	}
	o.Routes = append(o.Routes, Route{RouteKey: RouteKey{subnet(4, 0xf000), Metric}, Nexthop: both6})
	return o
}

// groupOf is what ip(8) shows of a group's members.
func groupOf(t testing.TB, id uint32) string {
	t.Helper()
	out := testns.Run(t, "ip", "nexthop", "show", "id", fmt.Sprint(id))
	_, members, _ := strings.Cut(out, "group ")
	members, _, _ = strings.Cut(members, " ")
	return members
}

func TestGroupOf(t *testing.T) {
	g := GroupOf(7, 1<<30, 3, 7)
	if got := g.Members(); !slices.Equal(got, []uint32{3, 7, 1 << 30}) || g != GroupOf(1<<30, 3, 7) || g.String() != "0x3/0x7/0x40000000" {
		t.Errorf("got %v, %s", got, g)
	}
	if GroupOf() != "" || len(strange.Members()) != 0 {
		t.Error("a group without members")
	}
	if n := (Nexthop{ID: both4, Group: GroupOf(tor4[:]...)}); n.String() != "nexthop group 0x5600004f of 0x56000041/0x56000042" {
		t.Error(n.String())
	}
}

// Groups come up after their members, carry routes of both families, are found
// in place by the next life, and go without leaving anything.
func TestGroups(t *testing.T) {
	underlay(t)
	twoToRs(t)
	h := open(t, ecmp(3))
	if r := inSync(t, h); r.Writes != 4+2+7 || len(r.Repaired) != 0 {
		t.Errorf("%d writes, repaired %v", r.Writes, r.Repaired)
	}
	for dst, want := range map[string][]string{
		"10.0.1.7":       {"via 198.18.0.254 dev up0", "via 198.18.1.254 dev eth1"},
		"10.240.0.7":     {"via inet6 fe80::a dev up0", "via inet6 fe80::b dev eth1"},
		"fd00:1:0:1::77": {"via fe80::a dev up0", "via fe80::b dev eth1"},
	} {
		out := run(t, "ip", "route", "get", "fibmatch", dst)
		for _, w := range want {
			if !strings.Contains(out, w) {
				t.Errorf("%s: no %q in %s", dst, w, out)
			}
		}
	}
	idle(t, h)
	again := open(t, ecmp(3))
	if r := inSync(t, again); r.Writes != 0 {
		t.Errorf("a restart with all in place: %d writes", r.Writes)
	}
	again.SetWant(Objects{})
	inSync(t, again)
	if out := ours(t); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
}

// A ToR that is lost and comes back is one message for any number of routes,
// in which no route is ever deleted.
func TestGroupReplacedInOneMessage(t *testing.T) {
	underlay(t)
	twoToRs(t)
	const n = 500
	h := open(t, ecmp(n))
	inSync(t, h)
	watch, err := rtnl.Listen(4<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	both, one := Nexthop{ID: both4, Group: GroupOf(tor4[:]...)}, Nexthop{ID: both4, Group: GroupOf(tor4[1])}
	for i, step := range [][2]Nexthop{{both, one}, {one, both}} {
		h.Update(Objects{Nexthops: step[:1]}, Objects{Nexthops: step[1:]})
		if r := inSync(t, h); r.Writes != 1 || r.Dumped {
			t.Errorf("step %d: %d writes, dumped %v", i, r.Writes, r.Dumped)
		}
		if got, want := groupOf(t, both4), len(step[1].Group.Members()); strings.Count(got, "/")+1 != want {
			t.Errorf("step %d: members %s, want %d", i, got, want)
		}
	}
	if err := watch.Drain(func(m rtnl.Message) {
		if m.Type == unix.RTM_DELROUTE || m.Type == unix.RTM_DELNEXTHOP {
			t.Errorf("message %d: something was deleted", m.Type)
		}
	}); err != nil {
		t.Fatal(err)
	}
	idle(t, h)
}

// Whatever somebody does to groups and their members, one Sync puts it right.
func TestRepairGroups(t *testing.T) {
	const a, b, g = "0x56000041", "0x56000042", "0x5600004f"
	tests := []struct {
		name     string
		tamper   string
		repaired map[string]int
	}{
		{"member deleted", "ip nexthop del id " + a, map[string]int{"nexthop": 1, "group": 1}},
		{"all members deleted", "ip nexthop del id " + a + "; ip nexthop del id " + b, map[string]int{"nexthop": 2, "group": 1, "route": 3}},
		{"group deleted", "ip nexthop del id " + g, map[string]int{"group": 1, "route": 3}},
		{"group shrunk", "ip nexthop replace id " + g + " group " + b + " protocol 158", map[string]int{"group": 1}},
		{"group with weights", "ip nexthop replace id " + g + " group " + a + ",10/" + b + ",1 protocol 158", map[string]int{"group": 1}},
		{"group resilient", "ip nexthop del id " + g + "; ip nexthop add id " + g + " group " + a + "/" + b + " type resilient buckets 8 protocol 158", map[string]int{"group": 1, "route": 3}},
		{"group of ours too many", "ip nexthop add id 0x56000099 group " + a + " protocol 158", map[string]int{"group": 1}},
		{"gateway in its place", "ip nexthop del id " + g + "; ip nexthop add id " + g + " via 198.18.0.9 dev up0 protocol 158", map[string]int{"group": 1, "route": 3}},
		{"group in a gateway's place", "ip nexthop del id " + a + "; ip nexthop add id " + a + " group " + b + " protocol 158", map[string]int{"nexthop": 1, "group": 1}},
		{"member elsewhere", "ip nexthop replace id " + a + " via 198.18.1.9 dev eth1 protocol 158", map[string]int{"nexthop": 1}},
		{"member without its gateway", "ip nexthop replace id " + a + " dev up0 protocol 158", map[string]int{"nexthop": 1}},
		{"route to a member", "ip route replace 10.0.1.0/24 nhid " + a + " proto 158 metric 158", map[string]int{"route": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			twoToRs(t)
			w := ecmp(3)
			w.Routes = slices.DeleteFunc(w.Routes, func(r Route) bool { return r.Nexthop != both4 })
			repairs(t, w, tt.tamper, tt.repaired)
		})
	}
}

// A gateway and a group that swap their ids (hashes of another life may fall
// so) both get their places.
func TestGroupAndGatewaySwap(t *testing.T) {
	underlay(t)
	twoToRs(t)
	h := open(t, ecmp(2))
	inSync(t, h)
	w := hops()
	w.Nexthops[0].ID = both4
	w.Nexthops = append(w.Nexthops, Nexthop{ID: tor4[0], Group: GroupOf(both4, tor4[1])})
	for i := 1; i <= 2; i++ {
		w.Routes = append(w.Routes, Route{RouteKey: RouteKey{subnet(4, i), Metric}, Nexthop: tor4[0]})
	}
	h.SetWant(w)
	inSync(t, h)
	idle(t, h)
	idle(t, open(t, w))
	for _, n := range []Nexthop{{ID: both4, Group: GroupOf(tor4[1])}, w.Nexthops[0]} { // the later wish for an id counts
		h.Update(Objects{}, Objects{Nexthops: []Nexthop{n}})
		if n.Group == "" {
			inSync(t, h)
			idle(t, h)
		} else if r := doSync(t, h); len(r.Failed) != 1 { // what has it as a member: a group cannot be one
			t.Errorf("got:%s", problems(r))
		}
	}
}

// Somebody else's group at our id is a conflict, and is left alone, like their
// groups of our members.
func TestForeignGroup(t *testing.T) {
	underlay(t)
	twoToRs(t)
	commands(t, "ip nexthop add id 7 via 198.18.0.9 dev up0; ip nexthop add id 8 group 7; ip nexthop add id 0x5600004f group 7 protocol zebra; ip route add 10.90.0.0/16 nhid 0x5600004f")
	before := others(t)
	h := open(t, ecmp(2))
	for range 2 {
		r := doSync(t, h)
		if !strings.Contains(problems(r), "conflict nexthop group 0x5600004f held by a nexthop of protocol 11") || r.InSync {
			t.Errorf("got:%s", problems(r))
		}
		if diff := cmp.Diff(before, others(t)); diff != "" {
			t.Errorf("touched somebody else's (-before +after):\n%s", diff)
		}
		h.Audit()
	}
	run(t, "ip", "route", "get", subnet(6, 1).Addr().String())
	commands(t, "ip route del 10.90.0.0/16; ip nexthop del id 0x5600004f")
	inSync(t, h)
	idle(t, h)
}

// The hash that spreads flows is a sysctl of each family, set like any other.
func TestMultipathHash(t *testing.T) {
	underlay(t)
	var w Objects
	for _, f := range fabric.Families {
		w.Sysctls = append(w.Sysctls, Sysctl{fmt.Sprintf("net/%s/fib_multipath_hash_policy", f), "1"})
	}
	h := open(t, w)
	if r := inSync(t, h); r.Writes != 2 {
		t.Errorf("%d writes", r.Writes)
	}
	commands(t, "sysctl -qw net.ipv4.fib_multipath_hash_policy=0; sysctl -qw net.ipv6.fib_multipath_hash_policy=0")
	h.Audit() // the kernel tells nobody
	if r := inSync(t, h); r.Repaired["sysctl"] != 2 {
		t.Errorf("repaired %v", r.Repaired)
	}
	idle(t, h)
}
