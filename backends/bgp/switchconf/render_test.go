package switchconf

import (
	"regexp"
	"strings"
	"testing"

	"github.com/weft-net/weft/internal/golden"
)

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
			golden.Compare(t, s.name+"."+kind, got)
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
