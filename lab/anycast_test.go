package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// anycastTopology has two nodes that announce the same addresses behind a ToR of
// the given kind, and senders in the other rack and outside. Pods keep their own
// addresses, so that their flows are shared out among the nodes.
const anycastTopology = `
underlay: bgp
racks:
  - {name: r1, tors: [{name: t1, kind: %s}]}
  - {name: r2, tors: [{name: t2, kind: %s}]}
spines: [{name: s1, kind: frr}]
hosts:
  - {name: h1, rack: r1, labels: {role: dns}}
  - {name: h2, rack: r1, labels: {role: dns}}
  - {name: h3, rack: r2}
pods: [{name: a, host: h3}, {name: b, host: h3}, {name: c, host: h3}, {name: d, host: h3}, {name: e, host: h3}, {name: f, host: h3}]
fabric:
  backend: bgp
  paths: [bgp]
  bgp: {asn: perNode}
  masquerade: {enabled: true, except: [203.0.113.0/24, '2001:db8::/32']}
bgp:
  - apiVersion: weft/v1
    kind: BGPPolicy
    metadata: {name: services}
    spec:
      rules: [{match: {prefixes: [{prefix: 203.0.113.0/24, min: 32}, {prefix: '2001:db8::/32', min: 128}]}, action: accept}]
  - apiVersion: weft/v1
    kind: BGPPeer
    metadata: {name: tors}
    spec: {nodes: {}, peer: {gateways: all}, asn: external, import: [services]}
  - apiVersion: weft/v1
    kind: BGPPrefix
    metadata: {name: dns}
    spec:
      nodes: {role: dns}
      prefixes: [203.0.113.53/32, '2001:db8::53/128']
      health: {interface: lo, interval: 1s, fall: 2}
`

// anycast is a fabric with an address that h1 and h2 have.
type anycast struct {
	ctx    context.Context
	t      *testing.T
	l      *Lab
	h1, h2 *Host
}

func upAnycast(t *testing.T, kind, other string) anycast {
	t.Helper()
	ctx, l := upBGP(t, fmt.Appendf(nil, anycastTopology, kind, other))
	a := anycast{ctx: ctx, t: t, l: l, h1: l.Host("h1"), h2: l.Host("h2")}
	for _, h := range []*Host{a.h1, a.h2} {
		a.address(h, "add")
		a.announced(h, "")
	}
	return a
}

// address adds the address to the host, or deletes it.
func (a anycast) address(h *Host, verb string) {
	a.t.Helper()
	for _, f := range fabric.Families {
		args := []string{"addr", verb, netip.PrefixFrom(anycastAddr(f), anycastAddr(f).BitLen()).String(), "dev", "lo"}
		if f == fabric.IPv6 && verb == "add" {
			args = append(args, "nodad") // or it cannot be bound for a moment
		}
		must(a.t, h.Tamper(a.ctx, "ip", args...))
	}
}

func anycastAddr(f fabric.Family) netip.Addr {
	return netip.MustParseAddr([]string{fabric.IPv4: "203.0.113.53", fabric.IPv6: "2001:db8::53"}[f])
}

// announced waits until the host announces the address, or withholds it for a
// reason.
func (a anycast) announced(h *Host, reason string) {
	a.t.Helper()
	must(a.t, h.Agent.WaitBGP(a.ctx, "announcement of "+h.Spec.Name, func(b *api.BGP) error {
		n := 0
		for _, x := range b.Announced {
			if strings.Contains(x.Why, "dns") && strings.Contains(x.Withheld, reason) && (x.Withheld == "") == (reason == "") {
				n++
			}
		}
		if n != len(fabric.Families) {
			return fmt.Errorf("%+v", b.Announced)
		}
		return nil
	}))
}

// service is the address on these hosts.
func service(hosts ...*Host) Endpoint {
	e := Endpoint{Name: "dns", Space: hosts[0].Namespace}
	for _, h := range hosts[1:] {
		e.Also = append(e.Also, h.Namespace)
	}
	for _, f := range fabric.Families {
		e.Addrs.Set(f, anycastAddr(f))
	}
	return e
}

// senders are all pods and the machine outside.
func (a anycast) senders() []Endpoint { return append(a.l.PodEndpoints(), a.l.OutsideEndpoint()) }

// send starts traffic to the address.
func (a anycast) send(to Endpoint) *Mesh {
	a.t.Helper()
	m, err := StartMesh(a.ctx, append(a.senders(), to), ProbeOptions{Rate: 50, To: to.Name})
	must(a.t, err)
	return m
}

