package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Options configure a Host. The zero value is ready to use.
type Options struct {
	// Buffer is the size in bytes of the receive buffer for notifications
	// (default 8 MiB). When it overruns, the next Sync dumps everything.
	Buffer int
}

const (
	defaultBuffer = 8 << 20
	natBuffer     = 1 << 20
)

// Host is the network state of one network namespace: what is wanted of it and
// what it is. Its methods except Changed are for one goroutine.
type Host struct {
	conn     *rtnl.Conn // requests
	events   *rtnl.Conn // notifications
	natEvent *rtnl.Conn // notifications of nftables
	waiter   *waiter

	state state
	masq  Masquerade // wanted, the source of what state.nat wants

	stale       bool // everything must be dumped
	staleNAT    bool // the nftables table must be read
	staleSysctl bool // the sysctls must be read
	staleHost   bool // devices and addresses must be dumped
	outlearnt   bool // what the kernel learnt of paths must be forgotten
	settled     bool // a Sync has ended with everything in place

	batch rtnl.Batch
	ops   []op
}

// Open opens the host's sockets in the calling thread's network namespace.
// Sync must be called in the same one. The error names a kernel feature where
// one is missing without which nothing works.
func Open(o Options) (*Host, error) {
	if o.Buffer == 0 {
		o.Buffer = defaultBuffer
	}
	h := &Host{state: newState(), stale: true, staleNAT: true, staleSysctl: true, staleHost: true}
	if err := h.open(o); err != nil {
		_ = h.closeSockets()
		return nil, fmt.Errorf("open kernel state: %w", err)
	}
	return h, nil
}

func (h *Host) open(o Options) (err error) {
	if h.conn, err = rtnl.Dial(); err != nil {
		return err
	}
	if err = h.probe(); err != nil {
		return err
	}
	h.events, err = rtnl.Listen(o.Buffer, unix.RTNLGRP_LINK, unix.RTNLGRP_NEIGH,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR, unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF, unix.RTNLGRP_NEXTHOP,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE)
	if err != nil {
		return err
	}
	if h.natEvent, err = rtnl.ListenNetfilter(natBuffer, unix.NFNLGRP_NFTABLES); err != nil {
		return err
	}
	h.waiter, err = newWaiter(h.events.Fd(), h.natEvent.Fd())
	return err
}

// probe asks for a nexthop object that need not exist.
func (h *Host) probe() error {
	h.batch.Reset()
	nexthopHeader(&h.batch, unix.RTM_GETNEXTHOP, 0, unix.AF_UNSPEC, 0)
	h.batch.U32(unix.NHA_ID, nexthopBase)
	errs, err := h.conn.Execute(&h.batch)
	if err != nil {
		return err
	}
	return probed(errs[0])
}

func probed(err error) error {
	switch {
	case err == nil || errors.Is(err, unix.ENOENT):
		return nil
	case errors.Is(err, unix.EOPNOTSUPP):
		return fmt.Errorf("this kernel has no nexthop objects (Linux 5.3 or newer is needed): %w", err)
	}
	return fmt.Errorf("look up a nexthop object: %w", err)
}

// Close releases the sockets. The kernel's state stays as it is.
func (h *Host) Close() error {
	h.waiter.stop()
	return h.closeSockets()
}

func (h *Host) closeSockets() error {
	var errs []error
	for _, c := range []*rtnl.Conn{h.conn, h.events, h.natEvent} {
		if c != nil {
			errs = append(errs, c.Close())
		}
	}
	return errors.Join(errs...)
}

// Changed receives a value when the kernel notified something that may concern
// the host: call Sync. It receives no other until then.
func (h *Host) Changed() <-chan struct{} { return h.waiter.changed }

// Audit makes the next Sync read everything from the kernel.
func (h *Host) Audit() { h.stale, h.staleNAT, h.staleSysctl = true, true, true }
