package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// gather is how long the watch collects before it tells.
const gather = 100 * time.Millisecond

// UnderlayWatch notices what may change the answer of FindUnderlay.
type UnderlayWatch struct{ conn *rtnl.Conn }

// NewUnderlayWatch starts to listen in the calling thread's namespace.
func NewUnderlayWatch() (*UnderlayWatch, error) {
	c, err := rtnl.Listen(1<<20, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := defaultRoutesOnly(c.Fd()); err != nil {
		c.Close()
		return nil, err
	}
	return &UnderlayWatch{conn: c}, nil
}

// defaultRoutesOnly drops in the kernel what is told of other routes and of
// weft's own: thousands of these are, when a fabric starts. Each notification
// is one message: nlmsghdr, then rtmsg, whose second byte is the destination's
// length and whose sixth is the protocol.
func defaultRoutesOnly(fd int) error {
	typ := func(t uint16) uint32 { // BPF loads in network order, netlink is in the host's
		var b [2]byte
		binary.NativeEndian.PutUint16(b[:], t)
		return uint32(binary.BigEndian.Uint16(b[:]))
	}
	const jeq = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_H | unix.BPF_ABS, K: 4},
		{Code: jeq, K: typ(unix.RTM_NEWROUTE), Jt: 1},
		{Code: jeq, K: typ(unix.RTM_DELROUTE), Jf: 4},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: unix.NLMSG_HDRLEN + 1},
		{Code: jeq, K: 0, Jf: 3},
		{Code: unix.BPF_LD | unix.BPF_B | unix.BPF_ABS, K: unix.NLMSG_HDRLEN + 5},
		{Code: jeq, K: Protocol, Jt: 1},
		{Code: unix.BPF_RET | unix.BPF_K, K: 1 << 31},
		{Code: unix.BPF_RET | unix.BPF_K, K: 0},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("filter notifications: %w", err)
	}
	return nil
}

// Run calls changed whenever a device or address that is not weft's, or a
// default route, has changed. It returns nil when ctx ends and closes the
// watch.
func (w *UnderlayWatch) Run(ctx context.Context, changed func()) error {
	return follow(ctx, w.conn, concernsUnderlay, changed)
}

// follow calls changed when notifications came that concern somebody, and when
// some were lost, until ctx ends; then it closes the socket.
func follow(ctx context.Context, c *rtnl.Conn, concerns func(rtnl.Message) bool, changed func()) error {
	defer c.Close()
	for ctx.Err() == nil {
		there, err := c.Wait(500)
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		select { // one change is told in many messages
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
		kick := false
		err = c.Drain(func(m rtnl.Message) { kick = kick || concerns(m) })
		if err != nil && !errors.Is(err, rtnl.ErrOverrun) {
			return err
		}
		if kick || err != nil {
			changed()
		}
	}
	return nil
}

// concernsUnderlay leaves out what is about devices of weft's own and pods'.
func concernsUnderlay(m rtnl.Message) bool {
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return true
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return len(m.Data) >= unix.SizeofIfInfomsg && !strings.HasPrefix(linkName(m.Data[unix.SizeofIfInfomsg:]), Prefix)
	}
	return m.Type == unix.RTM_NEWADDR || m.Type == unix.RTM_DELADDR
}

func linkName(attrs []byte) (name string) {
	_ = rtnl.Attrs(attrs, func(typ uint16, v []byte) {
		if typ == unix.IFLA_IFNAME {
			name = rtnl.String(v)
		}
	})
	return name
}
