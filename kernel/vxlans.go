package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// VXLANDevice is a VXLAN device of the host, whoever made it.
type VXLANDevice struct {
	Name string
	VNI  uint32 // 0 for an external one
	Port uint16 // UDP
	// Local is the underlay address that it sends from, invalid if that is left
	// open. Devices over IPv4 and IPv6 are not in each other's way.
	Local netip.Addr
	// External is true where each packet brings its VNI along, as with Open
	// vSwitch and Cilium. Such a device shares its port with no other kind
	// (drivers/net/vxlan, vxlan_find_sock).
	External bool
	Own      bool // weft's
}

// VXLANDevices lists the VXLAN devices in the calling thread's namespace, by
// name. Nothing is written.
func VXLANDevices() ([]VXLANDevice, error) {
	conn, err := rtnl.Dial()
	if err != nil {
		return nil, fmt.Errorf("list VXLAN devices: %w", err)
	}
	var out []VXLANDevice
	for range dumpTries {
		if out, err = vxlanDevices(conn); !errors.Is(err, rtnl.ErrInterrupted) {
			break
		}
	}
	if err = errors.Join(err, conn.Close()); err != nil {
		return nil, fmt.Errorf("list VXLAN devices: %w", err)
	}
	slices.SortFunc(out, func(a, b VXLANDevice) int { return cmp.Compare(a.Name, b.Name) })
	return out, nil
}

func vxlanDevices(conn *rtnl.Conn) (out []VXLANDevice, err error) {
	var b rtnl.Batch
	linkHeader(&b, unix.RTM_GETLINK, 0, 0, 0)
	b.U32(unix.IFLA_EXT_MASK, rtextSkipStats)
	err = conn.Dump(&b, func(m rtnl.Message) error {
		if l, ok := decodeLink(m.Data); ok && l.kind == VXLAN {
			out = append(out, VXLANDevice{l.name, l.vxlan.VNI, l.vxlan.Port, l.vxlan.Local, l.external, l.owner(iface{}) == VXLAN})
		}
		return nil
	})
	return out, err
}
