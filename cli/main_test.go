package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"
)

// checkWidth fails for lines that a terminal would break.
func checkWidth(t *testing.T, text string) {
	t.Helper()
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if n := utf8.RuneCountInString(line); n > screen {
			t.Errorf("%d columns: %s", n, line)
		}
		if strings.HasSuffix(line, " ") {
			t.Errorf("blanks at the end: %q", line)
		}
	}
}

// result is what a command did.
type result struct {
	code     int
	out, err string
}

// command runs one command line as a user would, with an empty environment
// but for what is given.
func command(t *testing.T, env []string, stdin string, args ...string) result {
	t.Helper()
	var out, errOut bytes.Buffer
	code := Run(t.Context(), Terminal{
		In: strings.NewReader(stdin), Out: &out, Err: &errOut, Environ: env, Now: func() time.Time { return noon },
	}, args)
	checkErrorLine(t, code, errOut.String())
	return result{code, out.String(), errOut.String()}
}

// checkErrorLine: an error is one line of its own, whatever the notes.
func checkErrorLine(t *testing.T, code int, text string) {
	t.Helper()
	n := 0
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "weft: ") {
			n++
		} else if !strings.HasPrefix(line, "note: ") {
			t.Errorf("neither error nor note: %q", line)
		}
	}
	if want := code != exitDone && code != exitNo; (n == 1) != want || n > 1 {
		t.Errorf("exit code %d with %d lines of error: %s", code, n, text)
	}
}

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// etcd starts the real server on loopback, with its data in a directory of
// the test's, and returns the environment that leads the command line to it.
// The kernel kills it when the test process goes, however that happens.
func etcd(t *testing.T) []string {
	t.Helper()
	const any = "http://127.0.0.1:0" // the kernel chooses the ports
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "etcd", "--data-dir", t.TempDir(), "--logger", "zap", "--log-outputs", "stderr", "--unsafe-no-fsync",
		"--listen-client-urls", any, "--advertise-client-urls", any,
		"--listen-peer-urls", any, "--initial-advertise-peer-urls", any, "--initial-cluster", "default="+any)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Env = []string{}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatalf("the etcd server of Debian's etcd-server is needed: %v", err)
	}
	lines := bufio.NewScanner(stderr)
	lines.Buffer(nil, 1<<20)
	drained := make(chan struct{})
	t.Cleanup(func() {
		cancel()
		<-drained
		_ = cmd.Wait() // killed: that is its error
	})
	address, said := "", ""
	for address == "" && lines.Scan() {
		var line struct{ Msg, Address string }
		said += lines.Text() + "\n"
		if json.Unmarshal(lines.Bytes(), &line) == nil && strings.HasPrefix(line.Msg, "serving client traffic") {
			address = line.Address
		}
	}
	go func() {
		defer close(drained)
		for lines.Scan() { // so that it never blocks
		}
	}()
	if address == "" {
		t.Fatalf("etcd did not start:\n%s", said)
	}
	return []string{"WEFT_ETCD_ENDPOINTS=" + address, "WEFT_CONFIG=/dev/null", "WEFT_RUN_DIR=" + t.TempDir()}
}
