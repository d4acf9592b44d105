package record_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/cni/record"
)

func write(t *testing.T, runDir, container string) (hostInterface string) {
	t.Helper()
	r := &record.Record{Version: record.Version, Container: container, Interface: "eth0", Created: time.Now()}
	if err := r.Write(runDir); err != nil {
		t.Fatal(err)
	}
	return r.Attachment().HostInterface()
}

func files(t *testing.T, runDir string) (names []string) {
	t.Helper()
	entries, err := os.ReadDir(record.Dir(runDir))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What nobody has an interface or an address for goes at the second pass, also
// what cannot be read or was never finished; everything else stays.
func TestSweepRemovesOnlyWhatIsAbandoned(t *testing.T) {
	runDir := t.TempDir()
	lives, gone, killed := write(t, runDir, "lives"), write(t, runDir, "gone"), write(t, runDir, "killed")
	finished := filepath.Join(record.Dir(runDir), killed+".json")
	if err := os.Rename(finished, finished+".new"); err != nil { // so an ADD that was killed leaves it
		t.Fatal(err)
	}
	for _, name := range []string{"other.json", "weft0.json", gone + ".txt"} {
		if err := os.WriteFile(filepath.Join(record.Dir(runDir), name), []byte("?"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := write(t, runDir, "broken")
	if err := os.WriteFile(filepath.Join(record.Dir(runDir), broken+".json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if n, err := record.Count(runDir); n != 3 || err != nil {
		t.Errorf("count: %d, %v, want the 3 that are finished", n, err)
	}
	w := record.NewSweeper(runDir)
	alive := func(name string) bool { return name == lives }
	before := files(t, runDir)
	if removed, err := w.Pass(alive); err != nil || len(removed) != 0 || w.Suspects() != 3 {
		t.Errorf("first pass: removed %v, %v, %d suspects", removed, err, w.Suspects())
	}
	if diff := cmp.Diff(before, files(t, runDir)); diff != "" {
		t.Errorf("first pass: -before +after:\n%s", diff)
	}
	want := []string{broken + ".json", gone + ".json", killed + ".json.new"}
	slices.Sort(want)
	removed, err := w.Pass(alive)
	if diff := cmp.Diff(want, removed); diff != "" || err != nil {
		t.Errorf("second pass: %v, -want +got:\n%s", err, diff)
	}
	left := []string{"other.json", "weft0.json", gone + ".txt", lives + ".json"}
	slices.Sort(left)
	if diff := cmp.Diff(left, files(t, runDir)); diff != "" {
		t.Errorf("-want +left:\n%s", diff)
	}
}

// A record that was written again, or whose attachment was there in between, is
// not the one that looked abandoned.
func TestSweepStartsAnewWithWhatCameBack(t *testing.T) {
	runDir := t.TempDir()
	name := write(t, runDir, "a")
	w := record.NewSweeper(runDir)
	none, all := func(string) bool { return false }, func(string) bool { return true }
	for i, step := range []struct {
		before func()
		lives  func(string) bool
	}{
		{lives: none},
		{lives: all},
		{lives: none},
		{before: func() { write(t, runDir, "a") }, lives: none},
		{before: func() { // the same inode, at another time: as on file systems that use them again
			if err := os.Chtimes(filepath.Join(record.Dir(runDir), name+".json"), time.Time{}, time.Unix(1, 0)); err != nil {
				t.Fatal(err)
			}
		}, lives: none},
	} {
		if step.before != nil {
			step.before()
		}
		if removed, err := w.Pass(step.lives); len(removed) != 0 || err != nil {
			t.Fatalf("pass %d: removed %v, %v", i, removed, err)
		}
	}
	if removed, err := w.Pass(none); err != nil || !slices.Equal(removed, []string{name + ".json"}) {
		t.Errorf("last pass: removed %v, %v", removed, err)
	}
}

func TestSweepWithoutDirectory(t *testing.T) {
	runDir := t.TempDir()
	if removed, err := record.NewSweeper(runDir).Pass(func(string) bool { return false }); len(removed) != 0 || err != nil {
		t.Errorf("removed %v, %v", removed, err)
	}
	if n, err := record.Count(runDir); n != 0 || err != nil {
		t.Errorf("count: %d, %v", n, err)
	}
}
