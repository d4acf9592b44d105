package kernel

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel/rtnl"
)

// A route that turns unreachable or a blackhole and back is there at every
// moment: the kernel never reports a deletion.
func TestRouteTypeChangesInPlace(t *testing.T) {
	underlay(t)
	p := peer(1, fabric.IPv4, fabric.IPv6)
	h := open(t, join(base("198.18.0.1"), p))
	inSync(t, h)
	watch, err := rtnl.Listen(1<<20, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	types := []RouteType{Unicast, Unreachable, Blackhole, Unreachable, Unicast, Blackhole, Unicast}
	for i := 1; i < len(types); i++ {
		var old, now Objects
		for _, r := range p.Routes {
			old.Routes, now.Routes = append(old.Routes, as(r, types[i-1])), append(now.Routes, as(r, types[i]))
		}
		h.Update(old, now)
		if r := inSync(t, h); r.Writes != 2 || len(r.Repaired) != 0 {
			t.Errorf("type %d to %d: %d writes, repaired %v", types[i-1], types[i], r.Writes, r.Repaired)
		}
	}
	seen := 0
	err = watch.Drain(func(m rtnl.Message) {
		if r, ok := decodeRoute(m.Data); ok && r.protocol == Protocol {
			seen++
			if m.Type == unix.RTM_DELROUTE {
				t.Errorf("%s was deleted", r.RouteKey)
			}
		}
	})
	if want := 2 * (len(types) - 1); err != nil || seen < want {
		t.Errorf("saw %d changes, want %d; %v", seen, want, err)
	}
	idle(t, h)
}

func as(r Route, typ RouteType) Route {
	if r.Type = typ; typ != Unicast {
		r.Nexthop = 0
	}
	return r
}

// A peer's MTU comes, changes and goes on its routes.
func TestRouteMTUChanges(t *testing.T) {
	underlay(t)
	p := peer(1, fabric.IPv4, fabric.IPv6)
	h := open(t, join(base("198.18.0.1"), p))
	for _, mtu := range []int{0, 1300, 1290, 0} {
		now := Objects{}
		for _, r := range p.Routes {
			r.MTU = mtu
			now.Routes = append(now.Routes, r)
		}
		h.Update(Objects{}, now)
		inSync(t, h)
		idle(t, h)
	}
	if out := run(t, "ip", "route", "show", "10.0.1.0/24"); strings.Contains(out, "mtu") {
		t.Errorf("an MTU is left: %s", out)
	}
}

// The MTU of an IPv6 route is locked, and one that an earlier version left
// without its lock is written anew.
func TestRouteMTULocked(t *testing.T) {
	underlay(t)
	p := peer(1, fabric.IPv4, fabric.IPv6)
	for i := range p.Routes {
		p.Routes[i].MTU = 1400
	}
	h := open(t, join(base("198.18.0.1"), p))
	inSync(t, h)
	commands(t, "ip -6 route replace fd00:1:0:1::/64 nhid 0x57000011 proto 158 metric 158 mtu 1400; ip route replace 10.0.1.0/24 nhid 0x57000010 proto 158 metric 158 mtu lock 1400")
	next := open(t, join(base("198.18.0.1"), p))
	if r := inSync(t, next); r.Writes != 2 {
		t.Errorf("%d writes", r.Writes)
	}
	got := run(t, "ip", "route", "show", "10.0.1.0/24") + run(t, "ip", "-6", "route", "show", "fd00:1:0:1::/64")
	if strings.Count(got, "mtu lock 1400") != 1 || strings.Count(got, "mtu 1400") != 1 {
		t.Error(got)
	}
	idle(t, next)
}

// A device that an earlier version made gets its don't-fragment bit as it is:
// to make it anew would stop all traffic.
func TestDFInPlace(t *testing.T) {
	underlay(t)
	w := join(base("198.18.0.1"), peers(2))
	h := open(t, w)
	inSync(t, h)
	before, err := h.state.ifaces.index(overlay)
	if err != nil {
		t.Fatal(err)
	}
	for _, df := range []bool{true, false} {
		w.Links[0].VXLAN.DF = df
		next := open(t, w)
		if r := inSync(t, next); r.Writes != 1 {
			t.Errorf("df %v: %d writes", df, r.Writes)
		}
		if after, err := next.state.ifaces.index(overlay); err != nil || after != before {
			t.Errorf("the overlay was number %d and is %d: %v", before, after, err)
		}
		if out := run(t, "ip", "-d", "link", "show", overlay); strings.Contains(out, "df set") != df {
			t.Errorf("want df %v: %s", df, out)
		}
		idle(t, next)
	}
	w.Links[0].VXLAN.DF = true
	run(t, "ip", "link", "del", overlay)
	inSync(t, open(t, w))
	if out := run(t, "ip", "-d", "link", "show", overlay); !strings.Contains(out, "df set") {
		t.Errorf("a new device: %s", out)
	}
}

func TestUpdate(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(3)))
	inSync(t, h)
	before := picture(t)

	four := peer(4, fabric.IPv4, fabric.IPv6)
	h.Update(Objects{}, four)
	if r := inSync(t, h); r.Writes != 7 || r.Dumped || len(r.Repaired) != 0 {
		t.Errorf("a peer came: %+v", r)
	}
	idle(t, h)

	moved := four
	moved.FDB = []FDB{{four.FDB[0].FDBKey, peer(5).FDB[0].Dst}}
	h.Update(four, moved)
	if r := inSync(t, h); r.Writes != 1 {
		t.Errorf("its address changed: %+v", r)
	}
	// The removal of what the peer no longer is must not take along what
	// stands at the same key by now.
	h.Update(Objects{FDB: four.FDB}, Objects{})
	idle(t, h)

	h.Update(moved, Objects{})
	if r := inSync(t, h); r.Writes != 7 || r.Dumped || len(r.Repaired) != 0 {
		t.Errorf("the peer went: %+v", r)
	}
	if got := picture(t); got != before {
		t.Errorf("something is left:\n%s", got)
	}
	h.SetWant(join(base("198.18.0.1"), peers(3)))
	idle(t, h)
}

