package bgp

import (
	"testing"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/kernel"
)

func backendInput(t *testing.T, yaml string) backends.Input {
	self := node(1)
	in := backends.Input{Spec: parsed(t, yaml).Spec, Self: self.ID, Uplinks: []string{"eth1", "eth0"}}
	in.Underlay = kernel.Underlay{Interface: "eth0", MTU: 1500, Addrs: self.Underlay, AcceptRA: true}
	for _, s := range self.Subnets {
		if in.Spec.Network.Get(fabric.FamilyOf(s.Prefix.Addr())).IsValid() {
			in.Subnets = append(in.Subnets, s.Prefix)
		}
	}
	return in
}

func TestBase(t *testing.T) {
	golden.Compare(t, "base-dual-stack.txt", Backend{}.Base(backendInput(t, dualStack)).String())
	in := backendInput(t, ipv4Only)
	in.Spec.VXLAN.MTU = 1400
	in.Underlay.Interface, in.Uplinks = "", nil
	in.Subnets = nil
	in.Spec.Masquerade.Enabled = false
	golden.Compare(t, "base-ipv4-fixed-mtu-no-lease.txt", Backend{}.Base(in).String())
}

func TestPeerAddsNothing(t *testing.T) {
	in := backendInput(t, dualStack)
	for _, tt := range []struct {
		name   string
		change func(*backends.Remote)
		want   fabric.PathKind
	}{
		{"reached", func(*backends.Remote) {}, fabric.PathBGP},
		{"down", func(r *backends.Remote) { r.Down = true }, backends.Unreachable},
		{"without subnets", func(r *backends.Remote) { r.Subnets = nil }, ""},
		{"of an overlay", func(r *backends.Remote) { r.Receives = []fabric.PathKind{fabric.PathVXLAN} }, ""},
	} {
		var objs kernel.Objects
		r := backends.Remote{Peer: node(2)}
		tt.change(&r)
		way := Backend{}.Peer(&objs, in, r)
		if way.Kind != tt.want || way.Reason == "" || objs.String() != "" {
			t.Errorf("%s: got %+v and\n%s", tt.name, way, objs)
		}
	}
}
