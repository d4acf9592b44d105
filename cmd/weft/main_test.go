package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// asWeft makes the test binary behave as weft, so that what is tested is this
// main in a process of its own.
const asWeft = "WEFT_TEST_RUNS_MAIN=1"

func TestMain(m *testing.M) {
	for _, e := range os.Environ() {
		if e == asWeft {
			main()
			return // main exits
		}
	}
	os.Exit(m.Run())
}

// weft runs the program and returns its exit code and what it printed.
func weft(t *testing.T, stdin string, args ...string) (code int, out, errOut string) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(self, args...)
	cmd.Env = []string{asWeft, "WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + t.TempDir()}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &stdout, &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()
}

const fabric = "apiVersion: weft/v1\nkind: Fabric\nmetadata: {name: a}\nspec: {network: {ipv4: 10.0.0.0/8}}\n"

func TestExitCodes(t *testing.T) {
	file := filepath.Join(t.TempDir(), "fabric.yaml")
	if err := os.WriteFile(file, []byte(fabric), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		line, stdin string
		code        int
		out, err    string // beginnings
	}{
		{"version", "", 0, "weft ", ""},
		{"validate -f " + file, "", 0, "fabric a: valid\n", ""},
		{"validate -f -", fabric, 0, "fabric a: valid\n", ""},
		{"--help", "", 0, "weft is the command line", ""},
		{"validate -f -", "kind: Fabric\n", 2, "", "weft: standard input:1: apiVersion: is missing"},
		{"nonsense", "", 2, "", `weft: "nonsense" is not a command`},
		{"nodes --config /nonexistent", "", 2, "", "weft: /nonexistent: no such file"},
		{"status", "", 4, "", "weft: weftd is not running here"},
		{"nodes --etcd-endpoints 127.0.0.1:1", "", 4, "", "weft: etcd at http://127.0.0.1:1 does not answer"},
	} {
		code, out, errOut := weft(t, c.stdin, strings.Fields(c.line)...)
		if code != c.code || !strings.HasPrefix(out, c.out) || !strings.HasPrefix(errOut, c.err) {
			t.Errorf("weft %s: exit code %d, want %d\nout: %serr: %s", c.line, code, c.code, out, errOut)
		}
		if lines := strings.Count(errOut, "\n"); code != 0 && lines != 1 {
			t.Errorf("weft %s: %d lines of error: %s", c.line, lines, errOut)
		}
	}
}
