package kernel

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// TableWatch notices that somebody may have taken something out of an nftables
// table.
type TableWatch struct {
	conn   *rtnl.Conn
	family uint8
	table  string
}

// NewTableWatch starts to listen in the calling thread's namespace for what
// becomes of a table. family is one of NFPROTO_*. A kernel without netfilter has
// none to listen to: that is an error.
func NewTableWatch(family uint8, table string) (*TableWatch, error) {
	conn, err := rtnl.ListenNetfilter(natBuffer, unix.NFNLGRP_NFTABLES)
	if err != nil {
		return nil, fmt.Errorf("listen to changes of nftables: %w", err)
	}
	return &TableWatch{conn: conn, family: family, table: table}, nil
}

// Run calls changed when the table, or something in it, was removed or changed,
// and when notifications were lost. New elements of sets are no change, as
// nothing is missing after them. It returns nil when ctx ends and closes the
// watch.
func (w *TableWatch) Run(ctx context.Context, changed func()) error {
	return follow(ctx, w.conn, w.concerns, changed)
}

// concerns reports whether a notification is about the table, and more than a
// new element.
func (w *TableWatch) concerns(m rtnl.Message) bool {
	const newElement = unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_NEWSETELEM
	if m.Type>>8 != unix.NFNL_SUBSYS_NFTABLES || m.Type == newElement || len(m.Data) < sizeofNfgenmsg || m.Data[0] != w.family {
		return false
	}
	same := false
	_ = rtnl.Attrs(m.Data[sizeofNfgenmsg:], func(typ uint16, v []byte) {
		same = same || typ == nftaTable && rtnl.String(v) == w.table
	})
	return same
}
