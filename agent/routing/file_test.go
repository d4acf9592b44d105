package routing

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A password's file that is wrong costs only the sessions that name it; one that
// is replaced by way of its deletion costs nobody anything.
func TestSecrets(t *testing.T) {
	dir := t.TempDir()
	path := func(name string) string { return filepath.Join(dir, name) }
	write(t, path("good"), "s3cret\n")
	write(t, path("long"), strings.Repeat("x", 81))
	write(t, path("longest"), strings.Repeat("x", 80)+"\r\n")
	write(t, path("empty"), "\n")
	write(t, path("lines"), "a\nb\n")
	if err := unix.Mkfifo(path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	s := secrets{}
	all := map[string]bool{}
	for _, name := range []string{"good", "long", "longest", "empty", "lines", "pipe", "missing"} {
		all[path(name)] = true
	}
	got := s.poll(all, at(0))
	for name, want := range map[string]string{
		"good": "", "longest": "", "long": "81 bytes", "empty": "empty", "lines": "more than one line", "pipe": "not a regular file", "missing": "no such file",
	} {
		wantText(t, name, got[path(name)].Err, want)
		if strings.Contains(got[path(name)].Err, "xxx") {
			t.Errorf("%s: the reason shows the secret", name)
		}
	}
	if string(got[path("good")].Secret) != "s3cret" || len(got[path("longest")].Secret) != 80 {
		t.Errorf("secrets %d bytes and %d bytes", len(got[path("good")].Secret), len(got[path("longest")].Secret))
	}

	if err := os.Remove(path("good")); err != nil {
		t.Fatal(err)
	}
	if c := s.poll(all, at(2))[path("good")]; c.Secret != "s3cret" || c.Err != "" {
		t.Errorf("just deleted: %q", c.Err)
	}
	write(t, path("good"), "other")
	if c := s.poll(all, at(4))[path("good")]; c.Secret != "other" {
		t.Error("the new secret is not taken")
	}
	if err := os.Remove(path("good")); err != nil {
		t.Fatal(err)
	}
	s.poll(all, at(6))
	if c := s.poll(all, at(17))[path("good")]; c.Secret != "" || !strings.Contains(c.Err, "no such file") {
		t.Errorf("gone for long: %q", c.Err)
	}
	if s.poll(nil, at(18)); len(s) != 0 {
		t.Error("secrets that nobody wants are kept")
	}
}

const goodObjects = `
apiVersion: weft/v1
kind: BGPPeer
metadata: {name: %s}
spec: {nodes: {}, peer: {gateways: all}, asn: external}
`

// What the node's own file last said stays in force while it makes no sense.
func TestOwnFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "bgp.yaml")
	o := ownFile{file: file{path: path}}
	want := func(second int, peer, problem string) {
		t.Helper()
		objects, problems := o.poll(at(second))
		got, said := "", ""
		if objects != nil && len(objects.Peers) > 0 {
			got = objects.Peers[0].Name
		}
		if len(problems) > 0 {
			said = problems[0].Reason
		}
		if got != peer {
			t.Errorf("second %d: peer %q in force, want %q", second, got, peer)
		}
		wantText(t, "problem", said, problem)
	}
	want(0, "", "")
	write(t, path, "nonsense: [")
	want(2, "", "bgp.yaml")
	write(t, path, strings.ReplaceAll(goodObjects, "%s", "one"))
	want(4, "one", "")
	write(t, path, strings.ReplaceAll(goodObjects, "gateways: all", "gateway: all"))
	want(6, "one", "stays in force")
	want(8, "one", "stays in force")
	write(t, path, strings.ReplaceAll(goodObjects, "%s", "two"))
	want(10, "two", "")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	want(12, "two", "")
	want(23, "", "")
}
