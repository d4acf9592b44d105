package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
)

// Instructions of classic BPF (Documentation/networking/filter.rst). A jump
// counts the instructions that it passes over.
const (
	bpfLoad  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	bpfAnd   = unix.BPF_ALU | unix.BPF_AND | unix.BPF_K
	bpfEqual = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	bpfJump  = unix.BPF_JMP | unix.BPF_JA
	bpfRet   = unix.BPF_RET | unix.BPF_K

	// Where a filter finds what is not in the packet: SKF_AD_OFF and after.
	adProtocol   = 0xfffff000      // SKF_AD_PROTOCOL
	adPacketType = 0xfffff000 + 4  // SKF_AD_PKTTYPE
	adHardware   = 0xfffff000 + 28 // SKF_AD_HATYPE

	packetHost = 0    // PACKET_HOST: addressed to this host's MAC
	maxFilter  = 4096 // BPF_MAXINSNS

	ignored = 0 // what a filter returns: bytes of the packet to keep
	counted = 1
)

// trafficFilter is the program over packets that begin with their IP header.
func trafficFilter(prefixes, local []netip.Prefix) ([]unix.SockFilter, error) {
	var families [2][]unix.SockFilter
	for i, f := range fabric.Families {
		families[i] = familyFilter(f, prefixes, local)
	}
	filter := []unix.SockFilter{
		{Code: bpfLoad, K: adPacketType},
		{Code: bpfEqual, K: packetHost, Jt: 1},
		{Code: bpfRet, K: ignored},
		{Code: bpfLoad, K: adHardware},
		{Code: bpfEqual, K: unix.ARPHRD_LOOPBACK, Jf: 1},
		{Code: bpfRet, K: ignored},
		{Code: bpfLoad, K: adProtocol},
		{Code: bpfEqual, K: unix.ETH_P_IP, Jt: 2},
		{Code: bpfEqual, K: unix.ETH_P_IPV6, Jt: 2},
		{Code: bpfRet, K: ignored},
		{Code: bpfJump, K: 1},
		{Code: bpfJump, K: uint32(len(families[0]))},
	}
	filter = append(append(filter, families[0]...), families[1]...)
	if len(filter) > maxFilter {
		return nil, fmt.Errorf("%d prefixes are too many to count packets for", len(prefixes)+len(local))
	}
	return filter, nil
}

// familyFilter ignores packets from local sources and counts those to prefixes.
func familyFilter(f fabric.Family, prefixes, local []netip.Prefix) (filter []unix.SockFilter) {
	src, dst := uint32(12), uint32(16) // offsets in the header (RFC 791, 3.1)
	if f == fabric.IPv6 {
		src, dst = 8, 24 // RFC 8200, section 3
	}
	for _, p := range local {
		if fabric.FamilyOf(p.Addr()) == f {
			filter = append(filter, prefixFilter(p, src, ignored)...)
		}
	}
	for _, p := range prefixes {
		if fabric.FamilyOf(p.Addr()) == f {
			filter = append(filter, prefixFilter(p, dst, counted)...)
		}
	}
	return append(filter, unix.SockFilter{Code: bpfRet, K: ignored})
}

// prefixFilter returns verdict if the address at offset is in p, and goes on
// after its end if not.
func prefixFilter(p netip.Prefix, offset, verdict uint32) (filter []unix.SockFilter) {
	addr := p.Addr().AsSlice()
	for bit := 0; bit < p.Bits(); bit += 32 {
		mask := ^uint32(0) << max(0, 32-(p.Bits()-bit))
		filter = append(filter,
			unix.SockFilter{Code: bpfLoad, K: offset + uint32(bit/8)},
			unix.SockFilter{Code: bpfAnd, K: mask},
			unix.SockFilter{Code: bpfEqual, K: binary.BigEndian.Uint32(addr[bit/8:]) & mask})
	}
	filter = append(filter, unix.SockFilter{Code: bpfRet, K: verdict})
	for i := range filter {
		if filter[i].Code == bpfEqual {
			filter[i].Jf = uint8(len(filter) - i - 1)
		}
	}
	return filter
}
