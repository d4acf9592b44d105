package house

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// files calls f for every Go file of the module.
func files(t *testing.T, f func(path string, src []byte)) {
	t.Helper()
	n := 0
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && slices.Contains([]string{".git", "bin", "testdata", "tools"}, d.Name()):
			return fs.SkipDir
		case d.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		src, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		n++
		f(rel, src)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n == 0 {
		t.Error("no files: the rules check nothing")
	}
}

// unfinished are the words that mark work put off.
var unfinished = []string{"TODO", "FIXME", "XXX"}

// faults are the places in one file where it does what no file may.
func faults(path string, src []byte) ([]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, src, parser.ParseComments)
	if err != nil {
		return nil, err
	}
	var out []string
	fault := func(at ast.Node, what string) {
		out = append(out, fmt.Sprintf("%s:%d: %s", path, fset.Position(at.Pos()).Line, what))
	}
	may := permits{
		panic: strings.HasSuffix(path, "_test.go"),
		exit:  strings.HasSuffix(path, "_test.go") || file.Name.Name == "main",
		skip:  strings.HasPrefix(path, "internal/testns/"),
		sleep: slices.ContainsFunc(file.Imports, func(i *ast.ImportSpec) bool { return i.Path.Value == `"testing/synctest"` }),
	}
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			if what := may.forbidden(n); what != "" {
				fault(n, what)
			}
		case *ast.FuncDecl:
			if n.Name.Name == "init" && n.Recv == nil {
				fault(n, "init: dependencies come in through New")
			}
		}
		return true
	})
	for _, group := range file.Comments {
		for _, comment := range group.List {
			if i := slices.IndexFunc(unfinished, func(word string) bool { return strings.Contains(comment.Text, word) }); i >= 0 {
				fault(comment, unfinished[i]+": do it, or open an issue")
			}
		}
	}
	return out, nil
}

// permits are the calls that a file may make although most may not. Where a
// test runs on synctest's clock, sleeping is exact and costs nothing.
type permits struct{ panic, exit, skip, sleep bool }

// forbidden says what is wrong with a call, or nothing.
func (may permits) forbidden(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		if f.Name != "panic" || may.panic || len(call.Args) != 1 {
			return ""
		}
		if _, isVariable := call.Args[0].(*ast.Ident); !isVariable { // what was recovered may be passed on
			return "panic: return an error"
		}
	case *ast.SelectorExpr:
		x, ok := f.X.(*ast.Ident)
		if !ok {
			return ""
		}
		name := x.Name + "." + f.Sel.Name
		switch {
		case name == "time.Sleep" && !may.sleep:
			return "time.Sleep: wait for what is to happen, with a deadline"
		case name == "os.Exit" && !may.exit:
			return "os.Exit: only main ends the process"
		case slices.Contains(tests, x.Name) && slices.Contains(skips, f.Sel.Name) && !may.skip:
			return name + ": a test that does not run proves nothing"
		}
	}
	return ""
}

var (
	tests = []string{"t", "b", "f", "tb"}
	skips = []string{"Skip", "Skipf", "SkipNow"}
)

func TestSource(t *testing.T) {
	files(t, func(path string, src []byte) {
		found, err := faults(path, src)
		if err != nil {
			t.Error(err)
		}
		for _, f := range found {
			t.Error(f)
		}
	})
}

func TestFaults(t *testing.T) {
	const body = `package %s

import %q

func init() {}

func f(t *testing.T) {
	time.Sleep(1)
	t.Skipf("later") // TODO: later
	os.Exit(1)
	panic("no")
	panic(recovered)
}
`
	for _, tt := range []struct {
		path, pkg, imports string
		want               []string
	}{
		{"kernel/a.go", "kernel", "time", []string{
			"kernel/a.go:5: init: dependencies come in through New",
			"kernel/a.go:8: time.Sleep: wait for what is to happen, with a deadline",
			"kernel/a.go:9: t.Skipf: a test that does not run proves nothing",
			"kernel/a.go:10: os.Exit: only main ends the process",
			"kernel/a.go:11: panic: return an error",
			"kernel/a.go:9: TODO: do it, or open an issue",
		}},
		{"kernel/a_test.go", "kernel", "time", []string{
			"kernel/a_test.go:5: init: dependencies come in through New",
			"kernel/a_test.go:8: time.Sleep: wait for what is to happen, with a deadline",
			"kernel/a_test.go:9: t.Skipf: a test that does not run proves nothing",
			"kernel/a_test.go:9: TODO: do it, or open an issue",
		}},
		{"internal/testns/a.go", "main", "time", []string{
			"internal/testns/a.go:5: init: dependencies come in through New",
			"internal/testns/a.go:8: time.Sleep: wait for what is to happen, with a deadline",
			"internal/testns/a.go:11: panic: return an error",
			"internal/testns/a.go:9: TODO: do it, or open an issue",
		}},
		{"agent/b_test.go", "agent", "testing/synctest", []string{
			"agent/b_test.go:5: init: dependencies come in through New",
			"agent/b_test.go:9: t.Skipf: a test that does not run proves nothing",
			"agent/b_test.go:9: TODO: do it, or open an issue",
		}},
	} {
		t.Run(tt.path, func(t *testing.T) {
			got, err := faults(tt.path, fmt.Appendf(nil, body, tt.pkg, tt.imports))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("faults (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPackageComments: every package says what it owns.
func TestPackageComments(t *testing.T) {
	comments := map[string]string{} // by folder
	files(t, func(path string, src []byte) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, src, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Error(err)
			return
		}
		dir := filepath.Dir(path)
		comments[dir] += file.Doc.Text()
		if text := file.Doc.Text(); text != "" && file.Name.Name != "main" && !strings.HasPrefix(text, "Package "+file.Name.Name+" ") {
			t.Errorf("%s: the package comment does not begin with %q", path, "Package "+file.Name.Name)
		}
	})
	for dir, text := range comments {
		if len(strings.Fields(text)) < 10 {
			t.Errorf("%s: the package says nothing of itself", dir)
		}
	}
}
