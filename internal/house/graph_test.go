package house

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const (
	module = "github.com/weft-net/weft"
	root   = "../.." // where the module is, seen from a test of this package
)

// graph is what is built, by path; weft's own packages go by their path below
// the module.
type graph map[string]pkg

type pkg struct {
	own      bool // of this module
	standard bool // of the standard library
	imports  []string
}

// load asks the go command for every package of the module and everything that
// they depend on, tests left out.
func load(t *testing.T) graph {
	t.Helper()
	out := goCommand(t, "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")
	g := graph{}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p struct {
			ImportPath string
			Standard   bool
			Imports    []string
		}
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		imports := slices.DeleteFunc(p.Imports, func(path string) bool { return path == "C" || path == "unsafe" })
		for i := range imports {
			imports[i] = short(imports[i])
		}
		g[short(p.ImportPath)] = pkg{own: strings.HasPrefix(p.ImportPath, module+"/"), standard: p.Standard, imports: imports}
	}
}

func short(path string) string { return strings.TrimPrefix(path, module+"/") }

// goCommand runs the go command at the root of the module.
func goCommand(t *testing.T, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go %v: %v\n%s", args, err, &stderr)
	}
	return out
}

// chain is a shortest way along imports from one package to another for which
// found is true, both ends included; nil if there is none.
func (g graph) chain(from string, found func(string) bool) []string {
	cameFrom := map[string]string{from: ""}
	for queue := []string{from}; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		if at != from && found(at) {
			var way []string
			for ; at != ""; at = cameFrom[at] {
				way = append(way, at)
			}
			slices.Reverse(way)
			return way
		}
		for _, to := range g[at].imports {
			if _, seen := cameFrom[to]; !seen {
				cameFrom[to] = at
				queue = append(queue, to)
			}
		}
	}
	return nil
}
