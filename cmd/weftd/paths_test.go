package main

import (
	"context"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/internal/testns"
)

// neighbour puts the records of another node into etcd, whose subnet is the one
// that the switch tells of. Its agent is gone; its host, which the switch plays,
// answers.
func (r *rack) neighbour(receives string) {
	r.t.Helper()
	r.tor("ip", "addr", "add", "198.18.9.9/32", "dev", "lo")
	r.etcdctl("put", "/weft/v1/nodes/b", fmt.Sprintf(`{"name":"b","id":"b","index":77,"underlay":{"ipv4":"198.18.9.9"},"vtepMAC":%q,"mtu":1500,"receives":%s}`,
		vxlan.VTEPMAC("b"), receives))
	r.etcdctl("put", "/weft/v1/subnets/ipv4/010.244.200.000-24", `{"owner":"b","epoch":1}`)
}

// path waits until b is reached by a path, and gives how that is.
func (r *rack) path(want string) (out api.FamilyPath) {
	r.t.Helper()
	poll(r.t, func() error {
		peers, err := r.client().Peers(context.Background(), "b")
		if err != nil {
			return err
		}
		if len(peers) != 1 || len(peers[0].Families) != 1 || peers[0].Families[0].Path != want {
			return fmt.Errorf("want %s, peers are %+v", want, peers)
		}
		out = peers[0].Families[0]
		return nil
	})
	return out
}

// A peer is reached by BGP while the switch talks to us, and by the overlay as
// soon as it does not; a restart in between changes nothing in the kernel.
func TestOverlayStandsInForBGP(t *testing.T) {
	r := newRack(t, "", theTors)
	r.neighbour(`["vxlan","direct","bgp"]`)
	r.start()
	r.session("started", established)
	r.path("bgp")
	kernelHas := func(what string) {
		t.Helper()
		if have := testns.Run(t, "ip", "route", "show", "10.244.200.0/24"); !strings.Contains(have, what) {
			t.Errorf("route %q, want %q", have, what)
		}
	}
	kernelHas("via 198.18.1.1 dev eth0")
	r.birdc("disable", "host")
	if p := r.path("vxlan"); p.Switches == 0 || !strings.Contains(fmt.Sprint(p.Offers), "no BGP session is established") && !strings.Contains(fmt.Sprint(p.Offers), "no peer announces it") {
		t.Errorf("%+v", p)
	}
	kernelHas("dev weft.1")
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		r.stop(sig)
		r.start()
		r.path("vxlan")
		if s, err := r.client().Status(context.Background()); err != nil || s.Writes != 0 {
			t.Errorf("%v: a restart wrote %d messages, %v", sig, s.Writes, err)
		}
	}
	r.birdc("enable", "host")
	r.session("enabled again", established)
	r.path("bgp")
	kernelHas("via 198.18.1.1 dev eth0")
	r.birdc("disable", "host")
	r.path("vxlan")
	r.birdc("enable", "host")
	if p := r.path("bgp"); p.Switches < 3 {
		t.Errorf("it came back without having been stable: %+v", p)
	}
}
