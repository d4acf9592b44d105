package vxlan

import (
	"os"
	"strings"
	"testing"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
)

func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

func inSync(t *testing.T, h *kernel.Host) kernel.Report {
	t.Helper()
	r, err := h.Sync()
	if err != nil || !r.InSync {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// segment is a host on a segment of its own.
func segment(t *testing.T) *kernel.Host {
	t.Helper()
	testns.New(t)
	for _, line := range []string{
		"link add eth0 type veth peer name far0", "link set far0 up", "link set eth0 up",
		"addr add 198.18.0.1/24 dev eth0", "addr add 2001:2:0:1::1/64 dev eth0 nodad",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
	h, err := kernel.Open(kernel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { h.Close() })
	return h
}

// TestTwoGenerations arms a peer by both overlays and its segment in a real
// kernel, which takes all of it at the same time; moves its routes from one to
// the other, a message each; and ends the earlier overlay, whose addresses stay
// on the later.
func TestTwoGenerations(t *testing.T) {
	h := segment(t)
	newer := fabric.VXLANSpec{VNI: 1, Port: 8472, Generation: 1}
	in := input(func(in *backends.Input) {
		to := in.Spec.Plan()
		to.VXLAN = newer
		in.Plans = []fabric.Plan{in.Spec.Plan(), to}
	})
	r := remote("198.18.0.2", "2001:2:0:1::2", nil)
	objs := backends.Base(in)
	add := func(more kernel.Objects) {
		objs.Links, objs.Addrs = append(objs.Links, more.Links...), append(objs.Addrs, more.Addrs...)
		objs.Sysctls = append(objs.Sysctls, more.Sysctls...)
	}
	add(Devices(in))
	ways := map[string]fabric.PerFamily[uint32]{}
	for _, o := range Overlays(in) {
		ways[DeviceName(o)], _ = Arm(&objs, in, r, o)
	}
	var direct fabric.PerFamily[uint32]
	for _, f := range fabric.Families {
		id, reason := backends.Direct(&objs, in, r, f)
		if id == 0 {
			t.Fatal(reason)
		}
		direct.Set(f, id)
	}
	ways["eth0"] = direct
	h.SetWant(objs)
	inSync(t, h)
	var last kernel.Objects
	for _, dev := range []string{"weft.1", "weft.1b", "eth0", "weft.1b", "weft.1", "weft.1b"} {
		var next kernel.Objects
		for _, s := range r.Subnets {
			route, _ := backends.Route(s.Prefix, backends.Via{Nexthop: ways[dev].Get(fabric.FamilyOf(s.Prefix.Addr()))})
			next.Routes = append(next.Routes, route)
		}
		h.Update(last, next)
		if report := inSync(t, h); report.Writes != len(r.Subnets) {
			t.Errorf("%d messages lead %d routes to %s", report.Writes, len(r.Subnets), dev)
		}
		last = next
		for _, s := range r.Subnets {
			if got := testns.Run(t, "ip", "route", "get", s.Prefix.Addr().Next().String()); !strings.Contains(got, "dev "+dev+" ") {
				t.Errorf("%s is sent to by\n%s, want %s", s.Prefix, got, dev)
			}
		}
	}
	later := in
	later.Plans = in.Plans[1:]
	h.Update(Devices(in), Devices(later))
	var gone, stay kernel.Objects
	for _, o := range Overlays(in) {
		Arm(&gone, in, r, o)
	}
	Arm(&stay, in, r, newer)
	h.Update(gone, stay)
	inSync(t, h)
	if left := testns.Run(t, "ip", "-o", "link", "show", "type", "vxlan"); strings.Contains(left, "weft.1:") || !strings.Contains(left, "weft.1b:") {
		t.Errorf("left are\n%s", left)
	}
	for _, p := range in.Subnets { // in IPv6 it is also the routers' address on the bridge (RFC 4291, section 2.6.1)
		if got := testns.Run(t, "ip", "route", "get", p.Addr().String()); !strings.HasPrefix(got, "local ") && !strings.HasPrefix(got, "anycast ") {
			t.Errorf("%s is not this host's any more: %s", p.Addr(), got)
		}
	}
}
