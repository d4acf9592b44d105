package kernel

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel/rtnl"
)

// twoUplinks makes eth0 and eth1 (veth) with addresses of both families.
func twoUplinks(t *testing.T) {
	t.Helper()
	testns.New(t)
	for _, line := range []string{
		"link add eth0 mtu 9000 type veth peer name far0",
		"link add eth1 mtu 1500 type veth peer name far1",
		"link set eth0 up", "link set far0 up", "link set eth1 up", "link set far1 up",
		"addr add 198.18.0.1/24 dev eth0", "addr add 198.18.0.9/24 dev eth0",
		"addr add 198.18.1.1/24 dev eth1",
		"addr add 2001:2::1/64 dev eth1 nodad",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
}

func TestFindUnderlay(t *testing.T) {
	addr := netip.MustParseAddr
	tests := []struct {
		name  string
		setup []string
		query UnderlayQuery
		iface string
		v4    netip.Addr
		v6    netip.Addr
		mtu   int
	}{
		{"default route", []string{"route add default via 198.18.0.254"}, UnderlayQuery{}, "eth0", addr("198.18.0.1"), netip.Addr{}, 9000},
		{"lowest metric", []string{"route add default via 198.18.0.254 metric 200", "route add default via 198.18.1.254 metric 100"},
			UnderlayQuery{}, "eth1", addr("198.18.1.1"), addr("2001:2::1"), 1500},
		{"multipath", []string{"route add default nexthop via 198.18.0.254 nexthop via 198.18.1.254"}, UnderlayQuery{}, "eth0", addr("198.18.0.1"), netip.Addr{}, 9000},
		{"default through a nexthop object", []string{"nexthop add id 7 via 198.18.1.254 dev eth1", "route add default nhid 7"},
			UnderlayQuery{}, "eth1", addr("198.18.1.1"), addr("2001:2::1"), 1500},
		{"IPv6 default only", []string{"-6 route add default via 2001:2::ffff"}, UnderlayQuery{}, "eth1", addr("198.18.1.1"), addr("2001:2::1"), 1500},
		{"interface", nil, UnderlayQuery{Interface: "eth1"}, "eth1", addr("198.18.1.1"), addr("2001:2::1"), 1500},
		{"secondary address", nil, UnderlayQuery{Address: addr("198.18.0.9")}, "eth0", addr("198.18.0.9"), netip.Addr{}, 9000},
		{"loopback address", []string{"addr add 198.19.0.1/32 dev lo", "route add default nexthop via 198.18.0.254 nexthop via 198.18.1.254"},
			UnderlayQuery{Address: addr("198.19.0.1")}, "", addr("198.19.0.1"), addr("2001:2::1"), 1500},
		{"reach", []string{"route add 198.19.7.0/24 via 198.18.1.254"}, UnderlayQuery{Reach: addr("198.19.7.1")}, "eth1", addr("198.18.1.1"), addr("2001:2::1"), 1500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			twoUplinks(t)
			for _, line := range tt.setup {
				testns.Run(t, "ip", strings.Fields(line)...)
			}
			got, err := FindUnderlay(tt.query)
			if err != nil {
				t.Fatal(err)
			}
			want := fabric.PerFamily[netip.Addr]{IPv4: tt.v4, IPv6: tt.v6}
			if got.Interface != tt.iface || got.Addrs != want || got.MTU != tt.mtu {
				t.Errorf("got %+v, want %s %v mtu %d", got, tt.iface, want, tt.mtu)
			}
		})
	}
}

func TestFindUnderlayWithoutOne(t *testing.T) {
	for _, q := range []UnderlayQuery{{}, {Interface: "eth9"}, {Address: netip.MustParseAddr("198.18.9.9")}, {Reach: netip.MustParseAddr("198.19.7.1")}} {
		t.Run("", func(t *testing.T) {
			testns.New(t)
			if u, err := FindUnderlay(q); !errors.Is(err, ErrNoUnderlay) {
				t.Errorf("query %+v: got %+v, %v; want ErrNoUnderlay", q, u, err)
			}
		})
	}
}

func TestWatchUnderlay(t *testing.T) {
	twoUplinks(t)
	ctx, cancel := context.WithCancel(context.Background())
	changed := make(chan struct{}, 100)
	ended := make(chan error, 1)
	w, err := NewUnderlayWatch()
	if err != nil {
		t.Fatal(err)
	}
	seen := func() (routes int) {
		if err := w.conn.Drain(func(m rtnl.Message) {
			if m.Type == unix.RTM_NEWROUTE {
				routes++
			}
		}); err != nil {
			t.Fatal(err)
		}
		return routes
	}
	seen() // what came before the filter was in place
	testns.Run(t, "ip", "route", "add", "198.19.0.0/16", "via", "198.18.0.254")
	testns.Run(t, "ip", "-6", "route", "add", "2001:2:9::/48", "via", "2001:2::fe", "dev", "eth1")
	testns.Run(t, "ip", "route", "add", "default", "via", "198.18.0.254", "proto", "158", "metric", "1073741824")
	if n := seen(); n != 0 {
		t.Errorf("%d routes to elsewhere or of weft's own came through", n)
	}
	testns.Run(t, "ip", "route", "add", "default", "via", "198.18.0.254")
	testns.Run(t, "ip", "-6", "route", "add", "default", "via", "2001:2::fe", "dev", "eth1")
	if n := seen(); n != 2 {
		t.Errorf("%d default routes came through, want 2", n)
	}
	go func() { ended <- w.Run(ctx, func() { changed <- struct{}{} }) }()
	testns.Run(t, "ip", "route", "del", "default")
	select {
	case <-changed:
	case <-time.After(20 * time.Second):
		t.Error("a default route that went was not noticed")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
