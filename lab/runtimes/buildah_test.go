package runtimes

import (
	"context"
	"net/netip"
	"strings"
	"testing"
)

// testBuildah has containers of buildah reach each other, and a build that
// needs the network.
func testBuildah(ctx context.Context, t *testing.T, hosts []*Machine) {
	var all []*Buildah
	var servers []Interface
	var clients []*Container
	for _, m := range hosts {
		b, err := m.Buildah(ctx)
		must(t, err)
		server, err := b.Container(ctx, "buildah-"+m.Spec.Name)
		must(t, err)
		i, err := b.Serve(ctx, server.Name)
		must(t, err)
		holder(t, m, i.Addrs)
		c, err := b.Container(ctx, "client-"+m.Spec.Name)
		must(t, err)
		all, servers, clients = append(all, b), append(servers, i), append(clients, c)
	}
	for i := range hosts {
		far := 1 - i
		for _, p := range servers[far].Addrs {
			reaches(ctx, t, clients[i], p.Addr(), "buildah-"+hosts[far].Spec.Name)
		}
	}

	to := netip.AddrPortFrom(servers[1].Addrs[1].Addr(), 80).String()
	out, err := all[0].Build(ctx, "built", "FROM "+Image, "RUN timeout 5 wget -q -O - http://"+to+"/name && ip address show dev eth0")
	must(t, err)
	if !strings.Contains(out, "buildah-"+hosts[1].Spec.Name) {
		t.Errorf("the build got %q", out)
	}
	_, shown, _ := strings.Cut(out, "eth0")
	i, err := parseInterface(shown)
	must(t, err)
	for _, slot := range slots(t, hosts[0]) {
		if slot.InUse && len(i.Addrs) > 0 && slot.Addr == i.Addrs[0].Addr() {
			t.Errorf("the build is over and has %s yet", slot.Addr)
		}
	}

}
