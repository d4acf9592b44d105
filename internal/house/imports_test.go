package house

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The rules of DESIGN section 1, "Who may import whom". They are about what is
// built, not about tests. A pattern is a package path, below the module for
// weft's own, and takes in everything under it if it ends in "/...".

// floors, from the bottom: an import points to a lower floor or stays in its
// room. A folder that is not listed is not a room.
var floors = [][]string{
	{"fabric"},
	{"internal"},
	{"kernel", "config", "ipam"},
	{"backends", "store", "cni"},
	{"agent"},
	{"cli", "lab"},
	{"cmd"},
}

// confined rooms import nothing of weft but what is listed (and themselves).
var confined = []struct {
	who, may  []string
	libraries bool // may import modules other than the standard library
}{
	{who: []string{"fabric/..."}},
	{who: []string{"config/...", "ipam/..."}, may: []string{"fabric"}, libraries: true},
	{who: []string{"backends/..."}, may: []string{"fabric", "config", "kernel", "backends", "internal/..."}, libraries: true},
	{who: []string{"agent/api"}, may: []string{"fabric"}},
	{who: []string{"cni/nodefile"}, may: []string{"fabric", "internal/rawjson"}},
}

// reserved packages are imported by those listed and nobody else.
var reserved = []struct{ what, only []string }{
	{
		what: []string{"github.com/vishvananda/netlink/...", "github.com/mdlayher/netlink/...", "github.com/google/nftables/...", "kernel/rtnl/..."},
		only: []string{"kernel/...", "cni/...", "lab/...", "internal/testns"},
	},
	{what: []string{"go.etcd.io/...", "google.golang.org/grpc/..."}, only: []string{"store/...", "lab/..."}},
	{what: []string{"github.com/osrg/gobgp/..."}, only: []string{"backends/bgp/..."}},
	{what: []string{"agent"}, only: []string{"cmd/weftd"}},
	{what: []string{"agent/api"}, only: []string{"agent", "cli/...", "lab/..."}},
	{what: []string{"lab/..."}, only: []string{"lab/...", "cmd/weft-lab"}},
	{what: []string{"internal/testns"}, only: []string{"internal/testreport"}},
	{what: []string{"internal/testbgp", "internal/golden"}}, // tests alone
	{what: []string{"cmd/..."}},
}

// unlinked packages are not even indirect dependencies of those listed: every
// pod pays for the plugin's start-up.
var unlinked = []struct{ what, by []string }{
	{
		what: []string{
			"go.etcd.io/...", "google.golang.org/grpc/...", "github.com/osrg/gobgp/...",
			"github.com/sirupsen/logrus/...", "github.com/google/nftables/...", "github.com/prometheus/...",
		},
		by: []string{"cni/...", "cmd/weft-cni"},
	},
	{what: []string{"github.com/sirupsen/logrus/..."}, by: []string{"config/...", "ipam/..."}},
	{what: []string{"go.etcd.io/etcd/server/..."}, by: []string{"cmd/weftd", "cmd/weft"}},
	{what: []string{"github.com/osrg/gobgp/..."}, by: []string{"cmd/weft"}}, // it asks the agent's speaker
}

// match reports whether one of the patterns takes in the path.
func match(patterns []string, path string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		below, wild := strings.CutSuffix(p, "/...")
		return path == below || wild && strings.HasPrefix(path, below+"/")
	})
}

// room is the folder at the top of the module that a package is in.
func room(path string) string {
	first, _, _ := strings.Cut(path, "/")
	return first
}

func floorOf(path string) int {
	return slices.IndexFunc(floors, func(rooms []string) bool { return slices.Contains(rooms, room(path)) })
}

// violations checks a graph against all rules: one line for each offence.
func violations(g graph) []string {
	var out []string
	for path, p := range g {
		if !p.own {
			continue
		}
		if floorOf(path) < 0 {
			out = append(out, fmt.Sprintf("%s: %s is not a room of the house", path, room(path)))
		}
		for _, to := range p.imports {
			out = append(out, direct(g, path, to)...)
		}
		out = append(out, linked(g, path)...)
	}
	slices.Sort(out)
	return append(out, speakers(g)...)
}

// direct checks one import.
func direct(g graph, from, to string) []string {
	var out []string
	offence := func(format string, args ...any) {
		out = append(out, fmt.Sprintf("%s imports %s: ", from, to)+fmt.Sprintf(format, args...))
	}
	target := g[to]
	if target.own && floorOf(to) >= floorOf(from) && room(to) != room(from) {
		offence("points up or sideways")
	}
	for _, rule := range reserved {
		if match(rule.what, to) && !match(rule.only, from) {
			offence("only %v may", rule.only)
		}
	}
	for _, rule := range confined {
		if !match(rule.who, from) || target.standard {
			continue
		}
		switch {
		case target.own && !match(rule.may, to) && !sameRoom(rule.who, from, to):
			offence("of weft it may import %v", rule.may)
		case !target.own && !rule.libraries:
			offence("it may import no library")
		}
	}
	return out
}

// sameRoom reports whether both packages are taken in by one pattern, and are
// not two backends.
func sameRoom(patterns []string, a, b string) bool {
	for _, p := range patterns {
		if match([]string{p}, a) && match([]string{p}, b) {
			return room(a) != "backends" || strings.Split(a+"/", "/")[1] == strings.Split(b+"/", "/")[1]
		}
	}
	return false
}

// linked checks what a package depends on at any distance.
func linked(g graph, from string) []string {
	var out []string
	for _, rule := range unlinked {
		if !match(rule.by, from) {
			continue
		}
		if chain := g.chain(from, func(path string) bool { return match(rule.what, path) }); chain != nil {
			out = append(out, fmt.Sprintf("%s links %s: %s", from, chain[len(chain)-1], strings.Join(chain, " > ")))
		}
	}
	return out
}

// speakers: one package alone knows the BGP library.
func speakers(g graph) []string {
	var users []string
	for path, p := range g {
		if p.own && slices.ContainsFunc(p.imports, func(to string) bool { return match([]string{"github.com/osrg/gobgp/..."}, to) }) {
			users = append(users, path)
		}
	}
	if len(users) < 2 {
		return nil
	}
	slices.Sort(users)
	return []string{fmt.Sprintf("%v import gobgp: one package may", users)}
}

func TestImports(t *testing.T) {
	g := load(t)
	for _, path := range []string{"fabric", "kernel", "github.com/vishvananda/netlink/nl", "go.etcd.io/etcd/client/v3"} {
		if _, ok := g[path]; !ok {
			t.Errorf("%s is not in the graph: the rules check nothing", path)
		}
	}
	for _, v := range violations(g) {
		t.Error(v)
	}
}
