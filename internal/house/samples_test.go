package house

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/pflag"

	"github.com/weft-net/weft/config"
)

// TestInstalledFile: the node's file that make install puts in place is
// accepted on any host.
func TestInstalledFile(t *testing.T) {
	flags := pflag.NewFlagSet("weftd", pflag.ContinueOnError)
	config.Flags(flags)
	if err := flags.Parse([]string{"--config", filepath.Join(root, "config/reference.yaml"), "--node-id", "test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := config.Load(flags, func(string) (string, bool) { return "", false }); err != nil {
		t.Error(err)
	}
}

func nodeFlags() []string {
	flags := pflag.NewFlagSet("weftd", pflag.ContinueOnError)
	config.Flags(flags)
	var out []string
	flags.VisitAll(func(f *pflag.Flag) { out = append(out, f.Name) })
	return out
}

// TestFabricSample: the sample is what apply accepts.
func TestFabricSample(t *testing.T) {
	const name = "scripts/fabric.yaml"
	data, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := config.ParseObjects(name, data)
	if err != nil || len(objects) != 1 {
		t.Errorf("%d objects, %v; want one", len(objects), err)
	}
}

// TestNodeKeysAreDocumented: docs/config.md has the flag and the variable of
// every key.
func TestNodeKeysAreDocumented(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "docs/config.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, flag := range nodeFlags() {
		env := "WEFT_" + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
		for _, want := range []string{"`--" + flag + "`", "`" + env + "`"} {
			if !strings.Contains(string(page), want) {
				t.Errorf("docs/config.md does not mention %s", want)
			}
		}
	}
}

// TestMetricsAreDocumented: docs/metrics.md has every metric that the agent's
// sources name, and none that they do not.
func TestMetricsAreDocumented(t *testing.T) {
	name := regexp.MustCompile(`weft_[a-z_]+`)
	page, err := os.ReadFile(filepath.Join(root, "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]bool{}
	for _, m := range name.FindAllString(string(page), -1) {
		documented[m] = true
	}
	defined := map[string]bool{}
	files(t, func(path string, src []byte) {
		if strings.HasPrefix(path, "agent/") && !strings.HasSuffix(path, "_test.go") {
			for _, m := range regexp.MustCompile(`"(weft_[a-z_]+)"`).FindAllSubmatch(src, -1) {
				defined[string(m[1])] = true
			}
		}
	})
	if diff := cmp.Diff(defined, documented); diff != "" {
		t.Errorf("metrics (-in the code +in docs/metrics.md):\n%s", diff)
	}
}
