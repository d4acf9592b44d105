package kernel

import (
	"context"
	"errors"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// UnderlayWatch notices what may change the answer of FindUnderlay.
type UnderlayWatch struct{ conn *rtnl.Conn }

// NewUnderlayWatch starts to listen in the calling thread's namespace.
func NewUnderlayWatch() (*UnderlayWatch, error) {
	c, err := rtnl.Listen(1<<20, unix.RTNLGRP_LINK, unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE)
	if err != nil {
		return nil, err
	}
	return &UnderlayWatch{conn: c}, nil
}

// Run calls changed whenever a device or address that is not weft's, or a
// default route, has changed. It returns nil when ctx ends and closes the
// watch.
func (w *UnderlayWatch) Run(ctx context.Context, changed func()) error {
	defer w.conn.Close()
	for ctx.Err() == nil {
		if _, err := w.conn.Wait(500); err != nil {
			return err
		}
		kick := false
		err := w.conn.Drain(func(m rtnl.Message) { kick = kick || concernsUnderlay(m) })
		if err != nil && !errors.Is(err, rtnl.ErrOverrun) {
			return err
		}
		if kick || err != nil {
			changed()
		}
	}
	return nil
}

// concernsUnderlay reads no further than it must: thousands of our own routes
// pass here when a fabric starts.
func concernsUnderlay(m rtnl.Message) bool {
	switch m.Type {
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		return len(m.Data) >= unix.SizeofRtMsg && m.Data[1] == 0
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
