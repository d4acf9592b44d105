package house

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// lawful is a small house in which every room imports all that it may.
func lawful() graph {
	own := func(imports ...string) pkg { return pkg{own: true, imports: imports} }
	library := func(imports ...string) pkg { return pkg{imports: imports} }
	std := pkg{standard: true}
	return graph{
		"fmt": std, "net/netip": std,
		"github.com/vishvananda/netlink/nl": library("fmt"),
		"github.com/google/nftables/expr":   library("fmt"),
		"github.com/osrg/gobgp/v4/server":   library("fmt"),
		"github.com/sirupsen/logrus":        library("fmt"),
		"github.com/goccy/go-yaml":          library("fmt"),
		"go.etcd.io/etcd/client/v3":         library("google.golang.org/grpc"),
		"go.etcd.io/etcd/server/v3/embed":   library("google.golang.org/grpc"),
		"google.golang.org/grpc":            library("fmt"),

		"fabric":           own("net/netip"),
		"internal/version": own("fmt"),
		"internal/testns":  own("github.com/vishvananda/netlink/nl"),
		"internal/testbgp": own("fmt"),
		"internal/golden":  own("fmt"),
		"config":           own("fabric", "github.com/goccy/go-yaml"),
		"ipam":             own("fabric"),
		"kernel/rtnl":      own("github.com/vishvananda/netlink/nl"),
		"kernel":           own("fabric", "kernel/rtnl", "github.com/google/nftables/expr"),
		"backends":         own("fabric", "kernel"),
		"backends/vxlan":   own("backends", "fabric", "config", "kernel"),
		"backends/bgp":     own("backends", "fabric", "config", "kernel"),
		"backends/bgp/speak": own("github.com/osrg/gobgp/v4/server",
			"fabric", "backends/bgp"),
		"store":               own("config", "ipam", "go.etcd.io/etcd/client/v3", "github.com/sirupsen/logrus"),
		"cni/nodefile":        own("fabric"),
		"cni":                 own("cni/nodefile", "ipam", "kernel/rtnl"),
		"agent/api":           own("fabric"),
		"agent":               own("agent/api", "backends/vxlan", "backends/bgp/speak", "cni/nodefile", "kernel", "store"),
		"cli":                 own("agent/api", "store", "config", "backends/bgp"),
		"lab":                 own("agent/api", "store", "backends/bgp/speak", "go.etcd.io/etcd/server/v3/embed"),
		"cmd/weftd":           own("agent", "config", "internal/version"),
		"cmd/weft":            own("cli"),
		"cmd/weft-cni":        own("cni"),
		"cmd/weft-lab":        own("lab"),
		"internal/testreport": own("internal/testns"),
	}
}

func TestLawfulHouse(t *testing.T) {
	if got := violations(lawful()); len(got) > 0 {
		t.Errorf("violations where there are none: %q", got)
	}
}

