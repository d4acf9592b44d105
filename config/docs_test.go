package config

import (
	"encoding"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// keysOf lists the dotted paths of all keys under a type, "[]" for items of
// lists, as the decoder accepts them.
func keysOf(path string, of reflect.Type) []string {
	if of.Kind() == reflect.Pointer {
		of = of.Elem()
	}
	_, isText := reflect.New(of).Interface().(encoding.TextUnmarshaler)
	switch {
	case of.Kind() == reflect.Slice && of.Elem().Kind() == reflect.Struct && len(keysOf("", of.Elem())) > 1:
		return keysOf(path+"[]", of.Elem())
	case of.Kind() != reflect.Struct || isText:
		return []string{path}
	}
	var out []string
	for _, f := range reflect.VisibleFields(of) {
		if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" {
			out = append(out, keysOf(join(path, name), f.Type)...)
		}
	}
	return out
}

// TestEveryKeyOfTheObjectsIsDocumented: docs/fabric.md has each in the section
// of its kind.
func TestEveryKeyOfTheObjectsIsDocumented(t *testing.T) {
	page, err := os.ReadFile("../docs/fabric.md")
	if err != nil {
		t.Fatal(err)
	}
	section := func(heading string) string {
		_, rest, _ := strings.Cut(string(page), "\n## "+heading+"\n")
		text, _, _ := strings.Cut(rest, "\n## ")
		return text
	}
	for heading, of := range map[string]reflect.Type{
		"Fabric": reflect.TypeFor[fabric.Spec](), "BGPPeer": reflect.TypeFor[fabric.BGPPeerSpec](),
		"BGPPolicy": reflect.TypeFor[fabric.BGPPolicySpec](), "BGPPrefix": reflect.TypeFor[fabric.BGPPrefixSpec](),
	} {
		keys := keysOf("", of)
		if len(keys) < 5 {
			t.Errorf("%s has the keys %v only", heading, keys)
		}
		for _, key := range keys {
			in := heading
			if strings.HasPrefix(key, "bgp.") {
				in = "spec.bgp of the Fabric"
			}
			key = strings.TrimPrefix(key, "rules[].")
			if !strings.Contains(section(in), "`"+key+"`") {
				t.Errorf("docs/fabric.md, section %s: %s is missing", in, key)
			}
		}
	}
}

// TestSamples: what the project ships is what apply accepts, and spells the
// defaults.
func TestSamples(t *testing.T) {
	for name, want := range map[string]int{"fabric.yaml": 1, "fabric-bgp.yaml": 4} {
		data, err := os.ReadFile("../scripts/" + name)
		if err != nil {
			t.Fatal(err)
		}
		objects, err := ParseObjects(name, data)
		if err != nil || len(objects) != want {
			t.Errorf("%s: %d objects, %v; want %d", name, len(objects), err, want)
			continue
		}
		if c := CheckObjects(BGPOf(objects), objects[0].Fabric(), nil); len(c) > 0 {
			t.Errorf("%s: %+v", name, c)
		}
		defaults := parseOne(t, routed).Fabric().BGP
		if spec := objects[0].Fabric(); spec.Backend == BackendBGP && !reflect.DeepEqual(spec.BGP, defaults) {
			t.Errorf("%s: %+v, want the defaults %+v", name, spec.BGP, defaults)
		}
	}
}