// One object that cannot be had costs nothing but itself, is named with the
// reason, and comes when it can.
func TestFailureStaysAlone(t *testing.T) {
	underlay(t)
	bad := Objects{
		Nexthops: []Nexthop{{ID: NexthopID(9, 4, 0), Link: "late0", Gateway: subnet(4, 9).Addr(), OnLink: true}},
		Routes:   []Route{{RouteKey: RouteKey{subnet(4, 9), Metric}, Nexthop: NexthopID(9, 4, 0)}},
		Sysctls:  []Sysctl{{"net/ipv4/conf/late0/rp_filter", "2"}, {"kernel/ostype", "weft"}},
	}
	h := open(t, join(bad, base("198.18.0.1"), peers(3)))
	r := doSync(t, h)
	got := problems(r)
	for _, want := range []string{
		"failed nexthop 0x57000090 (nexthop): there is no device late0",
		"failed route 10.0.9.0/24 metric 158 (route): invalid argument (Nexthop id does not exist)",
		"failed sysctl net/ipv4/conf/late0/rp_filter (sysctl): set to 2: no such file or directory",
		"failed sysctl kernel/ostype (sysctl): set to weft: ",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("missing %q in:%s", want, got)
		}
	}
	if len(r.Failed) != 4 || len(r.Conflicts) != 0 || r.InSync {
		t.Errorf("got:%s", got)
	}
	run(t, "ip", "route", "get", "10.0.3.7")

	h.Update(Objects{Sysctls: bad.Sysctls[1:]}, Objects{})
	commands(t, "ip link add late0 type veth peer name late1; ip link set late1 up; ip link set late0 up")
	<-h.Changed()
	if r := inSync(t, h); len(r.Repaired) != 0 {
		t.Errorf("what never was in place counts as repaired: %v", r.Repaired)
	}
	idle(t, h)
}

// What is wanted for the first time on a host that is settled was altered by
// nobody.
func TestNewSysctlIsNoRepair(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(1)))
	inSync(t, h)
	one := Sysctl{"net/ipv4/fib_multipath_hash_policy", "1"}
	h.Update(Objects{}, Objects{Sysctls: []Sysctl{one}})
	if r := inSync(t, h); r.Writes != 1 || len(r.Repaired) != 0 {
		t.Errorf("%d messages, repaired %v", r.Writes, r.Repaired)
	}
	commands(t, "sysctl -qw net.ipv4.fib_multipath_hash_policy=0")
	h.Audit()
	if r := inSync(t, h); r.Repaired["sysctl"] != 1 {
		t.Errorf("altered by somebody: repaired %v", r.Repaired)
	}
	idle(t, h)
}