// TestRulesAreEnforced adds one import to the lawful house and wants exactly
// the offences that follow from it.
func TestRulesAreEnforced(t *testing.T) {
	for _, tt := range []struct{ from, to, want string }{
		{"fabric", "github.com/goccy/go-yaml", "fabric imports github.com/goccy/go-yaml: it may import no library"},
		{"fabric", "config", "fabric imports config: points up or sideways; fabric imports config: of weft it may import []"},
		{"fabric", "internal/version", "fabric imports internal/version: points up or sideways; fabric imports internal/version: of weft it may import []"},
		{"config", "ipam", "config imports ipam: points up or sideways; config imports ipam: of weft it may import [fabric]"},
		{"config", "internal/version", "config imports internal/version: of weft it may import [fabric]"},
		{"config", "github.com/sirupsen/logrus", "config links github.com/sirupsen/logrus: config > github.com/sirupsen/logrus"},
		{"ipam", "store", "ipam imports store: points up or sideways; ipam imports store: of weft it may import [fabric]; ipam links github.com/sirupsen/logrus; cni links go.etcd.io/etcd/client/v3: cni > ipam > store; cmd/weft-cni links go.etcd.io/etcd/client/v3"},
		{"kernel", "store", "kernel imports store: points up or sideways"},
		{"kernel", "config", "kernel imports config: points up or sideways"},
		{"backends/vxlan", "store", "backends/vxlan imports store: of weft it may import [fabric config kernel backends internal/...]; backends/vxlan imports store: points up or sideways"},
		{"backends/vxlan", "backends/bgp", "backends/vxlan imports backends/bgp: of weft it may import"},
		{"backends/vxlan", "kernel/rtnl", "backends/vxlan imports kernel/rtnl: of weft it may import; backends/vxlan imports kernel/rtnl: only"},
		{"backends/vxlan", "github.com/vishvananda/netlink/nl", "backends/vxlan imports github.com/vishvananda/netlink/nl: only"},
		{"backends/vxlan", "cni/nodefile", "backends/vxlan imports cni/nodefile: of weft; backends/vxlan imports cni/nodefile: points up or sideways"},
		{"backends/bgp", "github.com/osrg/gobgp/v4/server", "[backends/bgp backends/bgp/speak] import gobgp: one package may; cmd/weft links github.com/osrg/gobgp/v4/server"},
		{"agent", "github.com/osrg/gobgp/v4/server", "agent imports github.com/osrg/gobgp/v4/server: only [backends/bgp/...] may; [agent backends/bgp/speak] import gobgp"},
		{"agent", "github.com/vishvananda/netlink/nl", "agent imports github.com/vishvananda/netlink/nl: only"},
		{"agent", "github.com/google/nftables/expr", "agent imports github.com/google/nftables/expr: only"},
		{"agent", "kernel/rtnl", "agent imports kernel/rtnl: only"},
		{"agent", "go.etcd.io/etcd/client/v3", "agent imports go.etcd.io/etcd/client/v3: only [store/... lab/...] may"},
		{"cli", "go.etcd.io/etcd/client/v3", "cli imports go.etcd.io/etcd/client/v3: only [store/... lab/...] may"},
		{"cli", "agent", "cli imports agent: only [cmd/weftd] may; cmd/weft links github.com/osrg/gobgp/v4/server"},
		{"lab", "agent", "lab imports agent: only [cmd/weftd] may"},
		{"store", "agent/api", "store imports agent/api: only [agent cli/... lab/...] may; store imports agent/api: points up or sideways"},
		{"cmd/weft", "agent", "cmd/weft imports agent: only [cmd/weftd] may; cmd/weft links github.com/osrg/gobgp/v4/server"},
		{"cmd/weft", "lab", "cmd/weft imports lab: only [lab/... cmd/weft-lab] may; cmd/weft links go.etcd.io/etcd/server/v3/embed; cmd/weft links github.com/osrg/gobgp/v4/server"},
		{"cli", "backends/bgp/speak", "cmd/weft links github.com/osrg/gobgp/v4/server: cmd/weft > cli > backends/bgp/speak"},
		{"cli", "lab", "cli imports lab: only [lab/... cmd/weft-lab] may; cli imports lab: points up or sideways; cmd/weft links go.etcd.io/etcd/server/v3/embed; cmd/weft links github.com/osrg/gobgp/v4/server"},
		{"agent", "cmd/weft", "agent imports cmd/weft: only [] may; agent imports cmd/weft: points up or sideways"},
		{"agent", "internal/testns", "agent imports internal/testns: only [internal/testreport] may"},
		{"lab", "internal/testbgp", "lab imports internal/testbgp: only [] may"},
		{"cli", "internal/golden", "cli imports internal/golden: only [] may"},
		{"agent/api", "github.com/goccy/go-yaml", "agent/api imports github.com/goccy/go-yaml: it may import no library"},
		{"cni", "kernel", "cni links github.com/google/nftables/expr: cni > kernel > github.com/google/nftables/expr; cmd/weft-cni links github.com/google/nftables/expr: cmd/weft-cni > cni > kernel"},
		{"cni", "github.com/sirupsen/logrus", "cmd/weft-cni links github.com/sirupsen/logrus: cmd/weft-cni > cni > github.com/sirupsen/logrus; cni links"},
		{"cmd/weft-cni", "google.golang.org/grpc", "cmd/weft-cni links google.golang.org/grpc; cmd/weft-cni imports google.golang.org/grpc: only"},
	} {
		t.Run(tt.from+" to "+tt.to, func(t *testing.T) {
			g := lawful()
			p := g[tt.from]
			p.imports = append(slices.Clone(p.imports), tt.to)
			g[tt.from] = p
			matches(t, violations(g), strings.Split(tt.want, "; "))
		})
	}
}

func TestUnknownRoom(t *testing.T) {
	g := lawful()
	g["utils"] = pkg{own: true}
	matches(t, violations(g), []string{"utils: utils is not a room of the house"})
}

// matches wants the lines to begin with the given texts, in any order, and no
// line more.
func matches(t *testing.T, got, want []string) {
	t.Helper()
	left := slices.Clone(got)
	for _, w := range want {
		i := slices.IndexFunc(left, func(line string) bool { return strings.HasPrefix(line, w) })
		if i < 0 {
			t.Errorf("no %q in %q", w, got)
			continue
		}
		left = slices.Delete(left, i, i+1)
	}
	if len(left) > 0 {
		t.Errorf("unexpected: %q", left)
	}
}

func TestChain(t *testing.T) {
	g := graph{"a": {imports: []string{"b", "c"}}, "b": {imports: []string{"a"}}, "c": {imports: []string{"d"}}}
	got := g.chain("a", func(path string) bool { return path == "d" })
	if diff := cmp.Diff([]string{"a", "c", "d"}, got); diff != "" {
		t.Errorf("chain (-want +got):\n%s", diff)
	}
	if got := g.chain("b", func(path string) bool { return path == "e" }); got != nil {
		t.Errorf("chain to what is not there: %v", got)
	}
}
