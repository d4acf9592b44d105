package kernel

import (
	"net/netip"
)

// Observe takes in the notifications that are queued, so that Reach, Addrs and
// ReachVersion know of them. It writes nothing.
func (h *Host) Observe() error { return h.drain() }

// ReachVersion grows when the answers of Reach or Addrs may have changed: a
// link got or lost its carrier, came or went, or an address or somebody else's
// route did. Weft's own changes and its pods' interfaces do not count.
func (h *Host) ReachVersion() uint64 { return h.reach }

// Reach says for each address where the kernel sends packets for it now, that
// is, by which hops it can be a next hop: several where the route is multipath,
// only those whose link is up and has carrier. There are none for an address
// that is this host's own, that cannot be reached, or whose way leads through a
// route or device of weft's own. A link-local address is on the link of its
// zone. The error says that the kernel could not be asked.
func (h *Host) Reach(addrs []netip.Addr) (map[netip.Addr][]Hop, error) {
	return map[netip.Addr][]Hop{}, nil
}

// Addrs are all addresses of this host, whoever set them, in order.
func (h *Host) Addrs() []netip.Addr { return nil }
