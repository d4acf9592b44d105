package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/store"
)

const routingYAML = `apiVersion: weft/v1
kind: Fabric
metadata: {name: prod}
spec:
  network: {ipv4: 10.244.0.0/16}
  backend: bgp
  bgp: {asn: perNode}
  lease: {ttl: 1h, liveness: 2s}
`

const objectsYAML = `---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: tors}
spec:
  nodes: {}
  peer: {gateways: all}
  asn: external
  auth: {md5File: /etc/weft/bgp/tors}
  import: [tors-in]
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: collector}
spec:
  description: the route collector in the machine room, which only listens
  nodes: {role: edge}
  peer: {address: 198.18.9.9}
  asn: 65010
  multihop: 4
  communities: ['65010:1']
---
apiVersion: weft/v1
kind: BGPPolicy
metadata: {name: tors-in}
spec:
  rules:
  - {match: {prefixes: [{prefix: 203.0.113.0/24, max: 32}]}, action: accept}
  - {match: {communities: [no-export], peers: [tors]}, set: {localPreference: 50}, action: next}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: dns}
spec:
  nodes: {role: edge}
  prefixes: [203.0.113.53/32]
  health: {tcp: '127.0.0.1:53'}
`

// steps runs command lines one after the other, FILE and its like standing for
// files with these texts, and compares what they print with a golden file.
func steps(t *testing.T, env []string, name string, files map[string]string, lines []step) {
	t.Helper()
	var names []string
	for word, text := range files {
		path := filepath.Join(t.TempDir(), strings.ToLower(word)+".yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		names = append(names, word, path)
	}
	var transcript strings.Builder
	for _, s := range lines {
		r := command(t, env, "", strings.Fields(strings.NewReplacer(names...).Replace(s.line))...)
		out := r.out + r.err
		for i := 0; i < len(names); i += 2 {
			out = strings.ReplaceAll(out, names[i+1], strings.ToLower(names[i])+".yaml")
		}
		transcript.WriteString("$ weft " + s.line + "\n" + out)
		if r.code != s.code {
			t.Errorf("%s: exit code %d, want %d: %s", s.line, r.code, s.code, r.err)
		}
		if !strings.Contains(s.line, " -o ") {
			checkWidth(t, r.out)
		}
	}
	golden.Compare(t, name+".txt", transcript.String())
}

type step struct {
	line string
	code int
}

// TestBGPObjectsThroughTheRealEtcd is the life of the objects of BGP on a
// fabric with a node: what each command prints, what is refused, and which
// sessions it says would reset.
func TestBGPObjectsThroughTheRealEtcd(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	join(t, env, nodeOf("host5", 0, "198.18.0.5", ""))
	replaced := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(objectsYAML) }
	steps(t, env, "objects-bgp", map[string]string{
		"FILE":     objectsYAML,
		"PLACE":    replaced("localPreference: 50", "localPreference: 60", "65010:1", "65010:2", "max: 32", "max: 28"),
		"PASSWORD": replaced("bgp/tors", "bgp/tors.new"),
		"NAME":     replaced("[tors-in]", "[tors-inn]"),
		"CLASH":    replaced("nodes: {role: edge}\n  peer: {address: 198.18.9.9}", "nodes: {}\n  peer: {gateways: all}"),
		"TYPO":     replaced("md5File", "md5file"),
		"FABRIC":   strings.Replace(routingYAML, "perNode", "65000, timers: {hold: 30s}", 1),
		"RACKS":    strings.Replace(routingYAML, "perNode", "perLabel, asns: {r1: 65001}", 1),
		"HALF":     objectsYAML[:strings.Index(objectsYAML, "---\napiVersion: weft/v1\nkind: BGPPolicy")],
	}, []step{
		{"get bgppeers", exitDone},
		{"get bgppeer tors", exitFailed},
		{"validate -f FILE", exitDone},
		{"validate -f HALF", exitDone},
		{"validate -f CLASH", exitUsage},
		{"validate -f TYPO", exitUsage},
		{"diff -f HALF", exitFailed}, // its policy is not there
		{"diff -f FILE", exitNo},
		{"apply -f FILE", exitDone},
		{"apply -f FILE", exitDone},
		{"get bgppeers", exitDone},
		{"get bgppeer collector -o wide", exitDone},
		{"get bgppolicy", exitDone},
		{"get bgpprefixes", exitDone},
		{"get bgpprefix dns -o yaml", exitDone},
		{"diff -f PLACE", exitNo},
		{"apply -f PASSWORD --dry-run", exitDone},
		{"diff -f FABRIC", exitNo},
		{"diff -f RACKS", exitNo}, // the node has no label yet
		{"apply -f NAME", exitFailed},
		{"apply -f CLASH", exitFailed},
		{"delete bgppolicy tors-in", exitFailed},
		{"delete bgppolicy other", exitFailed},
		{"delete bgppeer collector --dry-run", exitDone},
		{"delete bgppeer tors collector", exitFailed}, // a policy speaks of tors
		{"delete -f FILE bgppeer", exitUsage},
		{"delete -f FILE", exitDone},
		{"delete -f FILE", exitDone},
		{"get bgppeers", exitDone},
	})
}

