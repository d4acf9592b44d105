package house

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestDependencies: every module that go.mod asks for directly has its line in
// docs/design/dependencies.md, and no line is left of one that has gone.
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
	var mod struct {
		Require []struct {
			Path     string
			Indirect bool
		}
	}
	if err := json.Unmarshal(goCommand(t, "mod", "edit", "-json"), &mod); err != nil {
		t.Fatal(err)
	}
	if len(mod.Require) == 0 {
		t.Error("go.mod requires nothing: the rule checks nothing")
	}
	for _, r := range mod.Require {
		if !r.Indirect && !listed[r.Path] {
			t.Errorf("%s has no line in %s", r.Path, page)
		}
		if !r.Indirect {
			delete(listed, r.Path)
		}
	}
	for path := range listed {
		t.Errorf("%s lists %s, which go.mod does not require directly", page, path)
	}
}
