package kernel

import (
	"net/netip"

	"github.com/weft-net/weft/fabric"
)

// The kinds of objects that weft keeps in the kernel. All are comparable
// values; two that are equal describe the same thing. Devices are named, not
// numbered: this package finds the index.

// LinkKind is the kind of a device that weft makes.
type LinkKind string

// The kinds of devices.
const (
	VXLAN  LinkKind = "vxlan"
	Bridge LinkKind = "bridge"
)

// Link is a device of weft's own: its name begins with "weft". It is up, and
// marked as weft's by its alias. MAC and MTU must be set.
type Link struct {
	Name  string
	Kind  LinkKind
	MAC   fabric.MAC
	MTU   int
	VXLAN VXLANConfig // for Kind VXLAN
}

// VXLANConfig holds what a VXLAN device can only be given when it is made: a
// difference here means that the device is made anew, and its traffic stops for
// a moment. DF alone is changed in a living device.
type VXLANConfig struct {
	VNI         uint32
	Port        uint16 // UDP destination port, host order
	Uplink      string // the device it sends through, or empty
	Local       netip.Addr
	UDPChecksum bool // send checksums over IPv4
	// DF keeps outer IPv4 packets from being fragmented. Without the sysctl
	// net.ipv4.ip_forward_use_pmtu it is a black hole where the underlay
	// shrinks. Outer IPv6 packets are never fragmented.
	DF bool
}

// Addr is an address on one of weft's devices.
type Addr struct {
	Link   string
	Prefix netip.Prefix // the address with the length of its subnet
}

// FDBKey and FDB: an entry of a VXLAN device's forwarding database, from the
// MAC of a peer's VTEP to the underlay address.
type FDBKey struct {
	Link string
	MAC  fabric.MAC
}

// FDB is a forwarding entry. It is permanent.
type FDB struct {
	FDBKey
	Dst netip.Addr
}

// NeighKey identifies a neighbour entry.
type NeighKey struct {
	Link string
	Addr netip.Addr
}

// Neigh is a permanent neighbour entry (ARP or ND).
type Neigh struct {
	NeighKey
	MAC fabric.MAC
}

// Nexthop is a nexthop object (net/ipv4/nexthop.c), Linux 5.3 and later. Its
// family is its gateway's. An IPv6 gateway on the overlay is best link-local:
// the kernel refuses others while a route leads to them through another
// device (net/ipv6/route.c, ip6_route_check_nh_onlink), be it the peer's own
// route that is about to move or an administrator's for a larger network.
//
// One with a Group has no gateway of its own: it spreads flows over its
// members. Routes of either family may lead to it if all members can carry
// them: an IPv4 route may go to an IPv6 gateway, not the reverse.
type Nexthop struct {
	ID      uint32 // in one of weft's ranges, see NexthopID and SharedNexthop
	Link    string
	Gateway netip.Addr
	OnLink  bool // the gateway need not be in a connected network
	Group   Group
}

// RouteType is what a route does with a packet.
type RouteType uint8

// The types of routes. The zero value is unicast.
const (
	Unicast RouteType = iota
	Blackhole
	Unreachable
)

// RouteKey identifies a route in the main table.
type RouteKey struct {
	Dst    netip.Prefix
	Metric uint32
}

// Route is a route of weft's own (protocol Protocol) in the main table.
type Route struct {
	RouteKey
	Type    RouteType
	Nexthop uint32 // id of a nexthop object; 0 for types other than Unicast
	// MTU is that of packets forwarded by the route, bytes; 0: the device's. For
	// IPv6 it is locked, as forwarding would not heed it otherwise.
	MTU int
}

// Masquerade is the one nftables table: packets from Sources to anywhere but
// Sources and Except leave with the host's address. The zero value is no table.
type Masquerade struct {
	Sources string // prefixes, sorted, separated by spaces: comparable
	Except  string // likewise
}

// Sysctl is a file below /proc/sys with the value it must have.
type Sysctl struct {
	Path  string // like net/ipv4/ip_forward
	Value string
}

// Objects is a set of kernel objects; the order within a kind means nothing.
type Objects struct {
	Links      []Link
	Sysctls    []Sysctl
	Addrs      []Addr
	FDB        []FDB
	Neighs     []Neigh
	Nexthops   []Nexthop
	Routes     []Route
	Masquerade Masquerade
}

// What marks an object as weft's own.
const (
	// Protocol is the route protocol (rtm_protocol, nh_protocol) of weft's
	// routes and nexthop objects.
	Protocol = 158
	// Metric is the priority of weft's routes: not the 0 that `ip route
	// replace` takes by default, so that nobody overwrites them by accident.
	Metric = 158
	// Prefix begins the name of every device and nftables table of weft.
	Prefix = "weft"
	// LastResort is the metric of default routes: they yield to any that an
	// administrator, DHCP or a router advertisement set.
	LastResort = 1 << 30
	// nexthopBase begins the range of nexthop ids of peers, sharedBase of those
	// that no single peer owns; each has 2^24.
	nexthopBase = 0x57000000
	sharedBase  = 0x56000000
)

// NexthopID is the id of the nexthop object for a peer's index and a family:
// unique in the fabric, so two agents on one host would not collide either.
// Index must be below 2^20; slot (0..7) tells several ways to one peer apart.
func NexthopID(index uint32, f fabric.Family, slot uint32) uint32 {
	id := nexthopBase | (index&(1<<20-1))<<4 | (slot&7)<<1
	if f == fabric.IPv6 {
		id |= 1
	}
	return id
}

// SharedNexthop is the id of a nexthop object or group that no single peer
// owns; n must be below 2^24.
func SharedNexthop(n uint32) uint32 { return sharedBase | n&(nexthopRange-1) }

// ownNexthop reports whether an id is in one of weft's ranges.
func ownNexthop(id uint32) bool {
	base := id &^ uint32(nexthopRange-1)
	return base == nexthopBase || base == sharedBase
}