// TestWhatGetPrintsCanBeAppliedForAllKinds: several objects in one output are
// several objects in one file.
func TestWhatGetPrintsCanBeAppliedForAllKinds(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML+objectsYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	for _, f := range []string{formYAML, formJSON} {
		for kind, want := range map[string]string{
			"fabric":      "fabric prod: unchanged\n",
			"bgppeers":    "bgppeer collector: unchanged\nbgppeer tors: unchanged\n",
			"bgppolicies": "bgppolicy tors-in: unchanged\n",
			"bgpprefixes": "bgpprefix dns: unchanged\n",
		} {
			text := command(t, env, "", "get", kind, "-o", f).out
			if r := command(t, env, text, "apply", "-f", "-"); r.code != exitDone || r.out != want {
				t.Errorf("%s as %s:\n%s\n%+v", kind, f, text, r)
			}
		}
	}
}

// TestUnreadableObjects: what this version cannot read it shows, and deletes
// when told to; it is in nobody else's way.
func TestUnreadableObjects(t *testing.T) {
	env := etcd(t)
	if r := command(t, env, routingYAML+objectsYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	const newer = `{"apiVersion":"weft/v1","kind":"BGPPeer","metadata":{"name":"newer"},"spec":{"nodes":{},"peer":{"satellite":"all"},"asn":"external"}}`
	// One that is fine by itself, and names a policy that somebody deleted.
	const orphan = `{"apiVersion":"weft/v1","kind":"BGPPeer","metadata":{"name":"orphan"},"spec":{"nodes":{},"peer":{"address":"192.0.2.1"},"asn":"65001","import":["gone"]}}`
	s := openStore(t, env)
	garbage := []store.Change{
		{Key: "bgppeers/garbage", Value: []byte("{]")}, {Key: "bgppeers/newer", Value: []byte(newer)}, {Key: "bgppeers/orphan", Value: []byte(orphan)},
	}
	if err := s.Apply(t.Context(), garbage); err != nil {
		t.Fatal(err)
	}
	steps(t, env, "objects-unreadable", map[string]string{"FILE": objectsYAML, "OTHER": strings.Replace(objectsYAML, "65010:1", "65010:7", 1)}, []step{
		{"get bgppeers", exitDone},
		{"get bgppeer garbage", exitFailed},
		{"get bgppeer newer -o json", exitDone},
		{"apply -f FILE", exitDone},
		{"apply -f OTHER", exitDone}, // what was wrong before is no obstacle
		{"delete bgppeer garbage newer", exitDone},
		{"get bgppeers", exitDone},
	})
	_, rev, err := s.Get(t.Context(), keyOfFabric)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Apply(t.Context(), []store.Change{{Key: keyOfFabric, Value: []byte("{]"), ModRev: rev}}); err != nil {
		t.Fatal(err)
	}
	if r := command(t, env, "", "delete", "fabric", "whatever"); r.code != exitDone {
		t.Errorf("a Fabric that nobody can read stays for ever: %+v", r)
	}
}

// TestBGPObjectsOfAFabricThatDoesNotRoute: they wait, and whoever writes them
// is told.
func TestBGPObjectsOfAFabricThatDoesNotRoute(t *testing.T) {
	env := etcd(t)
	const want = "note: objects of BGP do nothing while spec.backend of the Fabric is not bgp\n"
	if r := command(t, env, objectsYAML, "apply", "-f", "-"); r.code != exitDone || r.err != want {
		t.Errorf("before there is a Fabric: %+v", r)
	}
	if r := command(t, env, fabricYAML, "apply", "-f", "-"); r.code != exitDone || r.err != want {
		t.Errorf("with a Fabric: %+v", r)
	}
	if r := command(t, env, strings.Replace(routingYAML, "perNode", "65010", 1), "apply", "-f", "-"); r.code != exitDone || r.err != "" {
		t.Errorf("once it routes: %+v", r)
	}
}

// TestApplyIsAllOrNothing: one object that somebody else changed meanwhile
// keeps the others from being written.
func TestApplyIsAllOrNothing(t *testing.T) {
	env := etcd(t)
	s := openStore(t, env)
	mine := planOf(t, s, routingYAML+objectsYAML)
	if r := command(t, env, routingYAML, "apply", "-f", "-"); r.code != exitDone {
		t.Fatal(r.err)
	}
	if err := write(t.Context(), s, mine); asFailure(err).code != exitFailed {
		t.Errorf("got %v", err)
	}
	if r := command(t, env, "", "get", "bgppeers"); r.out != "" {
		t.Errorf("a part was written:\n%s", r.out)
	}
}
