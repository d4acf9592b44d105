package rtnl

import (
	"encoding/binary"
	"errors"
	"fmt"
	"syscall"

	"golang.org/x/sys/unix"
)

// sizeofNfgenmsg is the fixed header of every netfilter message.
const sizeofNfgenmsg = 4

// DialNetfilter opens a netfilter socket in the calling thread's network
// namespace.
func DialNetfilter() (*Conn, error) { return dial(unix.NETLINK_NETFILTER) }

// Netfilter starts a message of a netfilter subsystem (NFNL_SUBSYS_*) about a
// family (NFPROTO_*).
func (b *Batch) Netfilter(subsystem, typ, flags uint16, family uint8) {
	b.Message(subsystem<<8|typ, flags, []byte{family, unix.NFNETLINK_V0, 0, 0})
}

// Payload is what follows the fixed header of a netfilter message.
func (m Message) Payload() []byte { return m.Data[min(len(m.Data), sizeofNfgenmsg):] }

// Transact sends the nftables messages of b as one transaction: all are in
// force at once, or none is. The errors are those of the messages, by their
// places, and rejected says that there were some; a message without an error of
// its own is then as little in force as the others. All of it must fit the
// socket's send buffer (net.core.wmem_default, 208 KiB), or the second error is
// EMSGSIZE.
func (c *Conn) Transact(b *Batch) (errs []error, rejected bool, err error) {
	first := c.seq
	c.seq += uint32(b.Len()) + 2 // begin and end have numbers of their own
	for i, start := range b.starts {
		native.PutUint32(b.buf[start+8:], first+2+uint32(i))
	}
	begin, end := batchEdge(unix.NFNL_MSG_BATCH_BEGIN, first+1), batchEdge(unix.NFNL_MSG_BATCH_END, c.seq)
	if err := c.writev([][]byte{begin, b.buf, end}); err != nil {
		return nil, false, err
	}
	errs = make([]error, b.Len())
	var whole []error // of the edges
	// nfnetlink_rcv_batch is done when sendmsg returns, as rtnetlink is.
	err = c.each(func(m Message) error {
		if m.Type != unix.NLMSG_ERROR || m.Seq-first-1 > uint32(b.Len())+1 {
			return nil
		}
		refused := messageError(m)
		rejected = rejected || refused != nil
		if i := int(m.Seq - first - 2); i >= 0 && i < len(errs) {
			errs[i] = refused
		} else if refused != nil {
			whole = append(whole, refused)
		}
		return nil
	})
	return errs, rejected, errors.Join(append(whole, err)...)
}

// batchEdge begins or ends a transaction of nftables.
func batchEdge(typ uint16, seq uint32) []byte {
	var b Batch
	b.Message(typ, 0, []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0})
	binary.BigEndian.PutUint16(b.buf[unix.NLMSG_HDRLEN+2:], unix.NFNL_SUBSYS_NFTABLES)
	native.PutUint32(b.buf[8:], seq)
	return b.buf
}

func (c *Conn) writev(parts [][]byte) error {
	for {
		_, err := unix.SendmsgBuffers(c.fd, parts, nil, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}, 0)
		if !errors.Is(err, syscall.EINTR) {
			if err != nil {
				return fmt.Errorf("netlink send: %w", err)
			}
			return nil
		}
	}
}