// settled waits until the address can be reached from everywhere.
func (a anycast) settled(to Endpoint) {
	a.t.Helper()
	must(a.t, await(a.ctx, "the address to be reached", func() error {
		r, err := Probe(a.ctx, append(a.senders(), to), ProbeOptions{To: to.Name, Drain: 200 * time.Millisecond}, 200*time.Millisecond)
		if err == nil && !r.Clean() {
			err = errors.New(strings.Join(r.Losses(), "; "))
		}
		return err
	}))
}

// arrives waits until packets arrive at the host.
func (a anycast) arrives(m *Mesh, h *Host) {
	a.t.Helper()
	before := m.Requests(h.Namespace)
	must(a.t, await(a.ctx, "packets at "+h.Spec.Name, func() error {
		if m.Requests(h.Namespace) < before+20 {
			return errors.New("none come")
		}
		return nil
	}))
}

// leaves waits until many packets arrive at one host and none at the other.
func (a anycast) leaves(m *Mesh, from, to *Host) {
	a.t.Helper()
	const many = 200
	gone, here := m.Requests(from.Namespace), m.Requests(to.Namespace)
	must(a.t, await(a.ctx, "packets to leave "+from.Spec.Name, func() error {
		if n := m.Requests(from.Namespace); n != gone {
			gone, here = n, m.Requests(to.Namespace)
			return errors.New("they come")
		}
		if n := m.Requests(to.Namespace) - here; n < many {
			return fmt.Errorf("%d came to %s meanwhile", n, to.Spec.Name)
		}
		return nil
	}))
}

func (a anycast) stop(m *Mesh) Report {
	a.t.Helper()
	r, err := m.Stop(a.ctx)
	must(a.t, err)
	return r
}

// TestAnycastDrain: a drain moves all traffic to the other node and loses
// nothing, the command returns when it is gone and says so, and undrain brings
// it back.
func TestAnycastDrain(t *testing.T) {
	for kind, other := range map[string]string{KindFRR: KindBIRD, KindBIRD: KindFRR} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			a := upAnycast(t, kind, other)
			both, operator := service(a.h1, a.h2), a.l.Host("h3")
			a.settled(both)
			m := a.send(both)
			a.arrives(m, a.h1)
			a.arrives(m, a.h2)
			out, err := operator.Weft(a.ctx, "node", "drain", "h1", "--wait", "2m")
			must(t, err)
			at := m.Requests(a.h1.Namespace)
			a.arrives(m, a.h2)
			if n := m.Requests(a.h1.Namespace); n != at {
				t.Errorf("%d packets came after the drain was said to be over:\n%s", n-at, out)
			}
			wantClean(t, "drain", a.stop(m))
			wantInOrder(t, out, "node h1: to be drained", "leaving:", "withdrawn:", "quiet: no packet")

			m = a.send(both)
			a.arrives(m, a.h2)
			out, err = operator.Weft(a.ctx, "node", "undrain", "h1")
			must(t, err)
			wantInOrder(t, out, "node h1: no longer drained")
			a.arrives(m, a.h1)
			wantClean(t, "undrain", a.stop(m))
		})
	}
}

// TestAnycastHealth: a node whose condition fails is left by all traffic, and is
// back when the condition holds.
func TestAnycastHealth(t *testing.T) {
	t.Parallel()
	a := upAnycast(t, KindFRR, KindBIRD)
	both := service(a.h1, a.h2)
	a.settled(both)
	m := a.send(both)
	a.arrives(m, a.h1)
	a.address(a.h1, "del")
	a.announced(a.h1, "its health condition fails")
	a.leaves(m, a.h1, a.h2)
	a.stop(m) // what came until the condition was found broken is lost

	m = a.send(service(a.h2))
	a.arrives(m, a.h2)
	wantClean(t, "h1 has no address", a.stop(m))
	a.address(a.h1, "add")
	m = a.send(both)
	a.arrives(m, a.h1)
	wantClean(t, "h1 has the address again", a.stop(m))
}

// wantInOrder fails unless the text has all of these, one after the other.
func wantInOrder(t *testing.T, text string, parts ...string) {
	t.Helper()
	rest := text
	for _, p := range parts {
		_, after, found := strings.Cut(rest, p)
		if !found {
			t.Errorf("no %q at its place in:\n%s", p, text)
			return
		}
		rest = after
	}
}
