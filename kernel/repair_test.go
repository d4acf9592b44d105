package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Whatever somebody else does to an object of ours, one Sync puts it right,
// says so, and the one after writes nothing.
func TestRepair(t *testing.T) {
	const n = 4 // peers
	all := map[string]int{"link": 1, "sysctl": 1, "address": 2, "fdb": n, "neighbour": 2 * n, "nexthop": 2 * n, "route": 2 * n}
	tests := []struct {
		name     string
		tamper   string // commands separated by ;
		repaired map[string]int
	}{
		{"route deleted", "ip route del 10.0.1.0/24; ip -6 route del fd00:1:0:1::/64", map[string]int{"route": 2}},
		{"route to elsewhere", "ip route replace 10.0.1.0/24 via 198.18.0.9 proto 158 metric 158", map[string]int{"route": 1}},
		{"route through another nexthop", "ip route replace 10.0.1.0/24 nhid 0x57000020 proto 158 metric 158; ip -6 route replace fd00:1:0:1::/64 nhid 0x57000021 proto 158 metric 158", map[string]int{"route": 2}},
		{"route unreachable", "ip route replace unreachable 10.0.1.0/24 proto 158 metric 158; ip -6 route replace unreachable fd00:1:0:1::/64 proto 158 metric 158", map[string]int{"route": 2}},
		{"route with an mtu", "ip route replace 10.0.1.0/24 nhid 0x57000010 proto 158 metric 158 mtu 1200", map[string]int{"route": 1}},
		{"second route in front of ours", "ip route prepend 10.0.1.0/24 via 198.18.0.9 proto 158 metric 158", map[string]int{"route": 1}},
		{"second route behind ours", "ip route append 10.0.1.0/24 via 198.18.0.9 proto 158 metric 158", map[string]int{"route": 1}},
		{"blackhole deleted", "ip route del blackhole 10.255.0.0/24; ip -6 route del blackhole fd00:1:0:ff00::/64 metric 2147483648", map[string]int{"route": 2}},
		{"route of ours too many", "ip route add blackhole 10.77.0.0/24 proto 158; ip -6 route add unreachable fd00:1:7::/64 proto 158 metric 7", map[string]int{"route": 2}},
		{"nexthop deleted", "ip nexthop del id 0x57000010; ip nexthop del id 0x57000011", map[string]int{"nexthop": 2, "route": 2}},
		{"nexthop elsewhere", "ip nexthop replace id 0x57000010 via 198.18.0.9 dev up0 protocol 158; ip nexthop replace id 0x57000011 via fd18::9 dev up0 protocol 158", map[string]int{"nexthop": 2}},
		{"nexthop blackhole", "ip nexthop replace id 0x57000010 blackhole protocol 158", nil},
		{"nexthop a group", "ip nexthop del id 0x57000010; ip nexthop add id 0x57000010 group 0x57000020 protocol 158", map[string]int{"nexthop": 1, "route": 1}},
		{"nexthop of ours too many", "ip nexthop add id 0x57000050 via 198.18.0.9 dev up0 protocol 158", map[string]int{"nexthop": 1}},
		{"neighbour deleted", "ip neigh del 10.0.1.0 dev weft.1; ip neigh del fe80::ff:fe00:1 dev weft.1", map[string]int{"neighbour": 2}},
		{"neighbour altered", "ip neigh replace 10.0.1.0 lladdr 02:00:00:00:00:99 nud permanent dev weft.1", map[string]int{"neighbour": 1}},
		{"neighbour not permanent", "ip neigh replace 10.0.1.0 lladdr 02:00:00:00:00:01 nud stale dev weft.1; ip neigh replace fe80::ff:fe00:1 lladdr 02:00:00:00:00:01 nud stale dev weft.1", map[string]int{"neighbour": 2}},
		{"neighbour too many", "ip neigh add 10.88.0.1 lladdr 02:00:00:00:00:99 nud permanent dev weft.1", map[string]int{"neighbour": 1}},
		{"fdb deleted", "bridge fdb del 02:00:00:00:00:01 dev weft.1", map[string]int{"fdb": 1}},
		{"fdb altered", "bridge fdb replace 02:00:00:00:00:01 dev weft.1 dst 198.18.0.77", map[string]int{"fdb": 1}},
		{"fdb with a port", "bridge fdb replace 02:00:00:00:00:01 dev weft.1 dst 198.18.0.1 port 999", map[string]int{"fdb": 1}},
		{"fdb too many", "bridge fdb append 00:00:00:00:00:00 dev weft.1 dst 198.18.0.5; bridge fdb append 00:00:00:00:00:00 dev weft.1 dst 198.18.0.6", map[string]int{"fdb": 1}},
		{"address deleted", "ip addr del 10.255.0.0/32 dev weft.1; ip addr del fd00:1:0:ff00::/128 dev weft.1; ip addr del 10.255.0.1/24 dev weft0", map[string]int{"address": 3, "neighbour": n}},
		{"addresses flushed", "ip addr flush dev weft0; ip addr flush dev weft.1", map[string]int{"address": 4, "neighbour": n}},
		{"address too many", "ip addr add 10.99.0.1/24 dev weft0; ip addr add fd99::1/64 dev weft.1", map[string]int{"address": 2}},
		{"mtu", "ip link set weft.1 mtu 1300; ip link set weft0 mtu 1400", map[string]int{"link": 2}},
		{"mac", "ip link set weft.1 address 02:09:09:09:09:09; ip link set weft0 address 02:09:09:09:09:08", map[string]int{"link": 2, "neighbour": 2 * n}},
		{"alias", "ip link set weft.1 alias mine", map[string]int{"link": 1}},
		{"learning", "ip link set weft.1 type vxlan learning", map[string]int{"link": 1}},
		{"df", "ip link set weft.1 type vxlan df inherit", map[string]int{"link": 1}},
		{"overlay down", "ip link set weft.1 down", nil},
		{"overlay down and up", "ip link set weft.1 down; ip link set weft.1 up", nil},
		{"bridge down", "ip link set weft0 down", nil},
		{"overlay deleted", "ip link del weft.1", all},
		{"overlay of another kind", "ip link del weft.1; ip link add weft.1 type bridge; ip link set weft.1 alias weft", nil},
		{"overlay with another vni", "ip link del weft.1; ip link add weft.1 type vxlan id 9 dstport 4789 dev up0; ip link set weft.1 alias weft", nil},
		{"bridge deleted", "ip link del weft0", map[string]int{"link": 1, "address": 2}},
		{"sysctl", "sysctl -qw net.ipv4.ip_forward=0; sysctl -qw net.ipv4.conf.weft/1.rp_filter=1", map[string]int{"sysctl": 2}},
		{"ruleset flushed", "nft flush ruleset", map[string]int{"masquerade": 1}},
		{"rules flushed", "nft flush chain inet weft postrouting", map[string]int{"masquerade": 1}},
		{"rule added", "nft add rule inet weft postrouting ip daddr 9.9.9.9 drop", map[string]int{"masquerade": 1}},
		{"rule altered", "nft flush chain inet weft postrouting; nft add rule inet weft postrouting ip saddr @sources4 masquerade", map[string]int{"masquerade": 1}},
		{"set altered", "nft add element inet weft inside4 { 99.0.0.0/8 }", map[string]int{"masquerade": 1}},
		{"set emptied", "nft flush set inet weft sources6", map[string]int{"masquerade": 1}},
		{"table dormant", "nft -f testdata/dormant.nft", map[string]int{"masquerade": 1}},
		{"chain added", "nft add chain inet weft other", map[string]int{"masquerade": 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			repairs(t, join(base("198.18.0.1"), peers(n)), tt.tamper, tt.repaired)
		})
	}
}

