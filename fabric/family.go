package fabric

import (
	"fmt"
	"net/netip"
)

// Family is an IP address family.
type Family uint8

// The two families. The values are the IP version numbers.
const (
	IPv4 Family = 4
	IPv6 Family = 6
)

// Families lists both families in the order in which weft handles them.
var Families = [2]Family{IPv4, IPv6}

// FamilyOf returns the family of a valid address. A 4-in-6 address counts as
// IPv6: callers unmap what they parse.
func FamilyOf(a netip.Addr) Family {
	if a.Is4() {
		return IPv4
	}
	return IPv6
}

// String returns "ipv4" or "ipv6", the word used in keys and configuration.
func (f Family) String() string { return fmt.Sprintf("ipv%d", uint8(f)) }

// Bits is the length of an address in bits: 32 or 128.
func (f Family) Bits() int {
	if f == IPv4 {
		return 32
	}
	return 128
}

// PerFamily holds one value per family, the zero value where there is none.
type PerFamily[T any] struct {
	IPv4 T `json:"ipv4,omitzero"`
	IPv6 T `json:"ipv6,omitzero"`
}

// Get returns the value for f.
func (p PerFamily[T]) Get(f Family) T {
	if f == IPv4 {
		return p.IPv4
	}
	return p.IPv6
}

// Set stores v for f.
func (p *PerFamily[T]) Set(f Family, v T) {
	if f == IPv4 {
		p.IPv4 = v
		return
	}
	p.IPv6 = v
}
