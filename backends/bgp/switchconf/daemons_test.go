package switchconf

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weft-net/weft/internal/testbgp"
	"github.com/weft-net/weft/internal/testns"
)

// tor is a real switch daemon with a generated configuration.
type tor interface {
	routes(family string) string // those it uses, in its own words
}

type frr struct{ *testbgp.FRR }

func (f frr) routes(family string) string { return f.Show("show bgp " + family + " unicast") }

type bird struct{ *testbgp.BIRD }

func (b bird) routes(family string) string {
	table := map[string]string{"ipv4": "master4", "ipv6": "master6"}[family]
	return b.Show("route", "table", table, "all")
}

// host is a node of another make: gobgpd in a namespace of its own, on the
// switch's segment, the bridge "seg".
type host struct{ *testbgp.GoBGP }

func startHost(t *testing.T, n int, addrs []string, config string) host {
	t.Helper()
	h := host{testbgp.StartGoBGP(t, config)}
	port := fmt.Sprintf("host%d", n)
	testns.Run(t, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(h.Pid()))
	testns.Run(t, "ip", "link", "set", port, "master", "seg", "up")
	lines := []string{"ip link set lo up"}
	for _, a := range addrs {
		lines = append(lines, addAddress(a, "eth0"))
	}
	for _, line := range append(lines, "ip link set eth0 up") {
		if out, err := h.In(strings.Fields(line)...); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	return h
}

// addAddress is the command for an address that can be used at once.
func addAddress(addr, link string) string {
	if strings.Contains(addr, ":") {
		link += " nodad"
	}
	return "ip address add " + addr + " dev " + link
}
