package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// TestFinishLeavesNobodyBehind: what would lose packets is refused, forced or
// not.
func TestFinishLeavesNobodyBehind(t *testing.T) {
	env := fabricOf(t, fabricYAML)
	play(t, env, actorOf("host1"))
	old := actorOf("host2")
	old.Features = nil
	stop := play(t, env, old)
	finish := func(code int, want string, flags ...string) {
		t.Helper()
		r := command(t, env, "", append([]string{"migrate", "finish"}, flags...)...)
		if r.code != code || !strings.Contains(r.out+r.err, want) {
			t.Errorf("finish %q: %+v, want %q", flags, r, want)
		}
	}
	const oldNode = "host2: its agent knows no migrations and sends by the old plan"
	r := command(t, env, "", "migrate", "vxlan-to-bgp")
	if r.code != exitDone || !strings.Contains(r.out, "left out  host2: its weftd knows no migrations") || !strings.Contains(r.out, "Before it can be finished, 1 node must follow") {
		t.Errorf("got %+v", r)
	}
	checkWidth(t, r.out)
	finish(exitFailed, "not finished (moved): "+oldNode)
	finish(exitFailed, "not finished (moved): "+oldNode, "--force")
	stop()
	waitFor(t, "the agent's alive key to expire", func() bool { return strings.Contains(command(t, env, "", "nodes").out, " gone ") })
	finish(exitFailed, "or --force, as every way that they may send by stays open")
	finish(exitDone, "finished\n", "--force")

	// BGP is given up on the way back: then the one that is left is cut off.
	if r := command(t, env, "", "migrate", "bgp-to-vxlan"); r.code != exitDone {
		t.Fatalf("back: %+v", r)
	}
	finish(exitFailed, "their packets by BGP would be lost; hint: start weftd there, or `weft node remove`")
	finish(exitFailed, "their packets by BGP would be lost", "--force")
	if r := command(t, env, "", "node", "remove", "host2"); r.code != exitDone {
		t.Fatal(r)
	}
	finish(exitDone, "BGP: the nodes withdraw their routes and close their sessions\nfinished\n")
}

// TestFinishOfSomeNodes writes a rule, in front of those that there are.
func TestFinishOfSomeNodes(t *testing.T) {
	rule := "  pathRules: [{nodes: {rack: r9}, overlay: always}]\n"
	env := fabricOf(t, fabricYAML+rule)
	play(t, env, actorOf("host1", "rack=r1"))
	play(t, env, actorOf("host2", "rack=r2"))
	play(t, env, actorOf("host3", "rack=r9"))
	if r := command(t, env, "", strings.Fields("migrate vxlan-to-bgp --nodes rack=r9")...); r.code != exitFailed || !strings.Contains(r.err, "spec.pathRules[0] sets the paths of node host3 already") {
		t.Errorf("a node with a rule: %+v", r)
	}
	for line, want := range map[string]string{
		"rack": "--nodes: \"rack\" is not LABEL=VALUE[,LABEL=VALUE...]", "rack=r1,rack=r2": "--nodes: the label rack is given twice", "=x": "is not LABEL=VALUE",
	} {
		if r := command(t, env, "", "migrate", "vxlan-to-bgp", "--nodes", line); r.code != exitUsage || !strings.Contains(r.err, want) {
			t.Errorf("--nodes %s: %+v", line, r)
		}
	}
	r := command(t, env, "", strings.Fields("migrate vxlan-to-bgp --nodes rack=r1")...)
	if r.code != exitDone || !strings.Contains(r.out, "only what the nodes with rack=r1 send\n") || !strings.Contains(r.out, "moved     1 node sends the new way, 2 peers in all") {
		t.Errorf("got %+v", r)
	}
	// A field of a newer version stays.
	s := openStore(t, env)
	value, rev, err := s.Get(t.Context(), keyOfFabric)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []store.Change{{Key: keyOfFabric, Value: []byte(strings.Replace(string(value), `"spec":{`, `"spec":{"newer":[1,2],`, 1)), ModRev: rev}}); err != nil {
		t.Fatal(err)
	}
	if r := command(t, env, "", "migrate", "finish"); r.code != exitDone || !strings.Contains(r.out, "\n  nothing: every way") {
		t.Errorf("finish: %+v", r)
	}
	value, _, err = s.Get(t.Context(), keyOfFabric)
	if err != nil {
		t.Fatal(err)
	}
	o, err := config.DecodeObject(value)
	if err != nil {
		t.Fatal(err)
	}
	spec := o.Fabric()
	if spec.Backend != config.BackendVXLAN || len(spec.PathRules) != 2 || spec.PathRules[0].Nodes["rack"] != "r1" || spec.PathRules[0].Overlay != fabric.OverlayFallback ||
		spec.PathRules[1].Nodes["rack"] != "r9" || spec.BGP.ASN != fabric.ASNPerNode || !strings.Contains(string(value), `"newer":[1,2]`) {
		t.Errorf("the Fabric is %s", value)
	}
}

// TestGoals: where requests lead to, and what their ends give up.
func TestGoals(t *testing.T) {
	port, sum, mtu := uint16(8472), true, 1400
	vxlan := fabric.Plan{Backend: "vxlan", Paths: []fabric.PathKind{fabric.PathVXLAN}, VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, Generation: 3}}
	never := fabric.Plan{Backend: "bgp", Overlay: fabric.OverlayNever, VXLAN: vxlan.VXLAN}
	for name, c := range map[string]struct {
		from fabric.Plan
		ask  request
		want func(*fabric.Plan)
		lost string
	}{
		"to bgp":            {vxlan, request{kind: vxlanToBGP}, func(p *fabric.Plan) { p.Backend, p.Paths = "bgp", nil }, ""},
		"to vxlan":          {never, request{kind: bgpToVXLAN}, func(p *fabric.Plan) { p.Backend, p.Overlay = "vxlan", "" }, "BGP"},
		"port":              {vxlan, request{kind: newOverlay, overlay: overlayFlags{port: &port}}, func(p *fabric.Plan) { p.VXLAN.Port, p.VXLAN.Generation = 8472, 4 }, "VXLAN (UDP port 4789, VNI 1)"},
		"port and checksum": {vxlan, request{kind: newOverlay, overlay: overlayFlags{port: &port, udpChecksum: &sum}}, func(p *fabric.Plan) { p.VXLAN.Port, p.VXLAN.UDPChecksum, p.VXLAN.Generation = 8472, true, 4 }, "VXLAN (UDP port 4789, VNI 1)"},
		"mtu":               {vxlan, request{kind: newOverlay, overlay: overlayFlags{mtu: &mtu}}, func(p *fabric.Plan) { p.VXLAN.MTU = 1400 }, ""},
	} {
		got, err := c.ask.goal(c.from)
		want := c.from
		c.want(&want)
		if err != nil || !got.Equal(want) {
			t.Errorf("%s: got %+v, %v", name, got, err)
		}
		before := c.from.Apply(&fabric.Spec{})
		if lost := strings.Join(lostWays(before, got.Apply(before)), " "); lost != c.lost {
			t.Errorf("%s: gives up %q, want %q", name, lost, c.lost)
		}
	}
}

// TestMigrationStateIsGoodJSON: scripts read it.
func TestMigrationStateIsGoodJSON(t *testing.T) {
	for want, s := range map[string]*fabric.Snapshot{`"migration":null,"nodesMoved":0`: {}, `"phase":"checking"`: moving()} {
		raw, err := json.Marshal(stateOf(s))
		if err != nil || !strings.Contains(string(raw), want) {
			t.Errorf("%s, %v", raw, err)
		}
	}
}
