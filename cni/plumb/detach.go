package plumb

import (
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/kernel/rtnl"
)

// Detach removes the attachment's interfaces. None is not an error, and an
// interface that was not made for it stays. The guard goes with them if it can;
// Unguard says why not.
func Detach(a ipam.Attachment) error {
	c, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer c.Close()
	l, err := GetLink(c, a.HostInterface())
	if err != nil || l == nil || errors.Is(ours(l, a), ErrNotOurs) {
		return err
	}
	if err := detach(c, a, l.Index); err != nil {
		return fmt.Errorf("remove interface %s: %w", l.Name, err)
	}
	return nil
}

// listedEvery is the time between two looks whether the port is still there. The
// kernel needs about 50 us from the request on, or as long as others hold the
// lock of rtnetlink.
const listedEvery = 100 * time.Microsecond

// detach deletes the port and takes away the guard as soon as no frame comes by
// the port any more. Both wait for an RCU grace period (the guard when its socket
// is closed: nf_tables_api.c, nft_rcv_nl_event), 10 ms and more, and do so at the
// same time.
func detach(c *rtnl.Conn, a ipam.Attachment, index uint32) error {
	gone := make(chan error, 1)
	go func() { gone <- deleteLink(c, index) }()
	tick := time.NewTicker(listedEvery)
	defer tick.Stop()
	for listed(c, index) {
		select {
		case err := <-gone:
			return err
		case <-tick.C:
		}
	}
	_ = Unguard(a)
	return <-gone
}

// listed reports whether an interface can be found by its index. One that is
// being deleted is shut before it is taken off the list
// (net/core/dev.c, unregister_netdevice_many). It takes no lock.
func listed(c *rtnl.Conn, index uint32) bool {
	r, err := unix.NewIfreq("")
	if err == nil {
		r.SetUint32(index)
		err = unix.IoctlIfreq(c.Fd(), unix.SIOCGIFNAME, r)
	}
	return err == nil
}
