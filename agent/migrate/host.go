package migrate

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
)

// release is the kernel's, as uname(2) says.
func release() string {
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return "of unknown version"
	}
	return unix.ByteSliceToString(u.Release[:])
}

// Where the kernel shows, of the namespace of the thread that reads, how it
// checks where packets come from and which UDP ports are in use.
const (
	devices  = "/proc/sys/net/ipv4/conf"
	udpPorts = "/proc/thread-self/net/udp"
)

// checkReversePath looks for devices on which the kernel drops packets that come
// another way than it would answer by (strict rp_filter, RFC 3704, section 2.2).
// While nodes move, the two directions between two of them differ. On weft's own
// devices and on Uplinks weft sees to that itself.
func checkReversePath(in Inputs) fabric.Check {
	const name = "rp_filter"
	all := filterLevel("all")
	entries, err := os.ReadDir(devices)
	if err != nil {
		return warning(name, "cannot be read: %v", err)
	}
	var strict, other []string
	for _, e := range entries {
		dev := e.Name()
		if dev == "all" || dev == "default" || dev == "lo" || strings.HasPrefix(dev, kernel.Prefix) || dev == in.Underlay.Interface || slices.Contains(in.Uplinks, dev) {
			continue
		}
		// The larger of the two counts (Documentation/networking/ip-sysctl.rst).
		if max(all, filterLevel(dev)) != 1 {
			continue
		}
		if nets := networks(dev); leadsToGateway(dev, nets, in.Underlay.Gateways) {
			strict = append(strict, dev)
		} else if len(nets) > 0 {
			other = append(other, dev)
		}
	}
	switch {
	case len(strict) > 0:
		return failed(name, "strict on %s, by which peers' packets may arrive: they would be dropped while only one direction has moved; sysctl -w net.ipv4.conf.%s.rp_filter=2", strings.Join(strict, ", "), strict[0])
	case len(other) > 0:
		return warning(name, "strict on %s: should peers' packets arrive there, they would be dropped", strings.Join(other, ", "))
	}
	return ok(name, "not strict where peers' packets arrive")
}

// filterLevel is a device's own rp_filter: 0 none, 1 strict, 2 loose.
func filterLevel(dev string) int {
	b, err := os.ReadFile(filepath.Join(devices, dev, "rp_filter"))
	if err != nil {
		return 0 // it has just gone
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		return 0
	}
	return n
}

// networks are those that a device is connected to by IPv4, none where it is
// down.
func networks(dev string) []netip.Prefix {
	i, err := net.InterfaceByName(dev)
	if err != nil || i.Flags&net.FlagUp == 0 {
		return nil
	}
	addrs, err := i.Addrs()
	if err != nil {
		return nil
	}
	var out []netip.Prefix
	for _, a := range addrs {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().Is4() {
			out = append(out, p.Masked())
		}
	}
	return out
}

func leadsToGateway(dev string, nets []netip.Prefix, gateways []netip.Addr) bool {
	return slices.ContainsFunc(gateways, func(g netip.Addr) bool {
		return g.Zone() == dev || slices.ContainsFunc(nets, func(p netip.Prefix) bool { return p.Contains(g) })
	})
}

// checkOverlay looks whether the kernel can have the new overlay's device. VXLAN
// devices of different VNIs share a port, so that it is taken need not mean harm.
func checkOverlay(st state) fabric.Check {
	const name = "overlay"
	to := st.m.To.VXLAN
	if !st.m.To.Uses(st.snap.Spec.PathRules, fabric.PathVXLAN) {
		return ok(name, "the new plan has none")
	}
	devices, err := kernel.VXLANDevices()
	if err != nil {
		return warning(name, "%v", err)
	}
	var beside []string
	for _, d := range devices {
		switch {
		case d.Own || d.Port != to.Port || overOther(d.Local, st):
		case d.External:
			return failed(name, "device %s has UDP port %d for itself, as an external one (Open vSwitch, Cilium): choose another port", d.Name, d.Port)
		case d.VNI == to.VNI:
			return failed(name, "device %s, which is not weft's, has VNI %d and UDP port %d: the kernel allows them once; choose others, or remove it", d.Name, d.VNI, d.Port)
		default:
			beside = append(beside, d.Name)
		}
	}
	return checkPort(st, devices, beside)
}

// overOther reports whether a device's underlay is of the other family than
// weft's: then they are not in each other's way (drivers/net/vxlan,
// vxlan_vni_in_use).
func overOther(local netip.Addr, st state) bool {
	return local.IsValid() && fabric.FamilyOf(local) != backends.Outer(st.in.Underlay.Addrs)
}

// checkPort looks who else has the new overlay's port.
func checkPort(st state, devices []kernel.VXLANDevice, beside []string) fabric.Check {
	const name = "overlay"
	from, to, device := st.snap.Spec.Plan(), st.m.To.VXLAN, vxlan.DeviceName(st.m.To.VXLAN)
	there := slices.IndexFunc(devices, func(d kernel.VXLANDevice) bool { return d.Name == device })
	foreign := there < 0 && exists(device) // of another kind
	if foreign {
		// Or the loop, which arms this node meanwhile, has just made it.
		again, err := kernel.VXLANDevices()
		if there = slices.IndexFunc(again, func(d kernel.VXLANDevice) bool { return d.Name == device }); err == nil && there >= 0 {
			devices, foreign = again, false
		}
	}
	switch {
	case there >= 0 && devices[there].Own:
		return ok(name, "device %s is there already", device)
	case foreign || there >= 0:
		return failed(name, "device %s is there, and is not weft's: rename or remove it", device)
	case from.Uses(st.snap.Spec.PathRules, fabric.PathVXLAN) && from.VXLAN.Port == to.Port:
		return ok(name, "port %d is weft's already", to.Port)
	case len(beside) > 0:
		return warning(name, "UDP port %d is also that of %s: tunnels can share it", to.Port, strings.Join(beside, ", "))
	case portTaken(to.Port):
		return warning(name, "UDP port %d is in use on this host: another tunnel can share it, a program cannot", to.Port)
	}
	return ok(name, "port %d is free", to.Port)
}

func exists(device string) bool {
	_, err := net.InterfaceByName(device)
	return err == nil
}

// portTaken reports whether a UDP socket, the kernel's own ones included, has
// the port. What cannot be read is taken by nobody.
func portTaken(port uint16) bool {
	want := fmt.Sprintf(":%04X", port)
	for _, file := range []string{udpPorts, udpPorts + "6"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for line := range strings.Lines(string(text)) { // sl local_address rem_address ...
			if f := strings.Fields(line); len(f) > 1 && strings.HasSuffix(f[1], want) {
				return true
			}
		}
	}
	return false
}
