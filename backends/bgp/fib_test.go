package bgp

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/kernel"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

// change is a line like "10.244.1.0/24 198.18.0.1 198.18.1.1".
func change(line string) Change {
	words := strings.Fields(line)
	c := Change{Prefix: prefix(words[0])}
	for _, w := range words[1:] {
		c.NextHops = append(c.NextHops, addr(w))
	}
	return c
}

func changes2(lines ...string) (out []Change) {
	for _, l := range lines {
		out = append(out, change(l))
	}
	return out
}

// onLink resolves next hops that are neighbours on links.
func onLink(pairs ...string) map[netip.Addr][]kernel.Hop {
	out := make(map[netip.Addr][]kernel.Hop)
	for _, p := range pairs {
		words := strings.Fields(p)
		a := addr(words[0])
		out[a] = nil
		for _, link := range words[1:] {
			out[a] = append(out[a], kernel.Hop{Link: link, Gateway: a.WithZone("")})
		}
	}
	return out
}

// table is what a kernel would hold, by key.
type table struct {
	nexthops map[uint32]kernel.Nexthop
	routes   map[kernel.RouteKey]kernel.Route
}

func newTable() *table {
	return &table{nexthops: make(map[uint32]kernel.Nexthop), routes: make(map[kernel.RouteKey]kernel.Route)}
}

// apply does what the kernel's Host does with a difference, in its order, and
// fails where the kernel would refuse it or lose packets: an object that goes
// while something leads to it, or that something leads to before it is there.
func (k *table) apply(t *testing.T, remove, add kernel.Objects) {
	t.Helper()
	for _, groups := range []bool{false, true} {
		for _, n := range add.Nexthops {
			if (n.Group != "") == groups {
				k.nexthops[n.ID] = n
				for _, m := range n.Group.Members() {
					if have, ok := k.nexthops[m]; !ok || have.Group != "" {
						t.Errorf("%v: its member %#x is no nexthop that is there", n, m)
					}
				}
			}
		}
	}
	for _, r := range add.Routes {
		if _, ok := k.nexthops[r.Nexthop]; !ok {
			t.Errorf("%v comes before its nexthop", r)
		}
		k.routes[r.RouteKey] = r
	}
	come := make(map[kernel.RouteKey]bool, len(add.Routes))
	for _, r := range add.Routes {
		come[r.RouteKey] = true
	}
	for _, r := range remove.Routes {
		if come[r.RouteKey] {
			continue // replaced
		}
		if k.routes[r.RouteKey] != r {
			t.Errorf("%v is removed, there is %v", r, k.routes[r.RouteKey])
		}
		delete(k.routes, r.RouteKey)
	}
	for _, groups := range []bool{true, false} {
		for _, n := range remove.Nexthops {
			if (n.Group != "") == groups {
				if k.nexthops[n.ID] != n {
					t.Errorf("%v is removed, there is %v", n, k.nexthops[n.ID])
				}
				delete(k.nexthops, n.ID)
			}
		}
	}
	k.check(t)
}

// check: everything that something leads to is there.
func (k *table) check(t *testing.T) {
	t.Helper()
	for _, r := range k.routes {
		if _, ok := k.nexthops[r.Nexthop]; !ok {
			t.Errorf("%v leads to an object that is gone", r)
		}
	}
	for _, n := range k.nexthops {
		for _, m := range n.Group.Members() {
			if _, ok := k.nexthops[m]; !ok {
				t.Errorf("%v has a member that is gone", n)
			}
		}
	}
}

func (k *table) objects() kernel.Objects {
	var out kernel.Objects
	for _, n := range k.nexthops {
		out.Nexthops = append(out.Nexthops, n)
	}
	for _, r := range k.routes {
		out.Routes = append(out.Routes, r)
	}
	return out
}

// ways writes where each route leads, without ids: "10.244.1.0/24 > 198.18.0.1
// eth0 + 198.18.1.1 eth1".
func ways(objs kernel.Objects) map[string]string {
	byID := make(map[uint32]kernel.Nexthop)
	for _, n := range objs.Nexthops {
		byID[n.ID] = n
	}
	out := make(map[string]string)
	for _, r := range objs.Routes {
		n := byID[r.Nexthop]
		var hops []string
		if n.Group == "" {
			hops = []string{fmt.Sprintf("%s %s", n.Link, n.Gateway)}
		}
		for _, m := range n.Group.Members() {
			hops = append(hops, fmt.Sprintf("%s %s", byID[m].Link, byID[m].Gateway))
		}
		out[r.RouteKey.String()] = sortedText(hops)
	}
	return out
}

