package rtnl

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// Listen opens a socket that receives the notifications of the given groups
// (RTNLGRP_*) with a receive buffer of about buffer bytes.
func Listen(buffer int, groups ...uint32) (*Conn, error) {
	return listen(unix.NETLINK_ROUTE, buffer, groups)
}

// ListenNetfilter does the same for groups of netfilter (NFNLGRP_*).
func ListenNetfilter(buffer int, groups ...uint32) (*Conn, error) {
	return listen(unix.NETLINK_NETFILTER, buffer, groups)
}

func listen(protocol, buffer int, groups []uint32) (*Conn, error) {
	c, err := dial(protocol)
	if err != nil {
		return nil, err
	}
	// FORCE passes the administrator's limit; without CAP_NET_ADMIN over the
	// whole machine (a user namespace) the plain option must do.
	if unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, buffer) != nil {
		_ = unix.SetsockoptInt(c.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, buffer)
	}
	for _, g := range groups {
		if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, unix.NETLINK_ADD_MEMBERSHIP, int(g)); err != nil {
			c.Close()
			return nil, fmt.Errorf("join netlink group %d: %w", g, err)
		}
	}
	return c, nil
}

// Fd is the socket's descriptor, for poll(2).
func (c *Conn) Fd() int { return c.fd }

// Wait blocks until a notification is there (true) or timeoutMs milliseconds
// have passed (false).
func (c *Conn) Wait(timeoutMs int) (bool, error) {
	n, err := unix.Poll([]unix.PollFd{{Fd: int32(c.fd), Events: unix.POLLIN}}, timeoutMs)
	if err == unix.EINTR {
		return false, nil
	}
	return n > 0, err
}

// Drain calls fn for every notification that is queued now and does not
// block. ErrOverrun says that some were dropped; those queued after them are
// still there for the next call.
func (c *Conn) Drain(fn func(Message)) error {
	err := c.each(func(m Message) error { fn(m); return nil })
	if errors.Is(err, unix.ENOBUFS) {
		return ErrOverrun
	}
	return err
}
