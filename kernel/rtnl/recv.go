package rtnl

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

const (
	// slots datagrams are read with one system call; each notification and
	// each error is a datagram of its own.
	slots = 32
	// slotLen holds the largest notification; what is longer counts as lost.
	slotLen = 8 << 10
	recvBuf = slots * slotLen
)

// mmsghdr is struct mmsghdr of recvmmsg(2), which x/sys does not wrap.
type mmsghdr struct {
	hdr unix.Msghdr
	n   uint32
}

// receiver reads datagrams without an allocation for each.
type receiver struct {
	buf  []byte
	iov  [slots]unix.Iovec
	hdrs [slots]mmsghdr
}

func newReceiver() *receiver {
	r := &receiver{buf: make([]byte, recvBuf)}
	for i := range r.hdrs {
		r.iov[i].Base = &r.buf[i*slotLen]
		r.iov[i].SetLen(slotLen)
		r.hdrs[i].hdr.Iov = &r.iov[i]
		r.hdrs[i].hdr.SetIovlen(1)
	}
	return r
}

// many reads what is queued, up to slots datagrams, and does not block: n is 0
// when there is nothing. Datagram i is slot(i).
func (r *receiver) many(fd int) (n int, err error) {
	for {
		got, _, errno := unix.Syscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&r.hdrs[0])), slots, unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(got), nil
		case unix.EAGAIN:
			return 0, nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// slot is the i-th datagram of the last call of many; whole is false if it
// was longer than a slot.
func (r *receiver) slot(i int) (data []byte, whole bool) {
	h := &r.hdrs[i]
	return r.buf[i*slotLen:][:min(int(h.n), slotLen)], h.hdr.Flags&unix.MSG_TRUNC == 0
}

// one blocks for one datagram and reads it into the whole buffer: parts of a
// dump are as long as the buffer allows (netlink_dump).
func (r *receiver) one(fd int) ([]byte, error) {
	for {
		n, err := unix.Read(fd, r.buf)
		if err != unix.EINTR {
			return r.buf[:max(n, 0)], err
		}
	}
}