func TestFIBSteps(t *testing.T) {
	// Each step of a life, what it does to the kernel in words, and that the
	// kernel could do it in that order.
	f, k := NewFIB(), newTable()
	f.Guard(Guard{
		Networks: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00:244::/48")},
		Own:      []netip.Prefix{prefix("10.244.1.0/24")},
		Addrs:    []netip.Addr{addr("198.18.0.10"), addr("fe80::10")},
	})
	steps := []struct {
		name string
		do   func()
	}{
		{"two routes over two switches, nothing resolved", func() {
			f.Learn(changes2("10.244.2.0/24 198.18.0.1 198.18.1.1", "10.244.3.0/24 198.18.0.1 198.18.1.1"))
		}},
		{"resolved", func() { f.Resolve(onLink("198.18.0.1 eth0", "198.18.1.1 eth1")) }},
		{"one switch lost: one object", func() { f.Resolve(onLink("198.18.1.1")) }},
		{"the peers follow for one route", func() { f.Learn(changes2("10.244.2.0/24 198.18.0.1")) }},
		{"and for the other: the group goes", func() { f.Learn(changes2("10.244.3.0/24 198.18.0.1")) }},
		{"the switch is back", func() {
			f.Learn(changes2("10.244.2.0/24 198.18.0.1 198.18.1.1", "10.244.3.0/24 198.18.0.1 198.18.1.1"))
			f.Resolve(onLink("198.18.1.1 eth1"))
		}},
		{"both lost: no routes", func() { f.Resolve(onLink("198.18.0.1", "198.18.1.1")) }},
		{"a default route, an IPv4 route over IPv6", func() {
			f.Learn(changes2("10.244.2.0/24", "10.244.3.0/24", "0.0.0.0/0 198.18.0.1", "10.244.4.0/24 fe80::1%eth0", "fd00:244:0:4::/64 fe80::1%eth0"))
			f.Resolve(onLink("198.18.0.1 eth0", "fe80::1%eth0 eth0"))
		}},
		{"one next hop behind two gateways", func() {
			f.Learn(changes2("10.244.5.0/24 198.18.9.9"))
			f.Resolve(map[netip.Addr][]kernel.Hop{addr("198.18.9.9"): {{Link: "eth1", Gateway: addr("198.18.1.1")}, {Link: "eth0", Gateway: addr("198.18.0.1")}}})
		}},
		{"everything withdrawn", func() {
			f.Learn(changes2("0.0.0.0/0", "10.244.4.0/24", "fd00:244:0:4::/64", "10.244.5.0/24"))
		}},
	}
	var text strings.Builder
	for _, s := range steps {
		s.do()
		remove, add, _ := f.Take()
		k.apply(t, remove, add)
		routes, groups, refused := f.Len()
		fmt.Fprintf(&text, "# %s\n%s%s%d routes, %d groups, %d without a way\n\n", s.name,
			indent("+ ", add.String()), indent("- ", remove.String()), routes, groups, refused)
	}
	golden.Compare(t, "fib-steps.txt", text.String())
	if n := len(f.sets) + len(f.ways) + len(f.objects.byName) + len(f.objects.byID) + len(f.index); n != 0 {
		t.Errorf("%d things are left of nothing", n)
	}
}

