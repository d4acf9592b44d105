package config

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

const v4 = head + "  network: {ipv4: 10.244.0.0/16}\n" // 5 lines

func TestPaths(t *testing.T) {
	got := parseOne(t, v4+`  paths: [bgp, vxlan]
  pathRules:
  - {nodes: {rack: r1}, peers: {rack: r2}, paths: [direct]}
  - {nodes: {rack: r1}, peers: {}, overlay: fallback}
  - {nodes: {}, overlay: always}
  probe: {port: 7000}
`).Fabric()
	want := &fabric.Spec{
		Paths: []fabric.PathKind{fabric.PathBGP, fabric.PathVXLAN},
		PathRules: []fabric.PathRule{
			{Nodes: fabric.Selector{"rack": "r1"}, Peers: fabric.Selector{"rack": "r2"}, Paths: []fabric.PathKind{fabric.PathDirect}},
			{Nodes: fabric.Selector{"rack": "r1"}, Overlay: "fallback"},
			{Nodes: fabric.Selector{}, Overlay: "always"},
		},
		Probe: fabric.ProbeSpec{Port: 7000},
	}
	if diff := cmp.Diff(want, &fabric.Spec{Paths: got.Paths, PathRules: got.PathRules, Probe: got.Probe}, cmpAddrs); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	raw, err := Object{APIVersion: APIVersion, Kind: "Fabric", Spec: got}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if back, err := DecodeFabric(raw); err != nil || !cmp.Equal(back, got, cmpAddrs) {
		t.Errorf("%s is read back as %+v, %v", raw, back, err)
	}
	if !got.Plan().Routes(got.PathRules) || got.BGP.ASN != "perNode" || !strings.Contains(string(raw), `"bgp":{`) {
		t.Errorf("some nodes speak BGP, and the Fabric does not say how: %s", raw)
	}
}

func TestBadPaths(t *testing.T) {
	const rule = "  pathRules:\n  - " // its rule is on line 7
	refusals(t, v4, [][2]string{
		{"  paths: []\n", "6: spec.paths: is empty, pods would reach no other node (want some of direct, bgp, vxlan, the preferred one first)"},
		{"  paths: [direct, vxlna]\n", `6: spec.paths[1]: "vxlna" is not a path, want direct, bgp or vxlan (did you mean vxlan?)`},
		{"  paths: [BGP]\n", `6: spec.paths[0]: "BGP" is not a path, want direct, bgp or vxlan (did you mean bgp?)`},
		{"  paths: [bgp, vxlan, bgp]\n", "6: spec.paths[2]: bgp is listed twice"},
		{"  paths: bgp\n", "6: spec.paths: is a single value, want a list"},
		{"  paths: [bgp]\n  overlay: always\n", "6: spec.paths: overlay is set too, which is a word for such a list; want one of them"},
		{"  overlay: crosssubnet\n", `6: spec.overlay: "crosssubnet" does not say when to encapsulate, want always, crossSubnet, fallback, never (did you mean crossSubnet?)`},
		{"  pathRules: [{overlay: always}]\n", "6: spec.pathRules[0].nodes: is missing, want labels of nodes like {rack: r1}, or {} for every node"},
		{rule + "{nodes: {}}\n", "7: spec.pathRules[0]: has neither paths nor overlay, want one of them"},
		{rule + "{nodes: {}, paths: [bgp], overlay: always}\n", "7: spec.pathRules[0].paths: overlay is set too, which is a word for such a list; want one of them"},
		{rule + "{nodes: {}, paths: []}\n", "7: spec.pathRules[0].paths: is empty, pods would reach no other node (want some of direct, bgp, vxlan, the preferred one first)"},
		{rule + "{nodes: {}, overlay: often}\n", `7: spec.pathRules[0].overlay: "often" does not say when to encapsulate, want always, crossSubnet, fallback, never`},
		{rule + "{nodes: {a b: c}, overlay: always}\n", `7: spec.pathRules[0].nodes: "a b" is not the key of a label (letters, digits, dashes, dots, underscores, like rack or example.net/rack)`},
		{rule + "{nodes: {}, peers: {rack: r/1}, overlay: always}\n", `7: spec.pathRules[0].peers.rack: "r/1" is not the value of a label (up to 63 letters, digits, dashes, dots, underscores)`},
		{rule + "{nodes: {}, path: [bgp]}\n", "7: spec.pathRules[0].path: unknown key (did you mean spec.pathRules[0].paths?)"},
		{"  probe: {port: 0}\n", "6: spec.probe.port: 0 is not a UDP port (1 to 65535)"},
		{"  vxlan: {generation: -1}\n", "6: spec.vxlan.generation: -1 is out of range (0 to 1048576)"},
	})
}

