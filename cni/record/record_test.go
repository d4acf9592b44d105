package record

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
)

func example(container string) *Record {
	a := ipam.Attachment{Container: container, Interface: "eth0"}
	return &Record{
		Version: Version, Network: "weft", Container: container, Interface: "eth0", HostInterface: a.HostInterface(), Bridge: "weft0",
		NetnsPath: "/run/netns/x", NetnsInode: 4026532001, MAC: fabric.MAC{10, 88, 10, 1, 2, 3}, MTU: 1450, Guarded: true,
		Addrs: []netip.Prefix{netip.MustParsePrefix("10.1.2.3/24"), netip.MustParsePrefix("fd00::3/64")},
		Pod:   Pod{Namespace: "prod", Name: "web-0", UID: "8d0e"}, Labels: map[string]string{"app": "web", "empty": ""}, Aliases: []string{"web"},
		Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", Created: time.Date(2026, 11, 21, 4, 5, 6, 7, time.UTC),
	}
}

func diff(want, got any) string {
	return cmp.Diff(want, got, cmpopts.EquateComparable(netip.Prefix{}), cmpopts.EquateEmpty())
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	want := example("c1")
	if _, err := Read(dir, want.Attachment()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no record: %v, want os.ErrNotExist", err)
	}
	for _, mtu := range []int{1400, 1450} { // the second replaces the first
		want.MTU = mtu
		if err := want.Write(dir); err != nil {
			t.Fatal(err)
		}
		got, err := Read(dir, want.Attachment())
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(want, got); d != "" {
			t.Errorf("-want +got:\n%s", d)
		}
	}
	entries, err := os.ReadDir(Dir(dir))
	if err != nil || len(entries) != 1 {
		t.Errorf("%v: left behind: %v", err, entries)
	}
	for range 2 {
		if err := Remove(dir, want.Attachment()); err != nil {
			t.Error(err)
		}
	}
	if _, err := Read(dir, want.Attachment()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its removal: %v", err)
	}
}

// Labels and traces are nobody else's business on the host.
func TestOnlyRootReads(t *testing.T) {
	dir := t.TempDir()
	if err := example("c1").Write(dir); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{Dir(dir): 0o700 | os.ModeDir, path(dir, example("c1").Attachment()): 0o600} {
		if st, err := os.Stat(path); err != nil || st.Mode() != want {
			t.Errorf("%s: %v, mode %v, want %v", path, err, st.Mode(), want)
		}
	}
}

func TestWriteRefuses(t *testing.T) {
	dir := t.TempDir()
	r := example("c1")
	r.Labels["long"] = strings.Repeat("x", maxSize)
	if err := r.Write(dir); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(Dir(dir), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := example("c1").Write(dir); err == nil {
		t.Error("a file where the directory should be is no error")
	}
}

// A record that cannot be read costs itself only.
func TestListGoesOn(t *testing.T) {
	dir := t.TempDir()
	if got, err := List(dir); err != nil || len(got) != 0 {
		t.Errorf("no directory: %v %v", got, err)
	}
	for _, c := range []string{"c1", "c2", "c3", "c4"} {
		if err := example(c).Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	at := func(c string) string { return path(dir, example(c).Attachment()) }
	if err := os.Truncate(at("c2"), 40); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(at("c3"), at("other")); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"README.json", "weft0123456789a.json.new"} {
		if err := os.WriteFile(filepath.Join(Dir(dir), name), []byte("{"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	got, err := List(dir)
	names := map[string]bool{}
	for _, r := range got {
		names[r.Container] = true
	}
	if d := cmp.Diff(map[string]bool{"c1": true, "c4": true}, names); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), filepath.Base(at("c2"))) || !strings.Contains(err.Error(), "it is of c3/eth0") {
		t.Errorf("errors: %v", err)
	}
	if _, err := Read(dir, example("other").Attachment()); err == nil || !strings.Contains(err.Error(), "it is of c3/eth0") {
		t.Errorf("another's record: %v", err)
	}
}

// TestNoFile: what is no file at a record's place holds nobody up.
func TestNoFile(t *testing.T) {
	dir := t.TempDir()
	for i, c := range []string{"c1", "c2", "c3"} {
		if err := example(c).Write(dir); err != nil {
			t.Fatal(err)
		}
		at := path(dir, example(c).Attachment())
		if err := errors.Join(os.Remove(at), []func() error{
			func() error { return syscall.Mkfifo(at, 0o600) },
			func() error { return os.Mkdir(at, 0o700) },
			func() error { return os.Symlink("/dev/zero", at) },
		}[i]()); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := List(dir); len(got) != 0 || err == nil || strings.Count(err.Error(), "not a regular file") != 3 {
		t.Errorf("%v: %v", got, err)
	}
}

func TestParseRefuses(t *testing.T) {
	for in, want := range map[string]string{
		`{"version":2,"container":"c","interface":"eth0"}`:              "version 2",
		`{"container":"c","interface":"eth0"}`:                          "version 0",
		`{"version":1,"interface":"eth0"}`:                              "container",
		`{"version":1,"container":"c","interface":"a2345678901234567"}`: "interface",
		`{"version":1,"container":"c","interface":"e","mac":"x"}`:       "MAC",
		`{"version":1,"container":"c","interface":"e","addresses":[1]}`: "addresses",
		`[]`:                                     "array",
		"{" + strings.Repeat(" ", maxSize) + "}": "bytes",
	} {
		if _, err := parse([]byte(in)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got %v, want an error with %q", in, err, want)
		}
	}
	if _, err := parse([]byte(`{"version":1,"container":"c","interface":"e","later":{}}`)); err != nil {
		t.Errorf("a key of a newer version: %v", err)
	}
}

func TestPodString(t *testing.T) {
	for want, pod := range map[string]Pod{"": {UID: "1"}, "web": {Name: "web"}, "prod/web": {Namespace: "prod", Name: "web"}} {
		if got := pod.String(); got != want {
			t.Errorf("%+v: %q, want %q", pod, got, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"container":"c","interface":"eth0","addresses":["10.1.2.3/24"],"mac":"0a:58:0a:01:02:03","created":"2026-11-21T04:05:06Z"}`))
	f.Add([]byte(`{"version":1,"container":"c","interface":"eth0","labels":null,"pod":{"name":"x"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := parse(data)
		if err != nil {
			return
		}
		dir := t.TempDir()
		if err := r.Write(dir); err != nil {
			return // larger when written than when read
		}
		got, err := Read(dir, r.Attachment())
		if err != nil {
			t.Fatal(err)
		}
		if d := diff(r, got); d != "" {
			t.Errorf("-written +read:\n%s", d)
		}
	})
}

// TestRemove: all that there is of a record goes, also of one that is unfinished.
func TestRemove(t *testing.T) {
	dir := t.TempDir()
	r := example("c1")
	for range 2 { // the second finds nothing
		if err := Remove(dir, r.Attachment()); err != nil {
			t.Error(err)
		}
	}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path(dir, r.Attachment())+unfinished, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(dir, r.Attachment()); err != nil {
		t.Error(err)
	}
	if left, _ := os.ReadDir(Dir(dir)); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
