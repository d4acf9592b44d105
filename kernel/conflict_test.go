package kernel

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Where somebody else's object stands at a wanted key, weft says who and what,
// leaves it as it is, does the rest, and takes the place when it is free.
func TestConflict(t *testing.T) {
	tests := []struct {
		name   string
		before string // commands separated by ;
		free   string
		want   []Conflict
	}{
		{
			"route at the same key",
			"ip route add 10.0.1.0/24 via 198.18.0.9 metric 158 proto static; ip -6 route add fd00:1:0:1::/64 via fd18::9 metric 158 proto bird",
			"ip route del 10.0.1.0/24 proto static; ip -6 route del fd00:1:0:1::/64 proto bird",
			[]Conflict{
				{"route 10.0.1.0/24 metric 158", "a route of protocol 4 metric 158 dev up0"},
				{"route fd00:1:0:1::/64 metric 158", "a route of protocol 12 metric 158 dev up0"},
			},
		},
		{
			"route that is preferred",
			"ip route add 10.0.1.0/24 via 198.18.0.9 metric 7",
			"ip route del 10.0.1.0/24 metric 7",
			[]Conflict{{"route 10.0.1.0/24 metric 158", "a route of protocol 3 metric 7 dev up0"}},
		},
		{
			"nexthop id",
			"ip nexthop add id 0x57000010 via 198.18.0.9 dev up0 protocol zebra",
			"ip nexthop del id 0x57000010",
			[]Conflict{{"nexthop 0x57000010", "a nexthop of protocol 11"}},
		},
		{
			"device of the bridge's name",
			"ip link add weft0 type bridge; ip link set weft0 up; ip addr add 10.1.1.1/24 dev weft0",
			"ip link del weft0",
			[]Conflict{{"link weft0", `a device of kind "bridge" without alias "weft"`}},
		},
		{
			"device of the overlay's name",
			"ip link add weft.1 type veth peer name other; ip link set weft.1 alias weft; ip link set weft.1 up",
			"ip link del weft.1",
			[]Conflict{{"link weft.1", `a device of kind "veth" without alias "weft"`}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			underlay(t)
			commands(t, tt.before)
			w := join(base("198.18.0.1"), peers(3))
			w.Sysctls = nil // forwarding shows in ip(8)'s output
			h := open(t, w)
			for range 2 { // the second with conflicts known
				foreign := others(t)
				r := doSync(t, h)
				if diff := cmp.Diff(tt.want, r.Conflicts); diff != "" || r.InSync {
					t.Fatalf("in sync: %v, conflicts (-want +got):\n%s%s", r.InSync, diff, problems(r))
				}
				if diff := cmp.Diff(foreign, others(t)); diff != "" {
					t.Errorf("touched somebody else's (-before +after):\n%s", diff)
				}
				h.Audit()
			}
			if got := run(t, "ip", "route", "show", "10.0.2.0/24"); got == "" && !strings.Contains(tt.before, overlay) {
				t.Error("the other peers' routes are missing")
			}
			commands(t, tt.free)
			inSync(t, h)
			idle(t, h)
		})
	}
}

// A foreign route that replaces ours takes the place, and is left there.
func TestConflictTakesOver(t *testing.T) {
	underlay(t)
	h := open(t, join(base("198.18.0.1"), peers(2)))
	inSync(t, h)
	commands(t, "ip route replace 10.0.1.0/24 via 198.18.0.9 metric 158; ip -6 route replace fd00:1:0:1::/64 via fd18::9 metric 158")
	before := others(t)
	if r := doSync(t, h); len(r.Conflicts) != 2 || r.Writes != 0 {
		t.Errorf("got %d writes, %s", r.Writes, problems(r))
	}
	if diff := cmp.Diff(before, others(t)); diff != "" {
		t.Errorf("touched somebody else's (-before +after):\n%s", diff)
	}
	commands(t, "ip route del 10.0.1.0/24; ip -6 route del fd00:1:0:1::/64")
	inSync(t, h)
}

