package nodefile

import (
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containernetworking/cni/libcni"
	"github.com/google/go-cmp/cmp"

	"github.com/weft-net/weft/fabric"
)

func example() *File {
	return &File{
		Version: 1, Node: "a", NodeID: "id-a", Bridge: "weft0", BridgeMAC: fabric.MAC{2, 0, 0, 0, 0, 1}, MTU: 1450,
		Networks: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
		Subnets:  []netip.Prefix{netip.MustParsePrefix("10.244.1.0/24"), netip.MustParsePrefix("fd00:244:0:1::/64")},
		Draining: []netip.Prefix{netip.MustParsePrefix("10.244.9.0/24")},
		Full:     fabric.PerFamily[string]{IPv4: "no more", IPv6: "none"},
	}
}

func TestWhatIsWrittenIsRead(t *testing.T) {
	dir := t.TempDir()
	if _, err := Read(dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v, want os.ErrNotExist", err)
	}
	want := example()
	for range 2 { // the second replaces the first
		if err := want.Write(dir); err != nil {
			t.Fatal(err)
		}
	}
	got, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.Comparer(func(a, b netip.Prefix) bool { return a == b })); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) != 1 {
		t.Errorf("left behind: %v", left)
	}
}

func TestParseRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(map[string]any)
		want   string
	}{
		{"a newer version", func(m map[string]any) { m["version"] = Version + 1 }, "version 2"},
		{"no version", func(m map[string]any) { delete(m, "version") }, "version 0"},
		{"no bridge", func(m map[string]any) { delete(m, "bridge") }, "bridge"},
		{"no mtu", func(m map[string]any) { delete(m, "mtu") }, "mtu 0"},
		{"a subnet with host bits", func(m map[string]any) { m["subnets"] = []string{"10.244.1.7/24"} }, "10.244.1.7/24"},
		{"a subnet without room", func(m map[string]any) { m["subnets"] = []string{"10.244.1.0/31"} }, "no room"},
		{"no subnet at all", func(m map[string]any) { m["subnets"] = []string{"nonsense"} }, "nonsense"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := json.Marshal(example())
			if err != nil {
				t.Fatal(err)
			}
			var m map[string]any
			if err := json.Unmarshal(data, &m); err != nil {
				t.Fatal(err)
			}
			tt.change(m)
			if data, err = json.Marshal(m); err != nil {
				t.Fatal(err)
			}
			if _, err := Parse(data); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// A newer agent may say more than this plugin knows.
func TestParseIgnoresUnknownFields(t *testing.T) {
	data, err := json.Marshal(example())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Parse(append([]byte(`{"later":{"a":[1]},`), data[1:]...)); err != nil {
		t.Error(err)
	}
}

func TestConflist(t *testing.T) {
	data := Conflist("/run/weft")
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		t.Fatal(err)
	}
	if list.Name != "weft" || list.CNIVersion != "1.1.0" || len(list.Plugins) != 1 {
		t.Fatalf("got %+v", list)
	}
	p := list.Plugins[0]
	var own struct{ RunDir string }
	if err := json.Unmarshal(p.Bytes, &own); err != nil || own.RunDir != "/run/weft" || p.Network.Type != "weft" {
		t.Errorf("%v: got %s", err, p.Bytes)
	}
	for _, c := range []string{"ips", "mac", "aliases", "io.kubernetes.cri.pod-annotations"} {
		if !p.Network.Capabilities[c] {
			t.Errorf("capability %s is not asked for", c)
		}
	}
	// Runtimes that do not know cniVersions speak this one.
	var old struct{ CNIVersion string }
	if err := json.Unmarshal(data, &old); err != nil || old.CNIVersion != "1.0.0" {
		t.Errorf("%v: cniVersion %q", err, old.CNIVersion)
	}
}

func FuzzParse(f *testing.F) {
	data, err := json.Marshal(example())
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte(`{"version":1,"bridge":"b","mtu":1500,"subnets":["::/0","0.0.0.0/0"]}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		file, err := Parse(data)
		if err != nil {
			return
		}
		for _, s := range file.Subnets {
			if g := Gateway(s); !s.Contains(g) || g == s.Addr() {
				t.Errorf("gateway %v of %v", g, s)
			}
		}
	})
}
