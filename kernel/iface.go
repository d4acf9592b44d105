package kernel

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// iface is what weft knows of any device on the host, its own or not.
type iface struct {
	name     string
	carrier  bool // and it is up
	loopback bool
	master   int32 // index of the bridge or bond it is a port of, 0 if none
	own      LinkKind
}

// ifaces translates between the names of devices and the indexes by which the
// kernel's other tables refer to them.
type ifaces struct {
	byIndex map[int32]iface
	byName  map[string]int32
	watched map[string]bool // devices that wanted objects lie on
}

func newIfaces() ifaces {
	return ifaces{byIndex: map[int32]iface{}, byName: map[string]int32{}, watched: map[string]bool{}}
}

func (f *ifaces) set(index int32, i iface) {
	if old, ok := f.byIndex[index]; ok && f.byName[old.name] == index {
		delete(f.byName, old.name)
	}
	f.byIndex[index], f.byName[i.name] = i, index
}

func (f *ifaces) drop(index int32) {
	if i, ok := f.byIndex[index]; ok && f.byName[i.name] == index {
		delete(f.byName, i.name)
	}
	delete(f.byIndex, index)
}

// index of a device that an object shall be put on. It must be there, and
// weft's own where its name says so.
func (f *ifaces) index(name string) (uint32, error) {
	i, ok := f.byName[name]
	switch {
	case !ok:
		return 0, fmt.Errorf("there is no device %s", name)
	case strings.HasPrefix(name, Prefix) && f.byIndex[i].own == "":
		return 0, fmt.Errorf("device %s is not weft's", name)
	}
	return uint32(i), nil
}

// name of a device, or its number where it has none by now.
func (f *ifaces) name(index int32) string {
	switch i, ok := f.byIndex[index]; {
	case ok:
		return i.name
	case index == 0:
		return ""
	}
	return fmt.Sprintf("#%d", index)
}

// overlay is the name of the device if it is a VXLAN device of weft's own.
func (f *ifaces) overlay(index int32) (string, bool) {
	i, ok := f.byIndex[index]
	return i.name, ok && i.own == VXLAN
}

// hasPorts reports whether some device has the named one as its master.
func (f *ifaces) hasPorts(name string) bool {
	index, ok := f.byName[name]
	if !ok {
		return false
	}
	for _, i := range f.byIndex {
		if i.master == index {
			return true
		}
	}
	return false
}

// hasCarrier is the condition under which the kernel keeps nexthop objects on
// a device that is up (net/ipv4/nexthop.c, nh_netdev_event).
func hasCarrier(flags uint32) bool { return flags&(unix.IFF_RUNNING|unix.IFF_LOWER_UP) != 0 }
