package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestArchitecture: the tests that ARCHITECTURE.md names for each invariant
// are there, in the rooms that it says, and each invariant has one.
func TestArchitecture(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "## What must never happen")
	invariants := regexp.MustCompile(`(?m)^\d+\. `).Split(section, -1)[1:]
	if len(invariants) == 0 {
		t.Error("no invariants: the rule checks nothing")
	}
	defined := map[string]bool{} // "room Test"
	files(t, func(path string, src []byte) {
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(src, -1) {
			defined[room(path)+" "+string(m[1])] = true
		}
	})
	word := regexp.MustCompile(`\b(?:([a-z]+):|(Test\w+))`)
	for i, text := range invariants {
		in, named := "", 0
		for _, m := range word.FindAllStringSubmatch(text, -1) {
			if m[1] != "" {
				in = strings.Replace(m[1], "house", "internal", 1)
				continue
			}
			named++
			if !defined[in+" "+m[2]] {
				t.Errorf("invariant %d: there is no %s in %s", i+1, m[2], in)
			}
		}
		if named == 0 {
			t.Errorf("invariant %d has no test", i+1)
		}
	}
}