// A changed overlay is made anew with the same MAC address; what it took along
// is nobody's drift.
func TestOverlayMadeAnew(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(3)))
	inSync(t, h)
	w := join(base("198.18.0.1"), peers(3))
	w.Links[0].VXLAN.Port = 8472
	w.Links[0].VXLAN.UDPChecksum = true
	h.SetWant(w)
	if r := inSync(t, h); len(r.Repaired) != 0 {
		t.Errorf("repaired %v", r.Repaired)
	}
	out := run(t, "ip", "-d", "link", "show", overlay)
	if !strings.Contains(out, "dstport 8472") || !strings.Contains(out, vtep(0xff00).String()) || !strings.Contains(out, " udpcsum") {
		t.Error(out)
	}
	idle(t, h)
}

// A bridge with pods on it stays, whoever lacks it for a moment.
func TestBridgeWithPortsStays(t *testing.T) {
	underlay(t)
	w := join(base("198.18.0.1"), peers(1))
	h := open(t, w)
	inSync(t, h)
	commands(t, "ip link add pod0 type veth peer name pod1; ip link set pod0 master weft0")
	without := w
	without.Links, without.Addrs = w.Links[:1], nil
	h.SetWant(without)
	for range 2 {
		r := doSync(t, h)
		if got := problems(r); got != "\n  conflict link weft0 held by devices that are its ports" {
			t.Errorf("got:%s", got)
		}
	}
	h.SetWant(w)
	inSync(t, h)
	if out := run(t, "ip", "link", "show", "master", bridge); !strings.Contains(out, "pod0") {
		t.Error("the bridge lost its port")
	}
	h.SetWant(without)
	run(t, "ip", "link", "del", "pod0")
	inSync(t, h)
	if out := tolerant([]string{"ip", "link", "show", bridge}); !strings.Contains(out, "does not exist") {
		t.Errorf("the empty bridge is still there: %s", out)
	}
}

// A bridge does not keep account of who wants which group, whoever made it so.
func TestBridgeKnowsNoGroups(t *testing.T) {
	underlay(t)
	h := open(t, base("198.18.0.1"))
	inSync(t, h)
	run(t, "ip", "link", "set", bridge, "type", "bridge", "mcast_snooping", "1")
	inSync(t, h)
	if out := run(t, "ip", "-d", "link", "show", bridge); !strings.Contains(out, "mcast_snooping 0") {
		t.Error(out)
	}
	idle(t, h)
}

// IPv6 refuses a gateway that a route covers through another device, even the
// route of the very nexthop that is to move. The Host gets there all the same,
// by way of a deletion. (A link-local gateway moves without.)
func TestMoveIntoOverlay(t *testing.T) {
	for name, via := range map[string]string{"global": "fd00:1:0:1::", "link-local": "fe80::ff:fe00:1"} {
		t.Run(name, func(t *testing.T) {
			underlay(t)
			p := peer(1, fabric.IPv6)
			p.Nexthops[0].Link, p.Nexthops[0].OnLink, p.Nexthops[0].Gateway = uplink, false, addr("fd18::9")
			h := open(t, join(base("198.18.0.1"), p))
			inSync(t, h)
			to := p.Nexthops[0]
			to.Link, to.OnLink, to.Gateway = overlay, true, addr(via)
			h.Update(Objects{}, Objects{Nexthops: []Nexthop{to}})
			r := inSync(t, h)
			if name == "link-local" && r.Writes != 1 {
				t.Errorf("%d writes", r.Writes)
			}
			if out := run(t, "ip", "-6", "route", "show", "fd00:1:0:1::/64"); !strings.Contains(out, "dev weft.1") {
				t.Error(out)
			}
			idle(t, h)
		})
	}
}

// Pods come and go all the time, and the host ends of their veths have names
// like ours: that must not make the agent read ten thousand peers anew.
func TestPodsCostNoDump(t *testing.T) {
	underlay(t)
	h := open(t, base("198.18.0.1"))
	inSync(t, h)
	quiet := func(what string) {
		t.Helper()
		if r := inSync(t, h); r.Dumped || r.Writes != 0 {
			t.Errorf("%s: dumped %t, %d writes, want neither", what, r.Dumped, r.Writes)
		}
	}
	for range 3 {
		testns.Run(t, "ip", "link", "add", "weft0123456789a", "type", "veth", "peer", "name", "pod0")
		testns.Run(t, "ip", "link", "set", "weft0123456789a", "master", "weft0", "up")
		testns.Run(t, "ip", "link", "set", "pod0", "up")
		quiet("the pod came")
		testns.Run(t, "ip", "link", "del", "weft0123456789a")
		quiet("the pod went")
	}
}
