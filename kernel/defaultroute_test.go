package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The gateways are those of all default routes, whatever their metric, but for
// weft's own; nor is weft's own default route one to find the underlay by.
func TestGateways(t *testing.T) {
	tests := []struct {
		name, setup string
		want        []netip.Addr
	}{
		{"none", "", nil},
		{"one", "ip route add default via 198.18.0.254", []netip.Addr{addr("198.18.0.254")}},
		{"on a device alone", "ip route add default dev eth1 metric 9", nil},
		{
			"all metrics and families",
			"ip route add default via 198.18.0.254 metric 7; ip route add default via 198.18.1.254 metric 9; ip -6 route add default via 2001:2::fe; ip -6 route add default via fe80::1 dev eth0 metric 2000",
			[]netip.Addr{addr("198.18.0.254"), addr("198.18.1.254"), addr("2001:2::fe"), addr("fe80::1%eth0")},
		},
		{
			"multipath, the same link-local on two links",
			"ip route add default nexthop via 198.18.1.254 nexthop via 198.18.0.254; ip -6 route add default nexthop via fe80::1 dev eth0 nexthop via fe80::1 dev eth1",
			[]netip.Addr{addr("198.18.0.254"), addr("198.18.1.254"), addr("fe80::1%eth0"), addr("fe80::1%eth1")},
		},
		{"IPv4 over an IPv6 gateway", "ip route add default via inet6 fe80::1 dev eth1", []netip.Addr{addr("fe80::1%eth1")}},
		{"an administrator's group", "ip nexthop add id 1 via 198.18.0.254 dev eth0; ip nexthop add id 2 via 198.18.1.254 dev eth1; ip nexthop add id 3 group 1/2; ip route add default nhid 3",
			[]netip.Addr{addr("198.18.0.254"), addr("198.18.1.254")}},
		{"weft's own", "ip route add default via 198.18.0.254 metric 1073741824 proto 158; ip route add default via 198.18.1.254 metric 2000000000", []netip.Addr{addr("198.18.1.254")}},
		{"in another table", "ip route add default via 198.18.0.254 table 100", nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			twoUplinks(t)
			commands(t, tt.setup)
			u, err := FindUnderlay(UnderlayQuery{Interface: "eth0"})
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, u.Gateways, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			if tt.name == "weft's own" {
				if u, err := FindUnderlay(UnderlayQuery{}); err != nil || u.Interface != "eth1" {
					t.Errorf("underlay %+v, %v; want eth1", u, err)
				}
			}
		})
	}
}

// A default route of weft's lies behind the administrator's, which it neither
// changes nor counts as a conflict, and carries traffic when that one goes.
func TestDefaultRouteYields(t *testing.T) {
	underlay(t)
	twoToRs(t)
	commands(t, "ip route add default via 198.18.0.9; ip route add default via 198.18.0.8 metric 700; ip -6 route add default via fd18::9")
	before := others(t)
	w := ecmp(0)
	for i, all := range []string{"0.0.0.0/0", "::/0"} {
		w.Routes = append(w.Routes, Route{RouteKey: RouteKey{netip.MustParsePrefix(all), LastResort}, Nexthop: [2]uint32{both4, both6}[i]})
	}
	h := open(t, w)
	inSync(t, h)
	idle(t, h)
	if diff := cmp.Diff(before, others(t)); diff != "" {
		t.Errorf("touched somebody else's (-before +after):\n%s", diff)
	}
	commands(t, "ip route del default via 198.18.0.9; ip route del default via 198.18.0.8; ip -6 route del default via fd18::9")
	inSync(t, h)
	if out := run(t, "ip", "route", "get", "fibmatch", "203.0.113.1"); !strings.Contains(out, "proto 158") {
		t.Error(out)
	}
	commands(t, "ip route add default via 198.18.0.9; ip route add default via 198.18.0.8 metric 700; ip -6 route add default via fd18::9")
	inSync(t, h)
	h.SetWant(Objects{})
	inSync(t, h)
	if diff := cmp.Diff(before, others(t)); diff != "" {
		t.Errorf("touched somebody else's (-before +after):\n%s", diff)
	}
}