// TestCheckPlan: what a migration leads to is held to what a file is.
func TestCheckPlan(t *testing.T) {
	good := parseOne(t, v4).Fabric().Plan()
	dual := &fabric.Spec{Network: fabric.PerFamily[netip.Prefix]{IPv6: netip.MustParsePrefix("fd00::/48")}}
	for _, c := range []struct {
		name   string
		change func(*fabric.Plan)
		spec   *fabric.Spec
		want   string
	}{
		{"nothing", func(*fabric.Plan) {}, nil, ""},
		{"bgp", func(p *fabric.Plan) { p.Backend, p.Overlay = "bgp", "never" }, nil, ""},
		{"backend", func(p *fabric.Plan) { p.Backend = "geneve" }, nil, `backend: "geneve" is not a backend, want vxlan or bgp`},
		{"vni", func(p *fabric.Plan) { p.VXLAN.VNI = 0 }, nil, "vxlan.vni: 0 is out of range (1 to 16777215)"},
		{"paths", func(p *fabric.Plan) { p.Paths = []fabric.PathKind{"x"} }, nil, `paths[0]: "x" is not a path, want direct, bgp or vxlan`},
		{"mtu", func(p *fabric.Plan) { p.VXLAN.MTU = 100 }, nil, "vxlan.mtu: 100 is out of range for ipv4 (576 to 65465, or 0 to choose by the underlay's)"},
		{"mtu of some fabric", func(p *fabric.Plan) { p.VXLAN.MTU = 1000 }, nil, ""},
		{"mtu of this fabric", func(p *fabric.Plan) { p.VXLAN.MTU = 1000 }, dual, "vxlan.mtu: 1000 is out of range for ipv6 (1280 to 65465, or 0 to choose by the underlay's)"},
	} {
		p := good
		c.change(&p)
		if got := errText(CheckPlan(c.spec, p)); got != c.want {
			t.Errorf("%s:\ngot:  %s\nwant: %s", c.name, got, c.want)
		}
	}
}

func TestCheckMove(t *testing.T) {
	from := fabric.Plan{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, Generation: 3}}
	for _, c := range []struct {
		to   fabric.VXLANSpec
		want string
	}{
		{fabric.VXLANSpec{VNI: 1, Port: 4789, MTU: 1400, DirectRouting: true, Generation: 3}, ""},
		{fabric.VXLANSpec{VNI: 2, Port: 4789, Generation: 4}, ""},
		{fabric.VXLANSpec{VNI: 1, Port: 8472, UDPChecksum: true, Generation: 4}, ""},
		{fabric.VXLANSpec{VNI: 2, Port: 4789, Generation: 3}, "vxlan.generation: 3 -> 3, want 4: it is the next overlay"},
		{fabric.VXLANSpec{VNI: 2, Port: 4789, Generation: 5}, "vxlan.generation: 3 -> 5, want 4: it is the next overlay"},
		{fabric.VXLANSpec{VNI: 1, Port: 4789, Generation: 4}, "vxlan.generation: 3 -> 4, but it is the same overlay"},
		{fabric.VXLANSpec{VNI: 1, Port: 4789, UDPChecksum: true, Generation: 4}, "vxlan.udpChecksum: false -> true needs another vxlan.port or vxlan.vni as well: a host has one device for each"},
	} {
		to := from
		to.VXLAN = c.to
		if got := errText(CheckMove(from, to)); got != c.want {
			t.Errorf("%+v:\ngot:  %s\nwant: %s", c.to, got, c.want)
		}
	}
}

func TestKeepGeneration(t *testing.T) {
	for _, c := range []struct{ stored, written, want int }{{0, 0, 0}, {2, 0, 2}, {2, 2, 2}, {2, 1, 1}} { // the last is CheckChange's
		s, w := &fabric.Spec{}, &fabric.Spec{}
		s.VXLAN.Generation, w.VXLAN.Generation = c.stored, c.written
		if KeepGeneration(s, w); w.VXLAN.Generation != c.want {
			t.Errorf("%+v: got %d", c, w.VXLAN.Generation)
		}
	}
	w := &fabric.Spec{VXLAN: fabric.VXLANSpec{Generation: 3}}
	if KeepGeneration(nil, w); w.VXLAN.Generation != 3 {
		t.Error("a Fabric that is put back lost its generation")
	}
}

// TestCheckMigration: while a fabric moves, the plan it moves from stays, also
// where etcd has lost the Fabric and an operator puts it back.
func TestCheckMigration(t *testing.T) {
	old := parseOne(t, v4).Fabric()
	m := &fabric.Migration{From: old.Plan(), To: parseOne(t, v4+"  vxlan: {vni: 2}\n").Fabric().Plan()}
	for _, c := range []struct{ name, new, want string }{
		{"nothing", "", ""},
		{"what no migration decides", "  reserved: [10.244.9.0/24]\n  pathRules: [{nodes: {}, overlay: always}]\n  bgp: {asn: 65000}\n  probe: {port: 7000}\n", ""},
		{"backend and paths", "  backend: bgp\n  paths: [bgp, vxlan]\n",
			"spec.backend: vxlan -> bgp cannot change while a migration is under way (`weft migrate status`)\n" +
				"spec.paths: the default -> bgp, vxlan cannot change while a migration is under way (`weft migrate status`)"},
		{"overlay", "  overlay: never\n", "spec.overlay: the default -> never cannot change while a migration is under way (`weft migrate status`)"},
		{"what it leads to", "  vxlan: {vni: 2, mtu: 1400}\n",
			"spec.vxlan.vni: 1 -> 2 cannot change while a migration is under way (`weft migrate status`)\n" +
				"spec.vxlan.mtu: 0 -> 1400 cannot change while a migration is under way (`weft migrate status`)"},
	} {
		next := parseOne(t, v4+c.new).Fabric()
		for _, stored := range []*fabric.Spec{old, nil} {
			if got := strings.Join(CheckMigration(m, stored, next), "\n"); got != c.want {
				t.Errorf("%s, stored %v:\ngot:\n%s\nwant:\n%s", c.name, stored != nil, got, c.want)
			}
		}
		if got := CheckMigration(nil, old, next); got != nil {
			t.Errorf("%s, without a migration: %v", c.name, got)
		}
	}
}
