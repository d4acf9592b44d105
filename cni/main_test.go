package cni

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// TestNoPath: weft calls no other plugin, so it needs no CNI_PATH.
func TestNoPath(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/24")
	p := w.pod("c1")
	cmd := w.command(call{command: "ADD", id: p.id, netns: p.netns})
	cmd.Env = cmd.Env[:len(cmd.Env)-1] // CNI_PATH is the last
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}

// TestVersionEchoes: VERSION is answered in the version that it is asked in,
// which need not be one of ours.
func TestVersionEchoes(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for in, want := range map[string]string{`{"cniVersion":"0.4.0"}`: "0.4.0", `{"cniVersion":"9.9.9"}`: "9.9.9", "": newest, "{": newest, `{"cniVersion":7}`: newest} {
		conf := filepath.Join(t.TempDir(), "in")
		if err := os.WriteFile(conf, []byte(in), 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(conf)
		if err != nil {
			t.Fatal(err)
		}
		cmd := w.command(call{command: "VERSION"})
		cmd.Stdin = f
		out, err := cmd.Output()
		f.Close()
		var got struct{ CNIVersion string }
		if err != nil || json.Unmarshal(out, &got) != nil || got.CNIVersion != want {
			t.Errorf("%s: %v: %s", in, err, out)
		}
	}
}

// TestErrorsSpeakTheVersionAsked: as far as it is one that we speak.
func TestErrorsSpeakTheVersionAsked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for asked, want := range map[string]string{"0.4.0": "0.4.0", "1.0.0": "1.0.0", "0.2.0": newest, "9.9.9": newest} {
		for _, extra := range []map[string]any{nil, {"name": "-"}, {"mtu": -1}} {
			if _, doc := w.run(call{command: "ADD", id: "c1", netns: "/no", version: asked, extra: extra}); doc == nil || doc.CNIVersion != want {
				t.Errorf("asked in %s with %v: %+v", asked, extra, doc)
			}
		}
	}
}
