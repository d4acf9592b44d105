package rtnl

import (
	"encoding/binary"
	"errors"
	"net/netip"

	"golang.org/x/sys/unix"
)

// attrTypeMask takes NLA_F_NESTED and NLA_F_NET_BYTEORDER off a type.
const attrTypeMask = 0x3fff

// ErrTruncated is returned for a message shorter than its own lengths say.
var ErrTruncated = errors.New("truncated netlink message")

// Message is one received message. Data (header and attributes after
// nlmsghdr) is valid only until the callback that got it returns.
type Message struct {
	Type  uint16
	Flags uint16
	PID   uint32 // port id of the socket whose request caused it, 0: the kernel
	Seq   uint32
	Data  []byte
}

// messages calls fn for each message in buf.
func messages(buf []byte, fn func(Message) error) error {
	for len(buf) >= unix.NLMSG_HDRLEN {
		n := int(native.Uint32(buf))
		if n < unix.NLMSG_HDRLEN || n > len(buf) {
			return ErrTruncated
		}
		m := Message{
			Type: native.Uint16(buf[4:]), Flags: native.Uint16(buf[6:]),
			Seq: native.Uint32(buf[8:]), PID: native.Uint32(buf[12:]),
			Data: buf[unix.NLMSG_HDRLEN:n],
		}
		if err := fn(m); err != nil {
			return err
		}
		buf = buf[min(align(n), len(buf)):]
	}
	return nil
}

// Attrs calls fn for each attribute in data, which starts after the fixed
// header. The type comes without the NESTED and NET_BYTEORDER bits.
func Attrs(data []byte, fn func(typ uint16, value []byte)) error {
	for len(data) >= 4 {
		n := int(native.Uint16(data))
		if n < 4 || n > len(data) {
			return ErrTruncated
		}
		fn(native.Uint16(data[2:])&attrTypeMask, data[4:n])
		data = data[min(align(n), len(data)):]
	}
	return nil
}

// U16 reads a 16-bit integer in host order.
func U16(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return native.Uint16(v)
}

// U32 reads a 32-bit integer in host order.
func U32(v []byte) uint32 {
	if len(v) < 4 {
		return 0
	}
	return native.Uint32(v)
}

// Addr reads an address of 4 or 16 bytes; the zero Addr for anything else.
func Addr(v []byte) netip.Addr {
	a, _ := netip.AddrFromSlice(v)
	return a
}

// String reads a string up to its NUL.
func String(v []byte) string {
	for i, c := range v {
		if c == 0 {
			return string(v[:i])
		}
	}
	return string(v)
}

func align(n int) int { return (n + 3) &^ 3 }

// U8 reads a byte.
func U8(v []byte) uint8 {
	if len(v) < 1 {
		return 0
	}
	return v[0]
}

// U16BE reads a 16-bit integer in network order.
func U16BE(v []byte) uint16 {
	if len(v) < 2 {
		return 0
	}
	return binary.BigEndian.Uint16(v)
}