// repairs brings w about, has somebody tamper with it, and checks that one Sync
// brings it about again and reports repaired (nil: whatever it was).
func repairs(t *testing.T, w Objects, tamper string, repaired map[string]int) {
	t.Helper()
	h := open(t, w)
	inSync(t, h)
	idle(t, h)
	want := picture(t)
	commands(t, tamper)
	if picture(t) == want {
		t.Fatal("the commands changed nothing")
	}
	<-h.Changed()
	r := inSync(t, h)
	if len(r.Repaired) == 0 || r.Writes == 0 {
		t.Errorf("repair not reported: %+v", r)
	}
	if diff := cmp.Diff(repaired, r.Repaired); repaired != nil && diff != "" {
		t.Errorf("repaired (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(want, picture(t)); diff != "" {
		t.Errorf("not as before (-want +got):\n%s", diff)
	}
	idle(t, h)
	idle(t, open(t, w))
}

// picture is what ip(8), bridge(8) and nft(8) show of the namespace, without
// what differs between a device and its successor.
func picture(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{
		{"ip", "-4", "route", "show", "table", "main"}, {"ip", "-6", "route", "show", "table", "main"},
		{"ip", "nexthop"}, {"ip", "neigh", "show", "nud", "permanent"}, {"bridge", "fdb", "show", "dev", overlay},
		{"ip", "-br", "addr"}, {"ip", "-d", "link", "show", "dev", overlay}, {"ip", "-d", "link", "show", "dev", bridge},
		{"nft", "list", "ruleset"}, {"sysctl", "net.ipv4.ip_forward", "net.ipv4.conf.weft/1.rp_filter", "net.ipv6.conf.all.forwarding"},
	} {
		b.WriteString("# " + strings.Join(args, " ") + "\n")
		b.WriteString(tolerant(args))
	}
	return b.String()
}
