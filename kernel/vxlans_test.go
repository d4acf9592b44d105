package kernel

import (
	"slices"
	"testing"
)

// All VXLAN devices are listed, and weft's own told from others' by their mark,
// not by their name.
func TestVXLANDevices(t *testing.T) {
	underlay(t)
	if got, err := VXLANDevices(); err != nil || len(got) != 0 {
		t.Errorf("without any: %v, %v", got, err)
	}
	for _, line := range []string{
		"link add name flannel.1 type vxlan id 1 dstport 8472 local 198.18.0.1 nolearning",
		"link add name six type vxlan id 1 dstport 8472 local fd18::1",
		"link add name cilium type vxlan external dstport 4789",
		"link add name weft.7 type vxlan id 7 dstport 4789",
		"link add name weft.9 type vxlan id 9 dstport 4789 local 198.18.0.1",
		"link set weft.9 alias weft",
	} {
		commands(t, "ip "+line)
	}
	got, err := VXLANDevices()
	want := []VXLANDevice{
		{Name: "cilium", Port: 4789, External: true},
		{Name: "flannel.1", VNI: 1, Port: 8472, Local: addr("198.18.0.1")},
		{Name: "six", VNI: 1, Port: 8472, Local: addr("fd18::1")},
		{Name: "weft.7", VNI: 7, Port: 4789},
		{Name: "weft.9", VNI: 9, Port: 4789, Local: addr("198.18.0.1"), Own: true},
	}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got  %+v, %v\nwant %+v", got, err, want)
	}
}
