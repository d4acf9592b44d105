package plumb

import (
	"slices"

	"golang.org/x/sys/unix"
)

// Where the parts of a key are: registers of 32 bits. A key is contiguous.
const (
	regPort  = unix.NFT_REG32_00 // 16 bytes
	regMAC   = regPort + 4       // 6 bytes and two of nothing
	regAddr  = regMAC + 2        // 4 or 16 bytes
	regOther = regAddr + 4       // for what is compared at once
)

const (
	ethernet  = unix.NFT_PAYLOAD_LL_HEADER
	network   = unix.NFT_PAYLOAD_NETWORK_HEADER
	transport = unix.NFT_PAYLOAD_TRANSPORT_HEADER
)

// ICMPv6 messages that need more than a look at their source (RFC 4861).
const (
	icmp6RouterAdvert    = 134
	icmp6NeighbourAsk    = 135
	icmp6NeighbourAdvert = 136
	icmp6Redirect        = 137
)

// Verdicts of linux/netfilter.h, not in x/sys.
const (
	nfDrop   = 0
	nfAccept = 1
)

// rule is one rule of the chain.
type rule struct {
	text  string // what nft(8) shows as its comment, and what tells it from others
	steps []expression
}

// guardRules are the rules in their order; the commonest packets come first.
func guardRules() []rule {
	accept := verdict(nfAccept)
	var (
		own4      = []expression{port(), sender(), load(network, 12, 4, regAddr), lookup(setIPv4), accept}
		asker6    = []expression{port(), sender(), load(network, 8, 16, regAddr), lookup(setIPv6)}
		target6   = []expression{port(), sender(), load(transport, 8, 16, regAddr), lookup(setIPv6), accept}
		own6      = join(asker6, one(accept))
		neighbour = func(kind byte) []expression {
			return join(icmp6(), one(load(transport, 0, 1, regOther), is(kind)))
		}
		source6 = load(network, 8, 16, regOther)
		nobody6 = make([]byte, 16)
	)
	return []rule{
		{"IPv4 from its own address", join(etherType(0x08, 0x00), own4)},
		{"IPv6 from its own address", join(etherType(0x86, 0xdd), one(meta(unix.NFT_META_L4PROTO, regOther), isNot(unix.IPPROTO_ICMPV6)), own6)},
		{"ARP as itself", join(arp(), arpOwn(14), one(accept))},
		{"ARP probe for its own address", join(arp(), one(load(network, 14, 4, regOther), is(0, 0, 0, 0)), arpOwn(24), one(accept))},
		{"ICMPv6 but neighbour discovery", join(icmp6(), one(load(transport, 0, 1, regOther),
			isNot(icmp6RouterAdvert), isNot(icmp6NeighbourAsk),
			isNot(icmp6NeighbourAdvert), isNot(icmp6Redirect)), own6)},
		{"neighbour solicitation as itself", join(neighbour(icmp6NeighbourAsk), one(source6, isNot(nobody6...)), own6)},
		{"duplicate address detection of its own", join(neighbour(icmp6NeighbourAsk), one(source6, is(nobody6...)), target6)},
		{"neighbour advertisement of its own", join(neighbour(icmp6NeighbourAdvert), asker6, target6)},
		// The first fragment, without which there is no packet, was looked at above.
		{"rest of a fragmented ICMPv6 packet", join(icmp6(), one(load(network, 6, 1, regOther), is(unix.IPPROTO_FRAGMENT),
			load(network, 42, 2, regOther), mask(regOther, 0xff, 0xf8), isNot(0, 0)), own6)},
		{"all else of a guarded port", []expression{port(), lookup(setPorts), count, verdict(nfDrop)}},
	}
}

// port loads the name of the port that a frame came by.
func port() expression { return meta(unix.NFT_META_IIFNAME, regPort) }

// sender loads the frame's source.
func sender() expression { return load(ethernet, 6, 6, regMAC) }

// is goes on if regOther holds data.
func is(data ...byte) expression { return compare(unix.NFT_CMP_EQ, regOther, data) }

// isNot goes on if it does not.
func isNot(data ...byte) expression { return compare(unix.NFT_CMP_NEQ, regOther, data) }

// etherType looks at the frame's, not at what the kernel has made of it: a VLAN
// tag that the sender's device took off is still in it (nft_payload_copy_vlan).
func etherType(typ ...byte) []expression {
	return one(load(ethernet, 12, 2, regOther), is(typ...))
}

// arp is ARP of IPv4 over Ethernet with addresses of the right lengths: else
// what follows is elsewhere (RFC 826).
func arp() []expression {
	return join(etherType(0x08, 0x06), one(load(network, 0, 6, regOther), is(0, 1, 8, 0, 6, 4)))
}

// arpOwn is an IPv4 address in an ARP packet that is the sender's, by the
// frame's source and by the hardware address in the packet.
func arpOwn(offset uint32) []expression {
	return one(port(), load(network, offset, 4, regAddr), sender(), lookup(setIPv4), load(network, 8, 6, regMAC), lookup(setIPv4))
}

// icmp6 is ICMPv6, behind whatever extension headers (ipv6_find_hdr).
func icmp6() []expression {
	return join(etherType(0x86, 0xdd), one(meta(unix.NFT_META_L4PROTO, regOther), is(unix.IPPROTO_ICMPV6)))
}

func one(steps ...expression) []expression    { return steps }
func join(parts ...[]expression) []expression { return slices.Concat(parts...) }
