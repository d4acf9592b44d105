package switchconf

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRender: what is written in every situation for every kind of switch, as
// a person reads it.
func TestRender(t *testing.T) {
	for _, s := range scenarios() {
		sw, err := For(s.fabric, s.place)
		if err != nil {
			t.Fatal(err)
		}
		for _, kind := range Kinds() {
			got, err := Render(kind, sw)
			if err != nil {
				t.Errorf("%s: %v", s.name, err)
				continue
			}
			golden(t, filepath.Join("testdata", s.name+"."+kind), got)
			for line := range strings.Lines(got) {
				if line != strings.TrimRight(line, " \t\n")+"\n" {
					t.Errorf("%s.%s: blanks at the end or no newline: %q", s.name, kind, line)
				}
			}
			if strings.Contains(got, "\n\n\n") {
				t.Errorf("%s.%s: two empty lines", s.name, kind)
			}
		}
	}
}

// TestNames: groups have names of their own, whatever the objects are called,
// and so has everything that BIRD is told of.
func TestNames(t *testing.T) {
	for _, s := range scenarios() {
		sw, err := For(s.fabric, s.place)
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for _, g := range sw.Groups {
			if seen[g.Name] {
				t.Errorf("%s: two groups are called %s", s.name, g.Name)
			}
			seen[g.Name] = true
		}
		text, err := Render(BIRD, sw)
		if err != nil {
			t.Fatal(err)
		}
		clear(seen)
		for _, m := range regexp.MustCompile(`(?m)^(?:filter|template bgp|protocol \w+) (\w+)`).FindAllStringSubmatch(text, -1) {
			if seen[m[1]] {
				t.Errorf("%s: two things in BIRD are called %s", s.name, m[1])
			}
			seen[m[1]] = true
		}
	}
}

func golden(t *testing.T, path, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}
