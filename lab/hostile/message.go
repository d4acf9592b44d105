package hostile

import (
	"encoding/binary"
	"net/netip"
	"slices"
)

// The types of messages (RFC 4271, section 4.1).
const (
	typeOpen         = 1
	typeUpdate       = 2
	typeNotification = 3
	typeKeepalive    = 4
)

const (
	headerSize = 19
	maxMessage = 4096 // RFC 4271, section 4.1
)

// The path attributes that callers name (RFC 4271, 4.3; RFC 1997; RFC 4760;
// RFC 8092), and their flags.
const (
	Origin           = 1
	ASPath           = 2
	NextHop          = 3
	MED              = 4
	LocalPref        = 5
	Communities      = 8
	OriginatorID     = 9
	ClusterList      = 10
	MPReach          = 14
	MPUnreach        = 15
	LargeCommunities = 32

	flagOptional   = 0x80
	flagTransitive = 0x40
	flagExtended   = 0x10 // the length has two bytes
)

// Attribute is a path attribute as it stands on the wire.
type Attribute struct {
	Flags, Type uint8
	Value       []byte
}

func (a Attribute) append(b []byte) []byte {
	if len(a.Value) > 255 || a.Flags&flagExtended != 0 {
		b = append(b, a.Flags|flagExtended, a.Type)
		b = binary.BigEndian.AppendUint16(b, uint16(len(a.Value)))
	} else {
		b = append(b, a.Flags, a.Type, uint8(len(a.Value)))
	}
	return append(b, a.Value...)
}

// Update is an UPDATE message. Withdrawn and NLRI are IPv4.
type Update struct {
	Withdrawn  []netip.Prefix
	Attributes []Attribute
	NLRI       []netip.Prefix
}

// Bytes is the whole message with its header.
func (u Update) Bytes() []byte {
	withdrawn := appendPrefixes(nil, u.Withdrawn)
	var attrs []byte
	for _, a := range u.Attributes {
		attrs = a.append(attrs)
	}
	body := binary.BigEndian.AppendUint16(nil, uint16(len(withdrawn)))
	body = append(body, withdrawn...)
	body = binary.BigEndian.AppendUint16(body, uint16(len(attrs)))
	body = append(body, attrs...)
	return Message(typeUpdate, appendPrefixes(body, u.NLRI))
}

// Message puts a header in front of a body.
func Message(typ uint8, body []byte) []byte {
	b := slices.Repeat([]byte{0xff}, 16)
	b = binary.BigEndian.AppendUint16(b, uint16(headerSize+len(body)))
	return append(append(b, typ), body...)
}

func appendPrefixes(b []byte, list []netip.Prefix) []byte {
	for _, p := range list {
		b = append(b, uint8(p.Bits()))
		b = append(b, p.Addr().AsSlice()[:(p.Bits()+7)/8]...)
	}
	return b
}

// Route announces prefixes of one family with a next hop and an AS path, as a
// decent speaker would; more attributes follow the mandatory ones.
func Route(nextHop netip.Addr, path []uint32, prefixes []netip.Prefix, more ...Attribute) Update {
	attrs := []Attribute{{flagTransitive, Origin, []byte{0}}, {flagTransitive, ASPath, asPath(path)}}
	if prefixes[0].Addr().Is4() && nextHop.Is4() {
		attrs = append(attrs, Attribute{flagTransitive, NextHop, nextHop.AsSlice()})
		return Update{Attributes: append(attrs, more...), NLRI: prefixes}
	}
	afi := byte(2)
	if prefixes[0].Addr().Is4() {
		afi = 1 // RFC 8950: an IPv6 next hop for IPv4
	}
	hop := nextHop.AsSlice()
	value := append([]byte{0, afi, 1, byte(len(hop))}, hop...)
	value = appendPrefixes(append(value, 0), prefixes)
	return Update{Attributes: append(append(attrs, Attribute{flagOptional, MPReach, value}), more...)}
}

// Withdraw takes prefixes of one family back.
func Withdraw(prefixes []netip.Prefix) Update {
	if prefixes[0].Addr().Is4() {
		return Update{Withdrawn: prefixes}
	}
	return Update{Attributes: []Attribute{{flagOptional, MPUnreach, appendPrefixes([]byte{0, 2, 1}, prefixes)}}}
}

// EndOfRIB is the end-of-RIB marker of IPv4 and of IPv6 (RFC 4724, section 2).
func EndOfRIB() []Update {
	return []Update{{}, {Attributes: []Attribute{{flagOptional, MPUnreach, []byte{0, 2, 1}}}}}
}

// CommunityList is the COMMUNITIES attribute.
func CommunityList(list ...uint32) Attribute {
	var v []byte
	for _, c := range list {
		v = binary.BigEndian.AppendUint32(v, c)
	}
	return Attribute{flagOptional | flagTransitive, Communities, v}
}

// asPath is one AS_SEQUENCE of 4-byte numbers (RFC 6793), none for an empty
// path.
func asPath(path []uint32) []byte {
	if len(path) == 0 {
		return nil
	}
	v := []byte{2, byte(len(path))}
	for _, as := range path {
		v = binary.BigEndian.AppendUint32(v, as)
	}
	return v
}
