package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

// A stock is written as used/size of each subnet, the oldest first.
func TestStock(t *testing.T) {
	usual := fabric.AddressSpec{MinFree: 10, MaxSubnets: 3, ReturnAfter: fabric.Duration(30 * time.Minute)}
	off := fabric.AddressSpec{MinFree: 0, MaxSubnets: 3, ReturnAfter: usual.ReturnAfter}
	greedy := fabric.AddressSpec{MinFree: 90, MaxSubnets: 3, ReturnAfter: usual.ReturnAfter}
	const most, never = "ipv4 subnets: the node has 3, spec.addresses.maxSubnets is 3", "spec.addresses.minFree is 0, so no further subnet is leased"
	for _, tt := range []struct {
		name   string
		spec   fabric.AddressSpec
		stock  [][2]int
		denied string
		wants  int
		lacks  lack
		spare  int // which, 0: none
	}{
		{name: "nothing counted yet", spec: usual, wants: 1},
		{name: "a /24 with enough", spec: usual, stock: [][2]int{{227, 253}}, wants: 1},
		{name: "a /24 with one less", spec: usual, stock: [][2]int{{228, 253}}, wants: 2},
		{name: "full", spec: usual, stock: [][2]int{{253, 253}}, wants: 2},
		{name: "a /28: a percent of it is nothing", spec: usual, stock: [][2]int{{10, 13}}, wants: 1},
		{name: "a /28 that runs low", spec: usual, stock: [][2]int{{11, 13}}, wants: 2},
		{name: "a /30 with its one address", spec: usual, stock: [][2]int{{0, 1}}, wants: 1},
		{name: "a /30 that is full", spec: usual, stock: [][2]int{{1, 1}}, wants: 2},
		{name: "the share of all together", spec: usual, stock: [][2]int{{253, 253}, {202, 253}}, wants: 2},
		{name: "less than it", spec: usual, stock: [][2]int{{253, 253}, {203, 253}}, wants: 3},
		{name: "greedy", spec: greedy, stock: [][2]int{{26, 253}}, wants: 2},
		{name: "not one more than allowed", spec: usual, stock: [][2]int{{13, 13}, {13, 13}, {13, 13}}, wants: 3, lacks: lack{most, true}},
		{name: "as many as allowed, and enough", spec: usual, stock: [][2]int{{13, 13}, {13, 13}, {1, 13}}, wants: 3, lacks: lack{most, false}},
		{name: "off", spec: off, stock: [][2]int{{253, 253}}, wants: 1, lacks: lack{never, true}},
		{name: "off, and enough", spec: off, stock: [][2]int{{2, 253}}, wants: 1, lacks: lack{never, false}},
		{name: "the pool is exhausted", spec: usual, stock: [][2]int{{253, 253}}, denied: "none", wants: 2, lacks: lack{"none", true}},
		{name: "the youngest that is empty", spec: usual, stock: [][2]int{{1, 253}, {0, 253}, {0, 253}}, wants: 3, lacks: lack{most, false}, spare: 3},
		{name: "one in the middle", spec: usual, stock: [][2]int{{1, 253}, {0, 253}, {1, 253}}, wants: 3, lacks: lack{most, false}, spare: 2},
		{name: "never the oldest", spec: usual, stock: [][2]int{{0, 253}, {1, 253}}, wants: 2},
		{name: "not where it would be wanted back soon", spec: usual, stock: [][2]int{{173, 253}, {0, 253}}, wants: 2},
		{name: "but with a little more", spec: usual, stock: [][2]int{{172, 253}, {0, 253}}, wants: 2, spare: 2},
		{name: "off, and one is empty", spec: off, stock: [][2]int{{170, 253}, {0, 253}}, wants: 2, lacks: lack{never, false}, spare: 2},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var s stock
			idle := map[netip.Prefix]time.Time{}
			since := time.Unix(1e9, 0)
			for i, u := range tt.stock {
				p := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i + 1), 0}), 24)
				s.subnets = append(s.subnets, ipam.Usage{Subnet: p, Size: u[1], InUse: u[0]})
				s.total, s.used = s.total+u[1], s.used+u[0]
				if u[0] == 0 {
					idle[p] = since
				}
			}
			if got := s.wants(tt.spec); got != tt.wants {
				t.Errorf("wants %d subnets, should want %d", got, tt.wants)
			}
			if got := s.lacks(tt.spec, fabric.IPv4, tt.denied); got != tt.lacks {
				t.Errorf("lacks %+v, want %+v", got, tt.lacks)
			}
			p, at := s.spare(tt.spec, idle)
			number := 0
			if p.IsValid() {
				number = int(p.Addr().As4()[2])
			}
			if number != tt.spare || p.IsValid() && !at.Equal(since.Add(30*time.Minute)) {
				t.Errorf("%v is spare at %v, want number %d", p, at, tt.spare)
			}
		})
	}
}

// Why a node gets no more of one family says nothing of the other.
func TestFullByFamily(t *testing.T) {
	g := &grower{log: quiet()}
	g.lacks(fabric.IPv4, lack{})
	g.lacks(fabric.IPv6, lack{reason: "pool exhausted", needed: true})
	if want := (fabric.PerFamily[string]{IPv6: "pool exhausted"}); g.next.full != want {
		t.Errorf("full for the reasons %+v, want %+v", g.next.full, want)
	}
}
