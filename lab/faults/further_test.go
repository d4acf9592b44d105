package faults

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

// small is a fabric in which a host's first subnet has room for 13 pods, and in
// which further ones go back as soon as they may.
const small = `
racks: [{name: r1}]
hosts: [{name: h1}, {name: h2}]
pods: [{name: h1-a, host: h1}, {name: h2-a, host: h2}]
fabric:
  subnetLength: {ipv4: 28, ipv6: 64}
  addresses: {returnAfter: 2m}
`

// subnetsOf are the IPv4 subnets of a host.
func subnetsOf(s *api.Status) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(s.Lease.Subnets), func(p netip.Prefix) bool { return !p.Addr().Is4() })
}

// TestFurtherSubnetsGoBack: when its pods are gone and their addresses have
// rested, a host gives back all subnets but the first, here, in etcd and at its
// peer, and no packet of the pods that stay is lost.
func TestFurtherSubnetsGoBack(t *testing.T) {
	ctx, l := upTopology(t, []byte(small), 8*time.Minute)
	must(t, l.WaitReachable(ctx))
	h, peer := l.Host("h1"), l.Host("h2")
	var pods []*lab.Pod
	for i := range 30 {
		p, err := l.AddPod(ctx, h, fmt.Sprintf("f%d", i))
		must(t, err)
		pods = append(pods, p)
	}
	s, err := h.Agent.Status(ctx)
	must(t, err)
	had := subnetsOf(s)
	if len(had) < 3 {
		t.Fatalf("31 pods on %v", had)
	}
	m, err := lab.StartMesh(ctx, []lab.Endpoint{l.Pod("h1-a").Endpoint(), l.Pod("h2-a").Endpoint()}, lab.ProbeOptions{Rate: 50})
	must(t, err)
	for _, p := range pods {
		must(t, l.RemovePod(ctx, p))
	}
	for err = errors.New("not yet"); err != nil && ctx.Err() == nil; { // longer than one wait is
		err = h.Agent.WaitStatus(ctx, "the first subnet alone", func(s *api.Status) error {
			if got := subnetsOf(s); len(got) != 1 || got[0] != had[0] {
				return fmt.Errorf("%v", got)
			}
			return nil
		})
	}
	must(t, err)
	must(t, peer.Agent.WaitStatus(ctx, "the peer to know", func(s *api.Status) error {
		for _, p := range s.Peers {
			if p.Name == "h1" && len(p.Subnets) == 2 && p.Programmed {
				return nil
			}
		}
		return errors.New("not yet")
	}))
	report, err := m.Stop(ctx)
	must(t, err)
	if !report.Clean() {
		t.Errorf("%s\n%s", report.Summary(), strings.Join(report.Losses(), "\n"))
	}
	for _, host := range []*lab.Host{h, peer} {
		routes, err := host.Run(ctx, "ip", "-4", "route")
		must(t, err)
		addrs, err := host.Run(ctx, "ip", "-4", "-o", "addr", "show", "dev", "weft0")
		must(t, err)
		for _, p := range had[1:] {
			if strings.Contains(routes+addrs, p.Addr().String()) {
				t.Errorf("%s still has something of %v:\n%s%s", host.Spec.Name, p, routes, addrs)
			}
		}
	}
	if p, err := l.AddPod(ctx, h, "late"); err != nil || !had[0].Contains(p.Addr(fabric.IPv4)) {
		t.Errorf("a pod after that: %v, %v", p, err)
	}
}
