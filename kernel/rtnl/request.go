package rtnl

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Request sends the one message in b and calls fn for each message of the
// answer. It returns when the kernel has acknowledged the request, with its
// error if it refused.
func (c *Conn) Request(b *Batch, fn func(Message) error) error {
	native.PutUint16(b.buf[6:], native.Uint16(b.buf[6:])|unix.NLM_F_ACK)
	c.seq++
	seq := c.seq
	native.PutUint32(b.buf[8:], seq)
	if err := c.write(b.buf); err != nil {
		return err
	}
	for acked := false; !acked; {
		data, err := c.in.one(c.fd)
		if err != nil {
			return fmt.Errorf("read netlink answer: %w", err)
		}
		err = messages(data, func(m Message) error {
			switch {
			case m.Seq != seq:
				return nil // the rest of an answer given up earlier
			case m.Type == unix.NLMSG_ERROR:
				acked = true
				return messageError(m)
			}
			return fn(m)
		})
		if err != nil {
			return err
		}
	}
	return nil
}
