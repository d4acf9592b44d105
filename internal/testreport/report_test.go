package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weft-net/weft/internal/testns"
)

// TestAgainstGoTest runs the real `go test -json` over small modules and
// checks the verdict: the format is the toolchain's, not ours.
func TestAgainstGoTest(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		test string // the body of a test file
		want string // the last line
		also string // somewhere in the report
	}{
		{"pass with a subtest", `func TestA(t *testing.T) { t.Run("b", func(t *testing.T) {}) }`,
			"PASS: 2 passed, 0 failed, 0 skipped", "ok    example.org/m  2 passed"},
		{"fail shows the output", `func TestA(t *testing.T) { t.Log("the first word"); t.Error("the second") }`,
			"FAIL: 0 passed, 1 failed, 0 skipped", "the first word"},
		{"left out is counted", `func TestA(t *testing.T) { t.Skip("` + testns.LeftOut + `: EPERM") }` + "\n" + `func TestB(t *testing.T) {}`,
			"PASS: 1 passed, 0 failed, 1 skipped: 1 " + testns.LeftOut + ": EPERM", ""},
		{"needs root is counted", `func TestA(t *testing.T) { t.Skip("` + testns.NeedsRoot + `") }` + "\n" + `func TestB(t *testing.T) {}`,
			"PASS: 1 passed, 0 failed, 1 skipped: 1 " + testns.NeedsRoot, ""},
		{"any other skip fails", `func TestA(t *testing.T) { t.Skip("not today") }` + "\n" + `func TestB(t *testing.T) {}`,
			"FAIL: 1 passed, 1 failed, 0 skipped", "not today"},
		{"everything left out is no pass", `func TestA(t *testing.T) { t.Skip("` + testns.LeftOut + `") }`,
			"FAIL: 0 passed, 0 failed, 1 skipped: 1 " + testns.LeftOut, ""},
		{"a panic", `func TestA(t *testing.T) { panic("the end") }`,
			"FAIL: 0 passed, 1 failed, 0 skipped", "the end"},
		{"an exit in the middle", `func TestA(t *testing.T) { os.Exit(3) }`,
			"FAIL: 0 passed, 1 failed, 0 skipped", "did not end"},
		{"does not build", `func TestA(t *testing.T) { undefined() }`,
			"FAIL: 0 passed, 1 failed, 0 skipped", "undefined: undefined"},
		{"no test", `var _ testing.TB`,
			"FAIL: 0 passed, 0 failed, 0 skipped: no test ran", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var out bytes.Buffer
			ok, err := run(bytes.NewReader(goTest(t, tt.test)), &out)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.HasPrefix(tt.want, "PASS"); ok != want {
				t.Errorf("ok = %v, want %v", ok, want)
			}
			lines := strings.Split(strings.TrimSpace(out.String()), "\n")
			if got := lines[len(lines)-1]; got != tt.want {
				t.Errorf("last line %q, want %q", got, tt.want)
			}
			if !strings.Contains(out.String(), tt.also) {
				t.Errorf("no %q in the report:\n%s", tt.also, &out)
			}
		})
	}
}

// goTest runs one test file in a module of its own and returns the events.
func goTest(t *testing.T, body string) []byte {
	t.Helper()
	dir := t.TempDir()
	src := "package m\n\nimport (\n\t\"os\"\n\t\"testing\"\n)\n\nvar _ = os.Args\n\n" + body + "\n"
	for name, text := range map[string]string{"go.mod": "module example.org/m\n\ngo 1.26\n", "m_test.go": src} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command("go", "test", "-json", "-vet=off", "./...")
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil && stdout.Len() == 0 {
		t.Fatalf("go test: %v\n%s", err, &stderr)
	}
	return stdout.Bytes()
}

func TestStreams(t *testing.T) {
	for _, tt := range []struct{ name, in, want string }{
		{"nothing at all", "", "FAIL: 0 passed, 0 failed, 0 skipped: no test ran\n"},
		{"not an event", "go: cannot find main module\n", "go: cannot find main module\nFAIL: 0 passed, 0 failed, 0 skipped: no test ran\n"},
		{"the stream ends early",
			`{"Action":"start","Package":"m"}` + "\n" +
				`{"Action":"run","Package":"m","Test":"TestA"}` + "\n" +
				`{"Action":"pass","Package":"m","Test":"TestA"}` + "\n" +
				`{"Action":"run","Package":"m","Test":"TestB"}` + "\n" +
				`{"Action":"output","Package":"m","Test":"TestB","Output":"half a "}`,
			"m: cut off\nm TestB: cut off\nhalf a failed: m\nfailed: m TestB\nFAIL: 1 passed, 2 failed, 0 skipped\n"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			ok, err := run(strings.NewReader(tt.in), &out)
			if ok || err != nil {
				t.Errorf("ok = %v, err = %v, want a failure without error", ok, err)
			}
			if got := out.String(); got != tt.want {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want)
			}
		})
	}
}
