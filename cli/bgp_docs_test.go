package cli

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/internal/golden"
)

const bgpPage = "../docs/bgp.md"

// fences splits a page into its fenced blocks and what is between them: the
// blocks have odd numbers. A block begins with its language.
func fences(t *testing.T) []string {
	t.Helper()
	page, err := os.ReadFile(bgpPage)
	if err != nil {
		t.Fatal(err)
	}
	parts := strings.Split(string(page), "```")
	if len(parts)%2 == 0 {
		t.Fatalf("%s: a block does not end", bgpPage)
	}
	return parts
}

// TestDocumentedObjects: what docs/bgp.md says to apply can be applied.
func TestDocumentedObjects(t *testing.T) {
	n := 0
	parts := fences(t)
	for i := 1; i < len(parts); i += 2 {
		text, ok := strings.CutPrefix(parts[i], "yaml\n")
		if !ok {
			continue
		}
		n++
		if _, err := config.ParseObjects(bgpPage, []byte(text)); err != nil {
			t.Errorf("%v, in\n%s", err, text)
		}
	}
	if n < 8 {
		t.Errorf("only %d blocks of objects: the test checks little", n)
	}
}

// TestDocumentedSwitches: the switches' configuration in docs/bgp.md is what
// tor-config writes today, from the objects in the block of YAML before it. A
// part of it is what `| sed -n SCRIPT` leaves.
func TestDocumentedSwitches(t *testing.T) {
	objects, n := "", 0
	parts := fences(t)
	for i := 1; i < len(parts); i += 2 {
		if text, ok := strings.CutPrefix(parts[i], "yaml\n"); ok {
			objects = text
			continue
		}
		command, ok := strings.CutPrefix(parts[i], "console\n$ weft bgp tor-config ")
		if !ok {
			continue
		}
		n++
		command, shown, _ := strings.Cut(strings.ReplaceAll(command, "\\\n", ""), "\n")
		got := documented(t, command, objects)
		if shown != got {
			if golden.Update() {
				parts[i] = strings.TrimSuffix(parts[i], shown) + got
				continue
			}
			t.Errorf("%s is not what is written today (-doc +got):\n%s", command, cmp.Diff(shown, got))
		}
	}
	if n < 4 {
		t.Errorf("only %d switches: the test checks little", n)
	}
	if golden.Update() {
		if err := os.WriteFile(bgpPage, []byte(strings.Join(parts, "```")), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// documented runs a command line of the page.
func documented(t *testing.T, line, objects string) string {
	t.Helper()
	line, script, filtered := strings.Cut(line, " | sed -n ")
	words := strings.Fields(line)
	for i, w := range words {
		if strings.HasSuffix(w, ".yaml") {
			words[i] = "-"
		}
	}
	r := command(t, nil, objects, append([]string{"bgp", "tor-config"}, words...)...)
	if r.code != exitDone {
		t.Fatalf("%s: %+v", line, r)
	}
	if !filtered {
		return r.out
	}
	sed := exec.Command("sed", "-n", strings.Trim(script, "'"))
	sed.Stdin = strings.NewReader(r.out)
	out, err := sed.Output()
	if err != nil {
		t.Fatalf("sed: %v", err)
	}
	return string(out)
}
