package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// Observe takes in the notifications that are queued, so that Reach, Addrs and
// ReachVersion know of them. It writes nothing.
func (h *Host) Observe() error {
	if err := h.drain(); err != nil {
		return err
	}
	if !h.staleHost {
		return nil
	}
	if err := h.dumpLinks(); err != nil {
		return err
	}
	return h.dumpAddrs()
}

// ReachVersion grows when the answers of Reach or Addrs may have changed: a
// link got or lost its carrier, came or went, or an address or somebody else's
// route did. Weft's own changes and its pods' interfaces do not count.
func (h *Host) ReachVersion() uint64 { return h.state.reach }

// Reach says for each address where the kernel sends packets for it now, that
// is, by which hops it can be a next hop: several where the route is multipath,
// only those whose link is up and has carrier. There are none for an address
// that is this host's own, that cannot be reached, or whose way leads through a
// route or device of weft's own. A link-local address is on the link of its
// zone. What it knows of links is as of the last Observe or Sync. The error
// says that the kernel could not be asked.
func (h *Host) Reach(addrs []netip.Addr) (map[netip.Addr][]Hop, error) {
	reached := make(map[netip.Addr][]Hop, len(addrs))
	var asked []netip.Addr
	h.batch.Reset()
	for _, a := range addrs {
		switch bare := a.Unmap().WithZone(""); {
		case !bare.IsValid() || bare.IsUnspecified() || bare.IsMulticast():
			reached[a] = nil
		case bare.IsLinkLocalUnicast() && bare.Is6():
			reached[a] = h.state.ifaces.hops([]rawHop{{index: h.state.ifaces.byName[a.Zone()]}}, bare)
		default:
			reached[a] = nil
			askRoute(&h.batch, bare)
			asked = append(asked, a)
		}
	}
	errs, err := h.conn.Query(&h.batch, func(i int, m rtnl.Message) {
		if m.Type == unix.RTM_NEWROUTE {
			reached[asked[i]] = h.state.ifaces.routeHops(m.Data, asked[i].Unmap())
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look up %d routes: %w", len(asked), err)
	}
	for i, err := range errs {
		if err != nil && !unreachable(err) {
			return nil, fmt.Errorf("look up the route to %s: %w", asked[i], err)
		}
	}
	return reached, nil
}

// askRoute asks for the entry of the routing table that a packet to a takes,
// with all of its ways, not for the way that one packet would take.
func askRoute(b *rtnl.Batch, a netip.Addr) {
	var h [unix.SizeofRtMsg]byte
	h[0], h[1] = family(a), uint8(a.BitLen())
	native.PutUint32(h[8:], unix.RTM_F_FIB_MATCH)
	b.Message(unix.RTM_GETROUTE, 0, h[:])
	b.Addr(unix.RTA_DST, a)
}

// unreachable reports whether an error is the kernel's answer that there is no
// way: none at all, or a route of type unreachable, blackhole, prohibit or
// throw (net/ipv4/fib_semantics.c, fib_props), or no such family (ipv6.disable).
// Any other error says nothing.
func unreachable(err error) bool {
	for _, errno := range []unix.Errno{unix.ENETUNREACH, unix.EHOSTUNREACH, unix.EINVAL, unix.EACCES, unix.EAGAIN, unix.EOPNOTSUPP, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return true
		}
	}
	return false
}

// routeHops reads the usable hops towards dst from an answer.
func (f *ifaces) routeHops(data []byte, dst netip.Addr) []Hop {
	if len(data) < unix.SizeofRtMsg || data[5] == Protocol || data[7] != unix.RTN_UNICAST {
		return nil
	}
	raw, _ := decodeHops(data[unix.SizeofRtMsg:])
	return f.hops(raw, dst)
}

// hops names the usable ones among the ways of a route: those over devices
// that are up, have carrier and are not weft's.
func (f *ifaces) hops(raw []rawHop, dst netip.Addr) []Hop {
	var hops []Hop
	for _, r := range raw {
		i := f.byIndex[r.index]
		if !i.carrier || i.loopback || strings.HasPrefix(i.name, Prefix) || r.flags&unix.RTNH_F_DEAD != 0 {
			continue
		}
		if !r.gateway.IsValid() {
			r.gateway = dst
		}
		hops = append(hops, Hop{Link: i.name, Gateway: r.gateway})
	}
	slices.SortFunc(hops, func(a, b Hop) int {
		if c := strings.Compare(a.Link, b.Link); c != 0 {
			return c
		}
		return a.Gateway.Compare(b.Gateway)
	})
	return slices.Compact(hops)
}

// Addrs are all addresses of this host, whoever set them, in order, without
// zones. It knows them as of the last Observe or Sync.
func (h *Host) Addrs() []netip.Addr {
	all := make([]netip.Addr, 0, len(h.state.hostAddrs))
	for a := range h.state.hostAddrs {
		all = append(all, a.addr)
	}
	slices.SortFunc(all, netip.Addr.Compare)
	return slices.Compact(all)
}

// hostAddr is an address of this host; one can be on several devices.
type hostAddr struct {
	index int32
	addr  netip.Addr
}

// foldReach counts a notified change of a route that is not weft's, nor on a
// device of weft's or a pod's.
func (s *state) foldReach(data []byte) {
	if len(data) < unix.SizeofRtMsg || data[5] == Protocol || rtnl.U32(data[8:])&unix.RTM_F_CLONED != 0 {
		return
	}
	hops, _ := decodeHops(data[unix.SizeofRtMsg:])
	for _, hop := range hops {
		if !s.podsOrOurs(hop.index) {
			s.reach++
			return
		}
	}
	if len(hops) == 0 { // a blackhole, say
		s.reach++
	}
}

// podsOrOurs reports whether a device is weft's own or the host end of a pod's
// interface, which have names with the same prefix.
func (s *state) podsOrOurs(index int32) bool {
	return strings.HasPrefix(s.ifaces.byIndex[index].name, Prefix)
}

// foldHostAddr takes in that an address came or went on any device.
func (s *state) foldHostAddr(a hostAddr, there, dumping bool) {
	_, known := s.hostAddrs[a]
	switch {
	case known == there:
		return // told again, as with each router advertisement
	case there:
		s.hostAddrs[a] = struct{}{}
	default:
		delete(s.hostAddrs, a)
	}
	if !dumping && !s.podsOrOurs(a.index) { // see compareAddrs
		s.reach++
	}
}

// compareAddrs counts, after a dump, what no notification had told.
func (s *state) compareAddrs(before map[hostAddr]struct{}) {
	for _, sets := range [][2]map[hostAddr]struct{}{{before, s.hostAddrs}, {s.hostAddrs, before}} {
		for a := range sets[0] {
			if _, both := sets[1][a]; !both && !s.podsOrOurs(a.index) {
				s.reach++
				return
			}
		}
	}
}
