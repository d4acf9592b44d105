package kernel

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// dumpTries bounds how often a dump is started over because the table changed
// under it.
const dumpTries = 20

const rtextSkipStats = 1 << 3 // RTEXT_FILTER_SKIP_STATS, not in x/sys

// dump asks for the table of a kind. Between begin and end the answers are
// taken in; an answer that was interrupted is begun again.
func (h *Host) dump(k kind, begin func(), ask func() error, end func()) error {
	for range dumpTries {
		begin()
		err := ask()
		if err == nil {
			end()
			return nil
		}
		if !errors.Is(err, rtnl.ErrInterrupted) {
			return fmt.Errorf("list %s objects: %w", k, err)
		}
	}
	return fmt.Errorf("list %s objects: %w %d times", k, rtnl.ErrInterrupted, dumpTries)
}

// ask sends the dump request in h.batch and folds the answers.
func (h *Host) ask() error {
	err := h.conn.Dump(&h.batch, func(m rtnl.Message) error { h.fold(m, true); return nil })
	if errors.Is(err, unix.ENOENT) {
		return nil // the main table is made with its first route
	}
	return err
}

// dumpLinks reads all devices of the host.
func (h *Host) dumpLinks() error {
	s := &h.state
	var seen map[int32]bool
	var lowers map[string]int32
	begin := func() {
		s.links.beginDump()
		clear(s.foreign.links)
		seen, lowers = map[int32]bool{}, map[string]int32{}
	}
	ask := func() error {
		h.batch.Reset()
		linkHeader(&h.batch, unix.RTM_GETLINK, 0, 0, 0)
		h.batch.U32(unix.IFLA_EXT_MASK, rtextSkipStats)
		return h.conn.Dump(&h.batch, func(m rtnl.Message) error {
			if l, ok := decodeLink(m.Data); ok {
				seen[l.index] = true
				lowers[l.name] = l.lower
			}
			h.fold(m, true)
			return nil
		})
	}
	return h.dump(links, begin, ask, func() {
		for index := range s.ifaces.byIndex {
			if !seen[index] {
				s.ifaces.drop(index)
			}
		}
		s.links.endDump()
		s.resolveUplinks(lowers)
	})
}

// dumpRest reads everything else. Foreign tables cost nothing where the kernel
// can filter: neighbours and forwarding entries come from our own devices
// only, routes from the main table. Of that, foreign ones must be seen: they
// may stand in the way.
func (h *Host) dumpRest() error {
	s := &h.state
	err := h.dumpAddrs()
	if err == nil {
		err = h.dump(neighs, s.neighs.beginDump, func() error { return h.perDevice(h.askNeighs) }, s.neighs.endDump)
	}
	if err == nil {
		err = h.dump(fdb, s.fdb.beginDump, func() error { return h.perDevice(h.askFDB) }, s.fdb.endDump)
	}
	if err == nil {
		err = h.dump(nexthops, func() {
			s.nexthops.beginDump()
			s.groups.beginDump()
			clear(s.foreign.nexthops)
		}, func() error {
			h.batch.Reset()
			nexthopHeader(&h.batch, unix.RTM_GETNEXTHOP, 0, unix.AF_UNSPEC, 0)
			return h.ask()
		}, func() {
			s.nexthops.endDump()
			s.groups.endDump()
		})
	}
	if err == nil {
		err = h.dump(routes, func() {
			s.routes.beginDump()
			clear(s.foreign.routes)
		}, h.askRoutes, s.routes.endDump)
	}
	return err
}

// perDevice calls ask for each of weft's devices.
func (h *Host) perDevice(ask func(index uint32, k LinkKind) error) error {
	for index, i := range h.state.ifaces.byIndex {
		if i.own == "" {
			continue
		}
		// A device that goes in between is told of by a notification.
		if err := ask(uint32(index), i.own); err != nil && !errors.Is(err, unix.ENODEV) {
			return err
		}
	}
	return nil
}

var families = [...]uint8{unix.AF_INET, unix.AF_INET6}

// dumpAddrs reads the addresses of all devices: none of them may be a next hop.
func (h *Host) dumpAddrs() error {
	s := &h.state
	before := s.hostAddrs
	return h.dump(addrs, func() {
		s.addrs.beginDump()
		s.hostAddrs = make(map[hostAddr]struct{}, len(before))
	}, func() error {
		for _, family := range families {
			h.batch.Reset()
			h.batch.Message(unix.RTM_GETADDR, 0, append([]byte{family}, make([]byte, unix.SizeofIfAddrmsg-1)...))
			if err := h.ask(); err != nil {
				return err
			}
		}
		return nil
	}, func() {
		s.addrs.endDump()
		h.staleHost = false
		s.compareAddrs(before)
	})
}

func (h *Host) askNeighs(index uint32, k LinkKind) error {
	if k != VXLAN {
		return nil
	}
	for _, family := range families {
		h.batch.Reset()
		h.batch.Message(unix.RTM_GETNEIGH, 0, append([]byte{family}, make([]byte, sizeofNdMsg-1)...))
		h.batch.U32(unix.NDA_IFINDEX, index)
		if err := h.ask(); err != nil {
			return err
		}
	}
	return nil
}

// askFDB: rtnl_fdb_dump takes the device from the header or NDA_IFINDEX
// (net/core/rtnetlink.c, valid_fdb_dump_strict).
func (h *Host) askFDB(index uint32, k LinkKind) error {
	if k != VXLAN {
		return nil
	}
	h.batch.Reset()
	h.batch.Message(unix.RTM_GETNEIGH, 0, append([]byte{unix.AF_BRIDGE}, make([]byte, sizeofNdMsg-1)...))
	h.batch.U32(unix.NDA_IFINDEX, index)
	return h.ask()
}

func (h *Host) askRoutes() error {
	for _, family := range families {
		var header [unix.SizeofRtMsg]byte
		header[0], header[4] = family, unix.RT_TABLE_MAIN
		h.batch.Reset()
		h.batch.Message(unix.RTM_GETROUTE, 0, header[:])
		if err := h.ask(); err != nil {
			return err
		}
	}
	return nil
}
