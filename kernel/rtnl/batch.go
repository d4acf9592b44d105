package rtnl

import (
	"encoding/binary"
	"net/netip"

	"golang.org/x/sys/unix"
)

// native is the byte order of netlink headers and integer attributes.
var native = binary.NativeEndian

// Batch is a run of netlink messages, built in place in one buffer. The zero
// value is ready to use; Reset keeps the memory.
type Batch struct {
	buf    []byte
	starts []int // offset of each message
}

// Len is the number of messages.
func (b *Batch) Len() int { return len(b.starts) }

// Reset empties the batch.
func (b *Batch) Reset() { b.buf, b.starts = b.buf[:0], b.starts[:0] }

// Message starts a message; header is the fixed part after nlmsghdr (rtmsg,
// ndmsg, nhmsg, ifinfomsg, ...). NLM_F_REQUEST is set always.
func (b *Batch) Message(typ, flags uint16, header []byte) {
	b.starts = append(b.starts, len(b.buf))
	var h [unix.NLMSG_HDRLEN]byte
	native.PutUint16(h[4:], typ)
	native.PutUint16(h[6:], flags|unix.NLM_F_REQUEST)
	b.buf = append(b.buf, h[:]...)
	b.buf = append(b.buf, header...)
	b.pad()
	b.sized()
}

// Bytes adds an attribute to the last message.
func (b *Batch) Bytes(typ uint16, data []byte) {
	b.head(typ, len(data))
	b.buf = append(b.buf, data...)
	b.pad()
	b.sized()
}

// String adds a NUL-terminated string attribute.
func (b *Batch) String(typ uint16, s string) {
	b.head(typ, len(s)+1)
	b.buf = append(b.buf, s...)
	b.buf = append(b.buf, 0)
	b.pad()
	b.sized()
}

// Flag adds an attribute without a value.
func (b *Batch) Flag(typ uint16) { b.head(typ, 0); b.sized() }

// U8 adds a byte.
func (b *Batch) U8(typ uint16, v uint8) { b.Bytes(typ, []byte{v}) }

// U16 adds a 16-bit integer in host order.
func (b *Batch) U16(typ uint16, v uint16) {
	var d [2]byte
	native.PutUint16(d[:], v)
	b.Bytes(typ, d[:])
}

// U16BE adds a 16-bit integer in network order.
func (b *Batch) U16BE(typ uint16, v uint16) {
	var d [2]byte
	binary.BigEndian.PutUint16(d[:], v)
	b.Bytes(typ, d[:])
}

// U32 adds a 32-bit integer in host order.
func (b *Batch) U32(typ uint16, v uint32) {
	var d [4]byte
	native.PutUint32(d[:], v)
	b.Bytes(typ, d[:])
}

// U32BE adds a 32-bit integer in network order.
func (b *Batch) U32BE(typ uint16, v uint32) {
	var d [4]byte
	binary.BigEndian.PutUint32(d[:], v)
	b.Bytes(typ, d[:])
}

// Addr adds an address as 4 or 16 bytes in network order.
func (b *Batch) Addr(typ uint16, a netip.Addr) {
	if a.Is4() {
		d := a.As4()
		b.Bytes(typ, d[:])
		return
	}
	d := a.As16()
	b.Bytes(typ, d[:])
}

// Nest opens a nested attribute; what is added until End(the returned mark)
// lies inside.
func (b *Batch) Nest(typ uint16) (mark int) {
	mark = len(b.buf)
	b.head(typ|unix.NLA_F_NESTED, 0)
	return mark
}

// NestRaw opens a nested attribute without NLA_F_NESTED, for the old
// attributes that the kernel compares with the flag in place, and, with
// header, for those that carry a fixed struct first (VETH_INFO_PEER).
func (b *Batch) NestRaw(typ uint16, header []byte) (mark int) {
	mark = len(b.buf)
	b.head(typ, 0)
	b.buf = append(b.buf, header...)
	b.pad()
	return mark
}

// End closes a nested attribute.
func (b *Batch) End(mark int) {
	native.PutUint16(b.buf[mark:], uint16(len(b.buf)-mark))
	b.sized()
}

func (b *Batch) head(typ uint16, n int) {
	var h [4]byte
	native.PutUint16(h[:], uint16(4+n))
	native.PutUint16(h[2:], typ)
	b.buf = append(b.buf, h[:]...)
}

func (b *Batch) pad() {
	for len(b.buf)%4 != 0 {
		b.buf = append(b.buf, 0)
	}
}

// sized writes the length of the last message into its header.
func (b *Batch) sized() {
	start := b.starts[len(b.starts)-1]
	native.PutUint32(b.buf[start:], uint32(len(b.buf)-start))
}
