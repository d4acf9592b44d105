package plumb

import (
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// Pod is what Attach connects.
type Pod struct {
	ipam.Attachment
	Addrs []netip.Prefix // with the subnets' lengths
	// Gateways are the bridge's addresses in the same subnets.
	Gateways []netip.Addr
	MTU      int
	Netns    int // descriptor of the pod's namespace
	// Hardware is the pod's MAC address where the runtime asked for a certain
	// one; zero: it follows from the IP address.
	Hardware fabric.MAC
	// Hairpin lets the bridge send a frame back out of the port it came from.
	Hairpin bool
	// Isolated keeps frames from other isolated ports of the bridge away.
	Isolated bool
	// Guarded drops what the pod sends with another's MAC or IP address.
	Guarded bool
	// Sysctls are set in the pod's namespace before its interface comes up: keys
	// below net, with dots, to values. IFNAME in a key is the interface's name.
	Sysctls map[string]string
}

// MAC is the pod's address on the bridge.
func (p *Pod) MAC() fabric.MAC {
	if p.Hardware != (fabric.MAC{}) {
		return p.Hardware
	}
	return p.derived()
}

// derived is the address that follows from the IP address, so that neighbours
// that remember an address from its last pod are right.
func (p *Pod) derived() fabric.MAC {
	addrs := make([]netip.Addr, len(p.Addrs))
	for i, a := range p.Addrs {
		addrs[i] = a.Addr()
	}
	return derivedMAC(addrs)
}

func derivedMAC(addrs []netip.Addr) fabric.MAC {
	for _, a := range addrs {
		if a.Is4() {
			b := a.As4()
			return fabric.MAC{derived0, derived1, b[0], b[1], b[2], b[3]}
		}
	}
	if len(addrs) == 0 {
		return fabric.MAC{}
	}
	return fabric.DeriveMAC("pod", addrs[0].String())
}

// derived0 and derived1 begin every MAC address that follows from an IPv4
// address (the usage of most network plugins).
const derived0, derived1 = 0x0a, 0x58

// hostMAC is the address of the pod's interface on the host. Nobody talks to
// it; being ours, it need not be asked for.
func (p *Pod) hostMAC() fabric.MAC { return fabric.DeriveMAC("port", p.HostInterface()) }

func (p *Pod) has(f byte) bool {
	for _, a := range p.Addrs {
		if family(a.Addr()) == f {
			return true
		}
	}
	return false
}

// checkMAC refuses an address that no interface can have and one that belongs
// to whichever pod has a certain IP address.
func (p *Pod) checkMAC() error {
	h := p.Hardware
	switch {
	case h == (fabric.MAC{}) || h == p.derived():
		return nil
	case !h.Valid():
		return fmt.Errorf("%s is not the address of one interface", h)
	case h[0] == derived0 && h[1] == derived1:
		return fmt.Errorf("%w: %s is kept for the pod with address %s", ErrMACTaken, h, netip.AddrFrom4([4]byte(h[2:])))
	}
	return nil
}

// alone returns ErrMACTaken if another pod on this host, the bridge, or one of
// its ports has the MAC address that was asked for. It looks once the pod's own
// port is there: of two that come at a time the later sees the earlier.
func (s Sockets) alone(p *Pod, bridge *Link) error {
	if p.Hardware == (fabric.MAC{}) || p.Hardware == p.derived() {
		return nil
	}
	taken := ""
	err := dump(s.Host, unix.RTM_GETLINK, ifinfo(0, 0), func() { taken = "" }, func(m rtnl.Message) error {
		l, err := decodeLink(m.Data)
		if err != nil || l.Name == p.HostInterface() {
			return err
		}
		if o, ok := parseOwner(l.Alias); ok && o.MAC == p.Hardware {
			taken = "container " + o.String()
		} else if (l.Index == bridge.Index || l.Master == bridge.Index) && l.MAC == p.Hardware {
			taken = "interface " + l.Name
		}
		return nil
	})
	switch {
	case err != nil:
		return fmt.Errorf("look for MAC address %s: %w", p.Hardware, err)
	case taken != "":
		return fmt.Errorf("%w: %s is that of %s", ErrMACTaken, p.Hardware, taken)
	}
	return nil
}