func TestFIBRefuses(t *testing.T) {
	f := NewFIB()
	f.Guard(Guard{
		Networks: []netip.Prefix{prefix("10.244.0.0/16"), prefix("fd00:244::/48")},
		Own:      []netip.Prefix{prefix("10.244.1.0/24"), prefix("fd00:244:0:1::/64")},
		Addrs:    []netip.Addr{addr("198.18.0.10"), addr("2001:2::10"), addr("fe80::10")},
	})
	f.Resolve(nil)
	for _, tt := range []struct{ change, want string }{
		{"10.244.1.0/24 198.18.0.1", "it lies in this node's own subnet 10.244.1.0/24"},
		{"10.244.1.128/25 198.18.0.1", "it lies in this node's own subnet 10.244.1.0/24"},
		{"fd00:244:0:1::7/128 2001:2::1", "it lies in this node's own subnet fd00:244:0:1::/64"},
		{"10.244.0.0/16 198.18.0.1", ""}, // the network as a whole is a larger one
		{"198.18.0.10/32 198.18.0.1", "it is an address of this host"},
		{"127.0.0.0/8 198.18.0.1", "no route may lead there: it is of this host, of a link or a group"},
		{"169.254.169.254/32 198.18.0.1", "no route may lead there: it is of this host, of a link or a group"},
		{"224.0.0.0/24 198.18.0.1", "no route may lead there: it is of this host, of a link or a group"},
		{"::ffff:10.244.2.0/120 2001:2::1", "no route may lead there: it is of this host, of a link or a group"},
		{"fe80::/64 2001:2::1", "no route may lead there: it is of this host, of a link or a group"},
		{"10.244.2.0/24 198.18.0.10", "next hop 198.18.0.10 is an address of this host"},
		{"10.244.2.0/24 10.244.9.7", "next hop 10.244.9.7 lies in 10.244.0.0/16, where pods are"},
		{"10.244.2.0/24 fd00:244:0:9::7", "next hop fd00:244:0:9::7 lies in fd00:244::/48, where pods are"},
		{"10.244.2.0/24 fe80::10%eth0", "next hop fe80::10%eth0 is an address of this host"},
		{"10.244.2.0/24 fe80::1", "next hop fe80::1 is link-local, and of no known interface"},
		{"10.244.2.0/24 127.0.0.1", "next hop 127.0.0.1 is no address of a router"},
		{"10.244.2.0/24 0.0.0.0", "next hop 0.0.0.0 is no address of a router"},
		{"10.244.2.0/24 224.0.0.5", "next hop 224.0.0.5 is no address of a router"},
		{"10.244.2.0/24 198.18.0.99", "next hop 198.18.0.99 cannot be reached"},
		{"fd00:244:0:2::/64 198.18.0.1", "next hop 198.18.0.1 is IPv4, which cannot carry IPv6"},
		{"fd00:244:0:2::/64 ::ffff:198.18.0.1", "next hop 198.18.0.1 is IPv4, which cannot carry IPv6"},
		{"10.244.2.0/24 ::ffff:198.18.0.1", ""},
		{"10.244.2.0/24 198.18.0.10 198.18.0.1", ""}, // with what is left
		{"0.0.0.0/0 198.18.0.1", ""}, // the policies let it in
	} {
		c := change(tt.change)
		f.Learn([]Change{c})
		f.Resolve(onLink("198.18.0.1 eth0", "2001:2::1 eth0"))
		if tt.want != "" { // even if somebody says that it can be reached
			f.Resolve(map[netip.Addr][]kernel.Hop{addr("198.18.0.10"): {{Link: "eth0", Gateway: addr("198.18.0.10")}}})
		}
		got, ok := f.Route(c.Prefix)
		if !ok || got.Refused != tt.want {
			t.Errorf("%s: got %q, %t; want %q", tt.change, got.Refused, ok, tt.want)
		}
		for _, a := range f.NextHops() {
			if f.guard.hop(a) != "" {
				t.Errorf("%s: next hop %s is to be resolved", tt.change, a)
			}
		}
		_, add, _ := f.Take()
		if (len(add.Routes) == 0) != (tt.want != "") {
			t.Errorf("%s: the kernel is given\n%v", tt.change, add)
		}
		f.Learn([]Change{{Prefix: c.Prefix}})
		f.Take()
	}
}

// What was learnt first and is forbidden later goes, and comes back.
func TestFIBGuardIsForAll(t *testing.T) {
	f, k := NewFIB(), newTable()
	f.Learn(changes2("10.244.1.0/24 198.18.0.1", "10.244.2.0/24 198.18.0.1 198.18.0.2"))
	f.Resolve(onLink("198.18.0.1 eth0", "198.18.0.2 eth0"))
	take := func(want map[string]string) {
		t.Helper()
		remove, add, _ := f.Take()
		k.apply(t, remove, add)
		if diff := cmp.Diff(want, ways(k.objects())); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
	both := map[string]string{
		"route 10.244.1.0/24 metric 158": "eth0 198.18.0.1",
		"route 10.244.2.0/24 metric 158": "eth0 198.18.0.1 + eth0 198.18.0.2",
	}
	take(both)
	f.Guard(Guard{Own: []netip.Prefix{prefix("10.244.1.0/24")}, Addrs: []netip.Addr{addr("198.18.0.2")}})
	take(map[string]string{"route 10.244.2.0/24 metric 158": "eth0 198.18.0.1"})
	f.Guard(Guard{})
	take(both)
}

// 5000 routes follow a lost next hop by one object, whatever becomes of them
// later.
func TestLostNextHopIsOneChange(t *testing.T) {
	const routes = 5000
	f, k := NewFIB(), newTable()
	learn := func(hops ...string) {
		var cs []Change
		for i := range routes {
			cs = append(cs, change(fmt.Sprintf("10.%d.%d.0/24 %s", 100+i/256, i%256, strings.Join(hops, " "))))
		}
		f.Learn(cs)
	}
	take := func(what string, wantNexthops, wantRoutes int) {
		t.Helper()
		remove, add, _ := f.Take()
		k.apply(t, remove, add)
		if len(add.Nexthops) != wantNexthops || len(add.Routes) != wantRoutes {
			t.Errorf("%s: %d nexthops and %d routes, want %d and %d", what, len(add.Nexthops), len(add.Routes), wantNexthops, wantRoutes)
		}
	}
	learn("198.18.0.1", "198.18.1.1")
	f.Resolve(onLink("198.18.0.1 eth0", "198.18.1.1 eth1"))
	take("start", 3, routes)
	f.Resolve(onLink("198.18.1.1"))
	take("lost", 1, 0)
	f.Resolve(onLink("198.18.1.1 eth1"))
	take("back", 2, 0)
	f.Resolve(onLink("198.18.1.1"))
	take("lost again", 1, 0)
	learn("198.18.0.1")
	take("the peers follow", 0, routes)
	if n := len(k.nexthops); n != 1 {
		t.Errorf("%d nexthop objects are left, want 1", n)
	}
	take("nothing", 0, 0)
}
