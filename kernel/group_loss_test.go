package kernel

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// The carrier of one uplink goes: the kernel takes the member out by itself,
// and says no word about it. The Host sees it, has traffic on the other uplink
// all the while, and puts the member back with the carrier.
func TestMemberLosesCarrier(t *testing.T) {
	underlay(t)
	twoToRs(t)
	h := open(t, ecmp(3))
	inSync(t, h)
	commands(t, "ip link set far2 down")
	r := until(t, h, func(r Report) bool { return strings.Contains(problems(r), "Carrier for nexthop device is down") })
	for _, want := range []string{"nexthop 0x56000042", "nexthop group 0x5600004f (group): it lacks members"} {
		if !strings.Contains(problems(r), want) {
			t.Errorf("missing %q in:%s", want, problems(r))
		}
	}
	if out := run(t, "ip", "route", "get", "fibmatch", "10.0.1.7"); !strings.Contains(out, "dev up0") || strings.Contains(out, "dev eth1") {
		t.Error(out)
	}
	if r := doSync(t, h); r.Writes != 2 { // the nexthops that are refused, and no group for nothing
		t.Errorf("%d writes while nothing changes:%s", r.Writes, problems(r))
	}
	commands(t, "ip link set far2 up")
	until(t, h, func(r Report) bool { return r.InSync })
	if got := groupOf(t, both4); got != "1442840641/1442840642" {
		t.Errorf("members %s", got)
	}
	idle(t, h)
}

// A member that cannot be had costs its group only itself, and the routes
// nothing; a group of which no member can be had costs only its own routes.
func TestMissingMember(t *testing.T) {
	underlay(t)
	twoToRs(t)
	commands(t, "ip link set far2 down")
	w := ecmp(3)
	lost := SharedNexthop(0x99)
	w.Nexthops = append(w.Nexthops, Nexthop{ID: lost, Group: GroupOf(tor4[1])})
	w.Routes = append(w.Routes, Route{RouteKey: RouteKey{subnet(4, 99), Metric}, Nexthop: lost})
	h := open(t, w)
	lacks := func(r Report) bool {
		return strings.Contains(problems(r), "nexthop group 0x56000099 (group): none of its members is there")
	}
	if !lacks(doSync(t, h)) { // the carrier goes a moment after
		until(t, h, lacks)
	}
	for i := 1; i <= 3; i++ {
		run(t, "ip", "route", "get", subnet(4, i).Addr().String())
		run(t, "ip", "route", "get", subnet(6, i).Addr().String())
	}
	if h.state.routes.find(RouteKey{subnet(4, 99), Metric}).present {
		t.Error("a route through nothing")
	}
}

// A member that goes while a message that names it is on its way (a carrier
// does not wait) makes the kernel refuse the group. What is there of it, and its
// routes, must not be given up for that.
func TestMemberGoesUnnoticed(t *testing.T) {
	underlay(t)
	twoToRs(t)
	w := ecmp(3)
	h := open(t, w)
	both, one := w.Nexthops[4:5], []Nexthop{{ID: both4, Group: GroupOf(tor4[0])}}
	h.Update(Objects{Nexthops: both}, Objects{Nexthops: one})
	inSync(t, h)
	watch, err := rtnl.Listen(1<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_NEXTHOP)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	commands(t, "ip nexthop del id 0x56000042")
	for _, c := range []*rtnl.Conn{h.events, watch} {
		if err := c.Drain(func(rtnl.Message) {}); err != nil {
			t.Fatal(err)
		}
	}
	h.Update(Objects{Nexthops: one}, Objects{Nexthops: both})
	inSync(t, h)
	if err := watch.Drain(func(m rtnl.Message) {
		if m.Type == unix.RTM_DELROUTE || m.Type == unix.RTM_DELNEXTHOP {
			t.Errorf("message %d: something was deleted", m.Type)
		}
	}); err != nil {
		t.Fatal(err)
	}
	idle(t, h)
}
