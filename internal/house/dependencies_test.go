package house

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDependencies: every module that the code or its tests import has its
// line in docs/design/dependencies.md, and no line is left of one that none
// imports.
func TestDependencies(t *testing.T) {
	const page = "docs/design/dependencies.md"
	text, err := os.ReadFile(filepath.Join(root, page))
	if err != nil {
		t.Fatal(err)
	}
	listed := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllSubmatch(text, -1) {
		listed[string(m[1])] = true
	}
	imported := importedModules(t)
	if len(imported) == 0 {
		t.Error("nothing is imported: the rule checks nothing")
	}
	for path := range imported {
		if !listed[path] {
			t.Errorf("%s has no line in %s", path, page)
		}
	}
	for path := range listed {
		if !imported[path] {
			t.Errorf("%s lists %s, which nothing imports", page, path)
		}
	}
}

// importedModules are the modules whose packages are imported in this one.
func importedModules(t *testing.T) map[string]bool {
	t.Helper()
	var mod struct{ Require []struct{ Path string } }
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	const format = `{{join .Imports "\n"}}{{"\n"}}{{join .TestImports "\n"}}{{"\n"}}{{join .XTestImports "\n"}}`
	for path := range strings.Lines(string(goCommand(t, "list", "-f", format, "./..."))) {
		longest := ""
		for _, r := range mod.Require {
			if strings.HasPrefix(strings.TrimSpace(path)+"/", r.Path+"/") && len(r.Path) > len(longest) {
				longest = r.Path
			}
		}
		if longest != "" {
			out[longest] = true
		}
	}
	return out
}
