package fabric

import (
	"slices"
	"testing"
)

// What is asked for every peer is answered without making the list.
func TestUsesIsWhatTheDefaultHas(t *testing.T) {
	for _, p := range []Plan{
		{Backend: "vxlan"}, {Backend: "vxlan", VXLAN: VXLANSpec{DirectRouting: true}}, {Backend: backendBGP},
		{Backend: backendBGP, Overlay: OverlayNever}, {Backend: backendBGP, Overlay: OverlayAlways},
		{Backend: "vxlan", Overlay: OverlayCrossSubnet}, {Backend: "vxlan", Paths: []PathKind{PathBGP}}, {Overlay: "nonsense"},
	} {
		for _, k := range []PathKind{PathVXLAN, PathDirect, PathBGP} {
			if got, want := p.Uses(nil, k), slices.Contains(p.Default(false), k); got != want {
				t.Errorf("%+v uses %s: got %t, want %t", p, k, got, want)
			}
		}
	}
}