// What is not weft's stays as it is to the byte, from the first Sync to the
// last removal.
func TestOthersUntouched(t *testing.T) {
	underlay(t)
	commands(t, `ip link add weftfoo type veth peer name vethx; ip link set weftfoo up; ip addr add 10.98.0.1/24 dev weftfoo;
		ip link add br0 type bridge; ip link set vethx master br0;
		ip link add vxlan9 type vxlan id 9 dstport 4789 dev up0; ip link set vxlan9 alias weft; ip link set vxlan9 up; bridge fdb append 00:00:00:00:00:00 dev vxlan9 dst 198.18.0.3;
		ip neigh add 10.0.7.7 lladdr 02:00:00:00:00:77 nud permanent dev vxlan9;
		ip route add 10.0.1.0/24 via 198.18.0.9 metric 500 proto static; ip route add blackhole 10.0.2.0/24 proto bird metric 501; ip route add 10.50.0.0/16 via 198.18.0.8;
		ip route add 10.0.1.0/24 via 198.18.0.9 table 100 proto 158; ip -6 route add fd00:1::/48 via fd18::9 metric 9000;
		ip -6 route add unreachable fd00:1:0:1::/64 metric 600 proto static;
		ip nexthop add id 7 via 198.18.0.9 dev up0; ip nexthop add id 8 via fd18::9 dev up0 protocol 158; ip nexthop add id 0x58000000 via 198.18.0.9 dev up0 protocol 158;
		nft -f testdata/foreign.nft`)
	before := others(t)
	check := func(when string) {
		t.Helper()
		if diff := cmp.Diff(before, others(t)); diff != "" {
			t.Fatalf("%s (-before +after):\n%s", when, diff)
		}
	}
	w := join(base("198.18.0.1"), peers(5))
	w.Sysctls = nil // forwarding shows in ip(8)'s output
	h := open(t, w)
	inSync(t, h)
	check("after programming")
	h.Audit()
	inSync(t, h)
	check("after an audit")
	run(t, "ip", "link", "del", overlay)
	inSync(t, h)
	check("after a repair")
	h.SetWant(Objects{})
	inSync(t, h)
	check("after everything was removed")
	if out := ours(t); out != "" {
		t.Errorf("left behind:\n%s", out)
	}
}

// others shows everything in the namespace but what is weft's.
func others(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{
		{"ip", "-o", "-4", "route", "show", "table", "all"}, {"ip", "-o", "-6", "route", "show", "table", "all"}, {"ip", "-N", "nexthop"},
		{"ip", "neigh", "show", "nud", "permanent"}, {"bridge", "fdb", "show"}, {"ip", "-o", "addr"}, {"ip", "-d", "-o", "link"},
		{"nft", "list", "table", "inet", "filter"}, {"nft", "list", "table", "ip", "weft"}, {"nft", "list", "table", "inet", "weftfoo"},
	} {
		for line := range strings.Lines(tolerant(args)) {
			late := strings.HasPrefix(line, "33:33:") || strings.HasPrefix(line, "multicast ff00::/8") // come with a carrier
			if !isOurs(line) && !late {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func ours(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	for _, args := range [][]string{{"ip", "route"}, {"ip", "-6", "route"}, {"ip", "-o", "link"}, {"ip", "nexthop"}, {"nft", "list", "tables"}} {
		for line := range strings.Lines(tolerant(args)) {
			if isOurs(line) || strings.Contains(line, "table inet weft\n") {
				b.WriteString(line)
			}
		}
	}
	return b.String()
}

func isOurs(line string) bool {
	owner := strings.Contains(line, "proto 158") && !strings.Contains(line, "table 100") && !strings.HasPrefix(line, "id 8 ") && !strings.HasPrefix(line, "id 1476395008 ")
	return owner || strings.Contains(line, "dev weft.1") || strings.Contains(line, "dev weft0") || strings.HasPrefix(line, "weft.1") || strings.HasPrefix(line, "weft0")
}
