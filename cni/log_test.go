package cni

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// logged decodes every line of a log.
func logged(t *testing.T, path string) []map[string]any {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var out []map[string]any
	for line := range bytes.Lines(data) {
		var e map[string]any
		if err := json.Unmarshal(line, &e); err != nil {
			t.Fatalf("%v: %q", err, line)
		}
		out = append(out, e)
	}
	return out
}

func TestLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	path := filepath.Join(t.TempDir(), "weft.log")
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	c := call{
		command: "ADD", id: p.id, netns: p.netns, extra: map[string]any{"logFile": path},
		env: []string{"CNI_ARGS=K8S_POD_NAMESPACE=prod;K8S_POD_NAME=web-0", "TRACEPARENT=" + trace},
	}
	r, _ := w.addAs(c)
	q := c
	q.netns = "/proc/1/no/such"
	_, refused := w.run(q)
	if refused == nil {
		t.Fatal("a namespace that is not there is no error")
	}
	c.command, c.env = "DEL", nil
	w.addless(c)
	lines := logged(t, path)
	for _, e := range lines {
		if ms, ok := e["ms"].(float64); !ok || ms <= 0 || e["time"] == "" {
			t.Errorf("neither duration nor time in %v", e)
		}
		delete(e, "ms")
		delete(e, "time")
	}
	want := []map[string]any{{
		"level": "info", "op": "ADD", "network": "weft", "container": "c1", "interface": "eth0", "hostInterface": r.Interfaces[1].Name, "netns": p.netns,
		"pod": "prod/web-0", "addresses": []any{"10.1.2.2", "fd00::2"}, "traceparent": trace,
	}, {
		"level": "error", "op": "ADD", "network": "weft", "container": "c1", "interface": "eth0", "netns": q.netns, "pod": "prod/web-0", "traceparent": trace,
		"code": float64(8), "msg": refused.Msg,
	}, {
		"level": "info", "op": "DEL", "network": "weft", "container": "c1", "interface": "eth0", "netns": p.netns,
		"addresses": []any{"10.1.2.2", "fd00::2"},
	}}
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Failures only.
	c.extra["logLevel"] = "error"
	w.addless(c)
	if n := len(logged(t, path)); n != len(want) {
		t.Errorf("%d lines, want still %d", n, len(want))
	}
	if st, err := os.Stat(path); err != nil || st.Mode() != 0o600 {
		t.Errorf("%v: mode %v", err, st.Mode())
	}
}

// TestLogNeverMatters: whatever the log is, pods come and go.
func TestLogNeverMatters(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	p := w.pod("c1")
	for _, path := range []string{filepath.Join(dir, "no/such/directory"), dir, fifo, "/dev/full", "/proc/self/exe"} {
		c := call{command: "ADD", id: p.id, netns: p.netns, extra: map[string]any{"logFile": path}}
		w.addAs(c)
		c.command = "DEL"
		w.addless(c)
	}
	w.clean(p)
}

// TestLogIsBounded: many processes write and rotate at once; no line is torn,
// and none but those of the oldest file is lost.
func TestLogIsBounded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft.log")
	t.Run("file", func(t *testing.T) { testBounded(t, path, path) })
	path = filepath.Join(t.TempDir(), "weft.log")
	link := filepath.Join(t.TempDir(), "link.log")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	t.Run("link", func(t *testing.T) { testBounded(t, link, path) })
}

// testBounded writes to a log by a name that leads to path.
func testBounded(t *testing.T, name, path string) {
	line := append([]byte(`{"x":"`+strings.Repeat("x", 4000)), "\"}\n"...)
	const writers, each = 4, 100 // 1.6 MB in all: one rotation
	var wg sync.WaitGroup
	for range writers {
		wg.Go(func() {
			for range each {
				appendLine(name, line)
			}
		})
	}
	wg.Wait()
	n := len(logged(t, path)) + len(logged(t, path+".1"))
	if n != writers*each {
		t.Errorf("%d lines, want %d", n, writers*each)
	}
	for range 2 * maxLog / len(line) {
		appendLine(name, line)
	}
	var sizes []string
	for _, name := range []string{path, path + ".1"} {
		st, err := os.Stat(name)
		if err != nil {
			t.Fatal(err)
		}
		if st.Size() > maxLog+int64(len(line)) {
			sizes = append(sizes, fmt.Sprint(st.Size()))
		}
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 2 || sizes != nil {
		t.Errorf("%v: %v, too large: %v", err, entries, sizes)
	}
}
