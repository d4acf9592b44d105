package plumb

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// bridgeMark is the alias of the devices that the agent calls its own (package
// kernel, linkMark).
const bridgeMark = "weft"

// Bridge is the host's bridge as the node file describes it.
type Bridge struct {
	Name     string
	MAC      fabric.MAC
	MTU      int
	Gateways []netip.Prefix // its addresses, with the subnets' lengths
}

// Ensure returns the bridge, which it makes if somebody deleted it while the
// agent is down. What is there is left as it is: the agent repairs it.
func (br Bridge) Ensure(c *rtnl.Conn) (*Link, error) {
	l, err := GetLink(c, br.Name)
	if err != nil {
		return nil, err
	}
	if l == nil {
		if l, err = br.create(c); err != nil {
			return nil, fmt.Errorf("make bridge %s: %w", br.Name, err)
		}
	}
	if l.Kind != "bridge" {
		return nil, fmt.Errorf("%s is a %s interface, not a bridge", br.Name, l.Kind)
	}
	return l, nil
}

func (br Bridge) create(c *rtnl.Conn) (*Link, error) {
	var b rtnl.Batch
	header(&b, unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL, 0, 0)
	b.String(unix.IFLA_IFNAME, br.Name)
	if br.MAC.Valid() {
		b.Bytes(unix.IFLA_ADDRESS, br.MAC[:])
	}
	info := b.Nest(unix.IFLA_LINKINFO)
	b.String(unix.IFLA_INFO_KIND, "bridge")
	// As the agent has it (package kernel, device): a pod that speaks as a
	// multicast router would get what is sent to others' groups, and could take
	// them away.
	data := b.Nest(unix.IFLA_INFO_DATA)
	b.U8(unix.IFLA_BR_MCAST_SNOOPING, 0)
	b.End(data)
	b.End(info)
	// In one system call with its birth, as it would be another's without the
	// mark. A bridge keeps an MTU of its own only if told after its birth
	// (net/bridge/br_if.c, br_mtu_auto_adjust).
	header(&b, unix.RTM_NEWLINK, 0, 0, unix.IFF_UP)
	b.String(unix.IFLA_IFNAME, br.Name)
	b.String(unix.IFLA_IFALIAS, bridgeMark)
	b.U32(unix.IFLA_MTU, uint32(br.MTU))
	// Another plugin, or the agent, may make it at the same moment.
	if err := execute(c, &b); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	l, err := GetLink(c, br.Name)
	if err == nil && l == nil {
		err = unix.ENODEV
	}
	if err != nil {
		return nil, err
	}
	b.Reset()
	for _, p := range br.Gateways {
		address(&b, l.Index, p)
	}
	if err := execute(c, &b); err != nil && !errors.Is(err, unix.EEXIST) {
		return nil, err
	}
	return l, nil
}

// address adds an address to an interface, at once usable: nobody else can
// have an address of this node's subnets, so there is nothing to detect.
func address(b *rtnl.Batch, index uint32, p netip.Prefix) {
	h := make([]byte, unix.SizeofIfAddrmsg)
	h[0], h[1], h[2] = family(p.Addr()), byte(p.Bits()), unix.IFA_F_NODAD
	if p.Addr().Is4() {
		h[2] = 0
	}
	putIndex(h[4:], index)
	b.Message(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, h)
	b.Addr(unix.IFA_LOCAL, p.Addr())
	b.Addr(unix.IFA_ADDRESS, p.Addr())
}

func family(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}
