package cli

import (
	"slices"
	"strings"
	"testing"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/golden"
	"github.com/weft-net/weft/store"
)

// everyPeer has one of each far end and more than a line holds.
const everyPeer = objectsYAML + `---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: the-reflectors-of-the-second-machine-room}
spec:
  nodes: {example.net/machine-room: second, role: client}
  peer: {nodes: {example.net/machine-room: second, role: reflector}}
  asn: internal
  localASN: 65001
  routeReflector: {clusterID: 192.0.2.1}
  import: [tors-in, another-one-with-a-long-name]
  localPreference: 0
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: mesh}
spec: {nodes: {}, peer: {nodes: {}}, asn: external, gtsm: 1, sourceAddress: 198.18.0.1, maxPrefixes: 100, families: [ipv4], med: 5, prepend: 1}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: link}
spec: {nodes: {}, peer: {interface: eth1}, asn: external}
---
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: anyone}
spec: {nodes: {}, peer: {range: 'fd00::/64'}, asn: external}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: web}
spec: {nodes: {}, prefixes: [203.0.113.80/32, '2001:db8::80/128'], health: {http: 'https://[::1]/health'}, communities: [no-export]}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: held}
spec: {nodes: {}, prefixes: [203.0.113.81/32], health: {interface: vip0}}
---
apiVersion: weft/v1
kind: BGPPrefix
metadata: {name: always}
spec: {nodes: {}, prefixes: [203.0.113.82/32]}
---
` + routingYAML

func TestObjectTables(t *testing.T) {
	byKind := make(map[string][]stored)
	for _, o := range parse(t, everyPeer) {
		byKind[o.Kind] = append(byKind[o.Kind], stored{Object: o, Record: store.Record{ModRev: 7}})
	}
	var text strings.Builder
	for _, k := range config.Kinds() {
		narrow := objectTable(k, byKind[k.Name], false).String()
		checkWidth(t, narrow)
		text.WriteString(narrow + "\n" + objectTable(k, byKind[k.Name], true).String() + "\n")
	}
	golden.Compare(t, "get.txt", text.String())
}

// TestCompareListsOfObjects: a line for each value, items of lists of objects one by one, in
// the order in which they stand.
func TestCompareListsOfObjects(t *testing.T) {
	was := `{"a":1,"l":[1,2],"m":{"x":"y"},"o":[{"k":1},{"k":2}],"same":true}`
	will := `{"b":{},"l":[1,3],"m":{},"o":[{"k":1},{"k":3},{},{"k":4}],"same":true}`
	want := []string{"- a: 1", "+ b: {}", "~ l: [1, 2] -> [1, 3]", "+ m: {}", "- m.x: y", "~ o[1].k: 2 -> 3", "+ o[2]: {}", "+ o[3].k: 4"}
	if got := compare([]byte(was), []byte(will)); !slices.Equal(got, want) {
		t.Errorf("got:  %q\nwant: %q", got, want)
	}
	paths := []string{"r[10].a", "r[9].b", "r[9].a", "r", "r[100].a", "q[2]"}
	slices.SortFunc(paths, comparePaths)
	if want := []string{"q[2]", "r", "r[9].a", "r[9].b", "r[10].a", "r[100].a"}; !slices.Equal(paths, want) {
		t.Errorf("got %q, want %q", paths, want)
	}
}
