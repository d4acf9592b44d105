package agent

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

func TestWalkPairsSortedLists(t *testing.T) {
	peer := func(id fabric.NodeID) *fabric.Peer { return &fabric.Peer{Node: fabric.Node{ID: id}} }
	a, b, c, d := peer("a"), peer("b"), peer("c"), peer("d")
	newB := peer("b")
	var got []string
	walk([]*fabric.Peer{a, b, c}, []*fabric.Peer{newB, c, d}, func(x, y *fabric.Peer) {
		text := ""
		for _, p := range []*fabric.Peer{x, y} {
			if p == nil {
				text += "-"
			} else {
				text += string(p.ID)
			}
		}
		got = append(got, text)
	})
	if want := []string{"a-", "bb", "cc", "-d"}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func prefixes(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

func leased(texts ...string) store.Lease {
	l := store.Lease{State: store.Leased}
	for _, p := range prefixes(texts...) {
		l.Subnets = append(l.Subnets, fabric.Subnet{Prefix: p, Owner: "self"})
	}
	return l
}

func TestSubnetsOutliveTheirLease(t *testing.T) {
	owner := func(id fabric.NodeID, p string) *fabric.Snapshot {
		return &fabric.Snapshot{Peers: []*fabric.Peer{{Node: fabric.Node{ID: id}, Subnets: []fabric.Subnet{{Prefix: netip.MustParsePrefix(p)}}}}}
	}
	tests := []struct {
		name     string
		had      []netip.Prefix
		in       inputs
		all      []netip.Prefix
		draining []netip.Prefix
	}{
		{"first lease", nil, inputs{lease: leased("10.244.1.0/24"), snapshot: &fabric.Snapshot{}}, prefixes("10.244.1.0/24"), nil},
		{"lease unknown: pods stay", prefixes("10.244.1.0/24"), inputs{lease: store.Lease{State: store.Waiting}, snapshot: &fabric.Snapshot{}},
			prefixes("10.244.1.0/24"), prefixes("10.244.1.0/24")},
		{"moved: the old one drains", prefixes("10.244.1.0/24"), inputs{lease: leased("10.244.2.0/24"), snapshot: owner("self", "10.244.2.0/24")},
			prefixes("10.244.2.0/24", "10.244.1.0/24"), prefixes("10.244.1.0/24")},
		{"lost to another: gone", prefixes("10.244.1.0/24"), inputs{lease: leased("10.244.2.0/24"), snapshot: owner("other", "10.244.1.0/24")},
			prefixes("10.244.2.0/24"), nil},
		{"fenced lists nothing as leased", nil, inputs{lease: store.Lease{State: store.Fenced, Subnets: leased("10.244.1.0/24").Subnets}, snapshot: &fabric.Snapshot{}}, nil, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := wanted{input: backends.Input{Self: "self", Subnets: tt.had}}
			all, draining := w.subnets(tt.in)
			if !slices.Equal(all, tt.all) || !slices.Equal(draining, tt.draining) {
				t.Errorf("got %v draining %v, want %v draining %v", all, draining, tt.all, tt.draining)
			}
		})
	}
}

// Too little knowledge must not become an empty desired state.
func TestNothingIsWantedBeforeEnoughIsKnown(t *testing.T) {
	whole := inputs{
		snapshot: &fabric.Snapshot{Spec: &fabric.Spec{}}, lease: leased("10.244.1.0/24"), underlay: kernel.Underlay{MTU: 1500},
	}
	for name, change := range map[string]func(*inputs){
		"no snapshot": func(in *inputs) { in.snapshot = nil },
		"no fabric":   func(in *inputs) { in.snapshot = &fabric.Snapshot{} },
		"refused":     func(in *inputs) { in.lease = store.Lease{State: store.Refused} },
		"no underlay": func(in *inputs) { in.underlay = kernel.Underlay{} },
	} {
		t.Run(name, func(t *testing.T) {
			in := whole
			change(&in)
			w := wanted{} // no Host: touching it would panic
			if known, err := w.follow(in, time.Now()); known || err != nil {
				t.Error("something is wanted")
			}
		})
	}
}

func TestSubnetEnv(t *testing.T) {
	spec := &fabric.Spec{Masquerade: fabric.MasqueradeSpec{Enabled: true}}
	file := &nodefile.File{
		Networks: prefixes("10.244.0.0/16", "fd00:244::/48"), MTU: 1450,
		Subnets:  prefixes("10.244.9.0/24", "10.244.1.0/24", "fd00:244:0:1::/64"),
		Draining: prefixes("10.244.9.0/24"),
	}
	want := `FLANNEL_NETWORK=10.244.0.0/16
FLANNEL_SUBNET=10.244.1.1/24
FLANNEL_IPV6_NETWORK=fd00:244::/48
FLANNEL_IPV6_SUBNET=fd00:244:0:1::1/64
FLANNEL_MTU=1450
FLANNEL_IPMASQ=true
`
	if diff := cmp.Diff(want, string(envFile(file, spec))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestNamesAreThoseOfReports(t *testing.T) {
	objs := kernel.Objects{
		Routes:   []kernel.Route{{RouteKey: kernel.RouteKey{Dst: netip.MustParsePrefix("10.1.0.0/24"), Metric: 158}, MTU: 1400}},
		Nexthops: []kernel.Nexthop{{ID: 0x57000020}},
	}
	want := []string{"nexthop 0x57000020", "route 10.1.0.0/24 metric 158"}
	if got := names(objs); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}
