package agent

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/agent/probe"
	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// offerFacts are those of a host in a fabric that routes and has an overlay: BGP
// told of all subnets of peer 2.
func offerFacts() (facts, *fabric.Peer) {
	spec := testSpec()
	spec.Backend = "bgp"
	in := backends.Input{Spec: spec, Plans: []fabric.Plan{spec.Plan()}, Self: "self", Underlay: kernel.Underlay{
		Interface: "eth0", MTU: 1500, Connected: []netip.Prefix{netip.MustParsePrefix("198.18.0.0/24")},
	}}
	in.Underlay.Addrs.IPv4 = netip.MustParseAddr("198.18.0.1")
	p := testPeer(2, "198.18.0.2")
	p.Receives = append(p.Receives, fabric.PathBGP)
	fib := bgp.NewFIB()
	fib.Guard(bgp.Guard{Networks: spec.Networks()})
	for _, s := range p.Subnets {
		fib.Claim(s.Prefix, true)
		fib.Learn([]bgp.Change{{Prefix: s.Prefix, NextHops: []netip.Addr{netip.MustParseAddr("198.18.0.254")}}})
	}
	fib.Resolve(map[netip.Addr][]kernel.Hop{netip.MustParseAddr("198.18.0.254"): {{Link: "eth0", Gateway: netip.MustParseAddr("198.18.0.254")}}})
	fib.Take()
	return facts{fib: fib}.with(in), p
}

// What is offered follows from the facts alone.
func TestOffers(t *testing.T) {
	second := fabric.Subnet{Prefix: netip.MustParsePrefix("10.244.77.0/24"), Owner: "peer-002"}
	for _, c := range []struct {
		name   string
		change func(k *facts, r *backends.Remote)
		want   string
	}{
		{"all is well", func(*facts, *backends.Remote) {}, "direct up, bgp up, vxlan up"},
		{"on another segment", func(_ *facts, r *backends.Remote) { r.Underlay.IPv4 = netip.MustParseAddr("198.18.9.2") }, "direct gone, bgp up, vxlan up"},
		{"the link has no carrier", func(k *facts, _ *backends.Remote) { k.cut = true }, "direct gone, bgp up, vxlan up"},
		{"its host is dead", func(_ *facts, r *backends.Remote) { r.Down = true }, "direct gone, bgp up, vxlan gone"},
		{"sessions are lost", func(k *facts, _ *backends.Remote) { k.lost = true }, "direct up, bgp doubtful, vxlan up"},
		{"the fabric does not route", func(k *facts, _ *backends.Remote) { k.fib = nil }, "direct up, vxlan up"},
		{"one subnet is not announced", func(_ *facts, r *backends.Remote) { r.Subnets = append(r.Subnets, second) }, "direct up, bgp gone, vxlan up"},
		{"it takes nothing", func(_ *facts, r *backends.Remote) { r.Receives = nil }, "direct gone, bgp gone, vxlan gone"},
		{"no overlay", func(k *facts, _ *backends.Remote) {
			k.in.Plans[0].Overlay = fabric.OverlayNever
			*k = k.with(k.in)
		}, "direct up, bgp up"},
		{"two overlays", func(k *facts, _ *backends.Remote) {
			next := k.in.Plans[0]
			next.VXLAN.Generation, next.VXLAN.Port = 1, 4790
			k.in.Plans = append(k.in.Plans, next)
			*k = k.with(k.in)
		}, "direct up, bgp up, vxlan up, vxlan/1 up"},
		{"probes", func(k *facts, _ *backends.Remote) {
			k.verdict = func(key probe.Key) probe.Verdict {
				return probe.Verdict{State: map[fabric.PathKind]probe.State{fabric.PathBGP: probe.Silent, fabric.PathVXLAN: probe.Answers}[key.Path.Kind]}
			}
		}, "direct up, bgp up silent, vxlan up answers"},
		{"a migration asks by itself", func(k *facts, _ *backends.Remote) { k.proven = true }, "direct up answers, bgp up answers, vxlan up answers"},
	} {
		t.Run(c.name, func(t *testing.T) {
			k, p := offerFacts()
			r := backends.Remote{Peer: p}
			c.change(&k, &r)
			a := k.arm(&kernel.Objects{}, r)
			a.asked = true
			var got []string
			for _, o := range k.offers(nil, r, fabric.IPv4, &a) {
				text := string(o.Path.Kind)
				if o.Path.Generation > 0 {
					text += fmt.Sprintf("/%d", o.Path.Generation)
				}
				text += " " + stateWords[o.State]
				if o.Verdict != 0 {
					text += " " + verdictWords[o.Verdict]
				}
				if o.Reason == "" {
					t.Errorf("%s: no reason", text)
				}
				got = append(got, text)
			}
			if diff := cmp.Diff(c.want, strings.Join(got, ", ")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Only peers' own gateways may ask, whoever had the subnet before.
func TestGatewaysAreThoseOfThePeers(t *testing.T) {
	var g gateways
	a, b, self := testPeer(2, "198.18.0.2"), testPeer(3, "198.18.0.3"), testPeer(4, "198.18.0.4")
	want := func(what string, peers []*fabric.Peer, known ...string) {
		t.Helper()
		g.follow(self.ID, append(peers, self))
		for _, text := range []string{"10.244.2.1", "10.244.3.1", "10.244.4.1", "10.244.2.2", "198.18.0.2"} {
			if got := g.known(netip.MustParseAddr(text)); got != slices.Contains(known, text) {
				t.Errorf("%s: %s is known: %t", what, text, got)
			}
		}
	}
	want("two", []*fabric.Peer{b, a}, "10.244.2.1", "10.244.3.1")
	without, taken := *a, *b
	without.Subnets, taken.Subnets = nil, a.Subnets
	want("the subnet moved", []*fabric.Peer{&without, &taken}, "10.244.2.1")
	want("nobody", nil)
}
