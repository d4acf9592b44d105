package rtnl

import (
	"encoding/binary"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzMessages: no message makes the decoders read beyond it.
func FuzzMessages(f *testing.F) {
	var b Batch
	b.Message(unix.RTM_NEWROUTE, 0, make([]byte, unix.SizeofRtMsg))
	b.Addr(unix.RTA_DST, netip.MustParseAddr("10.0.0.0"))
	nest := b.Nest(unix.RTA_METRICS)
	b.U32(unix.RTAX_MTU, 1400)
	b.End(nest)
	f.Add(b.buf)
	failure := binary.NativeEndian.AppendUint32(nil, uint32(0xffffffef)) // -EEXIST
	failure = append(failure, make([]byte, unix.NLMSG_HDRLEN)...)
	b.Reset()
	b.Message(unix.NLMSG_ERROR, unix.NLM_F_ACK_TLVS, failure)
	b.String(unix.NLMSGERR_ATTR_MSG, "File exists")
	f.Add(b.buf)
	f.Add([]byte{16, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Add([]byte{255, 255, 255, 255, 0, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		total := 0
		_ = messages(data, func(m Message) error {
			total += len(m.Data) + unix.NLMSG_HDRLEN
			_ = messageError(m)
			_ = doneError(m)
			return Attrs(m.Data, func(_ uint16, v []byte) {
				_ = Attrs(v, func(uint16, []byte) {})
				_, _, _, _ = U8(v), U16(v), U32(v), String(v)
			})
		})
		if total > len(data) {
			t.Errorf("%d bytes of messages in %d", total, len(data))
		}
	})
}
