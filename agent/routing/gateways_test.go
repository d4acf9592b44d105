package routing

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
)

// A gateway's session outlives its link and its default route; it goes only when
// the link works without that route for long.
func TestGatewaysAreSticky(t *testing.T) {
	g := gateways{}
	links := []link{{"eth0", true, prefixes("198.18.1.10/24")}, {"eth1", true, prefixes("198.18.2.10/24")}}
	want := func(second int, seen []netip.Addr, want []netip.Addr) {
		t.Helper()
		if got := g.follow(seen, links, at(second)); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("second %d: %v, want %v", second, got, want)
		}
	}
	both := addrs("198.18.1.1", "198.18.2.1")
	want(0, both, both)
	links[1].up = false
	want(1, both[:1], both)
	want(100, both[:1], both)
	links = links[:1] // the interface is gone altogether
	want(200, both[:1], both)
	links = append(links, link{"eth1", true, nil}) // and back, without its address
	want(201, both[:1], both)
	want(230, both[:1], both)
	links[1].up = false // flaps: the time begins anew
	want(231, both[:1], both)
	links[1].up = true
	want(232, both[:1], both)
	want(261, both[:1], both)
	want(262, both[:1], both[:1])
	want(263, both, both)

	router := addrs("fe80::1%eth1")
	want(300, append(both[:2:2], router...), append(both[:2:2], router...))
	links[1].up = false
	want(400, both[:1], append(both[:2:2], router...))
}

// Where nobody knows a gateway's link, it stays while there is no other.
func TestGatewayOfUnknownLink(t *testing.T) {
	g := gateways{}
	far := addrs("198.19.0.1")
	g.follow(far, nil, at(0))
	if got := g.follow(nil, nil, at(100)); len(got) != 1 {
		t.Errorf("gone with the last default route: %v", got)
	}
	other := addrs("198.18.1.1")
	g.follow(other, nil, at(200))
	if got := g.follow(other, nil, at(230)); len(got) != 1 || got[0] != other[0] {
		t.Errorf("got %v, want %v", got, other)
	}
}

// The BGP identifier must not follow the uplink that happens to work.
func TestOwnAddressStaysWhileTheHostHasIt(t *testing.T) {
	v4 := func(s string) (a fabric.PerFamily[netip.Addr]) { a.IPv4 = netip.MustParseAddr(s); return a }
	links := []link{{"eth0", false, prefixes("198.18.1.10/24")}, {"eth1", true, prefixes("198.18.2.10/24")}}
	if got := keepAddrs(v4("198.18.1.10"), v4("198.18.2.10"), links); got.IPv4 != netip.MustParseAddr("198.18.1.10") {
		t.Errorf("address %s changed with the uplink", got.IPv4)
	}
	if got := keepAddrs(v4("198.18.1.10"), v4("198.18.2.10"), links[1:]); got.IPv4 != netip.MustParseAddr("198.18.2.10") {
		t.Errorf("address %s is no longer the host's", got.IPv4)
	}
}

// Pods' interfaces are not looked at: there are hundreds, in every step.
func TestLinksOfPodsAreLeftOut(t *testing.T) {
	testns.New(t)
	testns.Run(t, "ip", strings.Fields("link add eth0 type veth peer name weft0a1b2c3d")...)
	testns.Run(t, "ip", strings.Fields("addr add 198.18.0.2/24 dev eth0")...)
	var names []string
	for _, l := range readLinks() {
		names = append(names, l.name)
	}
	slices.Sort(names)
	if !slices.Contains(names, "eth0") || slices.Contains(names, "weft0a1b2c3d") {
		t.Errorf("links %q", names)
	}
}
