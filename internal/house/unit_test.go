package house

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestUnitAllowsItsSockets: what weftd opens, its unit lets it open. Under
// systemd a family that is left out fails at run time only, on real hosts.
func TestUnitAllowsItsSockets(t *testing.T) {
	root := filepath.Join("..", "..")
	unit, err := os.ReadFile(filepath.Join(root, "scripts", "weftd.service"))
	if err != nil {
		t.Fatal(err)
	}
	line := regexp.MustCompile(`(?m)^RestrictAddressFamilies=(.*)$`).FindSubmatch(unit)
	if line == nil {
		t.Fatal("weftd.service restricts no families")
	}
	allowed := strings.Fields(string(line[1]))
	opened := regexp.MustCompile(`unix\.Socket\(unix\.(AF_[A-Z0-9]+)`)
	seen := 0
	for _, dir := range []string{"agent", "kernel", "backends", "store"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d os.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			source, err := os.ReadFile(path)
			for _, m := range opened.FindAllSubmatch(source, -1) {
				seen++
				if family := string(m[1]); !slices.Contains(allowed, family) {
					t.Errorf("%s opens a socket of %s, which weftd.service does not allow", path, family)
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if seen < 3 {
		t.Errorf("%d sockets found in the sources, want those of netlink, probes and drains", seen)
	}
}
