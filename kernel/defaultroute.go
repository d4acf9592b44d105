package kernel

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel/rtnl"
)

// defaultRoute is a unicast default route that weft did not set.
type defaultRoute struct {
	metric uint32
	hops   []rawHop
}

// defaultRoutes are those of the main table. IPv6 lists the ways of a
// multipath route apart.
type defaultRoutes fabric.PerFamily[[]defaultRoute]

func listDefaults() (d defaultRoutes, err error) {
	c, err := rtnl.Dial()
	if err != nil {
		return d, err
	}
	defer c.Close()
	if d.IPv4, err = dumpDefaults(c, unix.AF_INET); err == nil {
		d.IPv6, err = dumpDefaults(c, unix.AF_INET6)
	}
	if err != nil {
		return d, fmt.Errorf("look for default routes: %w", err)
	}
	return d, nil
}

// dumpDefaults looks at headers first: the table may hold a hundred thousand
// routes of ours.
func dumpDefaults(c *rtnl.Conn, family byte) (found []defaultRoute, err error) {
	header := [unix.SizeofRtMsg]byte{0: family, 4: unix.RT_TABLE_MAIN}
	for range dumpTries {
		found = nil
		var b rtnl.Batch
		b.Message(unix.RTM_GETROUTE, 0, header[:])
		err = c.Dump(&b, func(m rtnl.Message) error {
			d := m.Data
			if len(d) >= unix.SizeofRtMsg && d[1] == 0 && d[4] == unix.RT_TABLE_MAIN && d[5] != Protocol && d[7] == unix.RTN_UNICAST {
				hops, metric := decodeHops(d[unix.SizeofRtMsg:])
				found = append(found, defaultRoute{metric, hops})
			}
			return nil
		})
		if !errors.Is(err, rtnl.ErrInterrupted) {
			break
		}
	}
	if errors.Is(err, unix.ENOENT) {
		return nil, nil // no such table yet
	}
	return found, err
}

// links are the devices of the default route with the lowest metric, IPv4
// before IPv6; several where the route is multipath.
func (d defaultRoutes) links() ([]netlink.Link, error) {
	for _, all := range [][]defaultRoute{d.IPv4, d.IPv6} {
		var links []netlink.Link
		for _, index := range preferred(all) {
			link, err := netlink.LinkByIndex(int(index))
			if err == nil && link.Attrs().Flags&net.FlagUp != 0 && !strings.HasPrefix(link.Attrs().Name, Prefix) {
				links = append(links, link)
			}
		}
		if len(links) > 0 {
			return links, nil
		}
	}
	return nil, fmt.Errorf("%w: no default route; name the interface in underlay.interface", ErrNoUnderlay)
}

// preferred are the device indexes of the routes with the lowest metric.
func preferred(all []defaultRoute) (indexes []int32) {
	lowest := uint64(1 << 33)
	for _, r := range all {
		if uint64(r.metric) < lowest && len(r.hops) > 0 {
			indexes, lowest = nil, uint64(r.metric)
		}
		for _, h := range r.hops {
			if uint64(r.metric) == lowest {
				indexes = append(indexes, h.index)
			}
		}
	}
	return indexes
}

// gateways are those of all default routes, whatever their metric: a neighbour
// to talk BGP with need not be the one that packets prefer.
func (d defaultRoutes) gateways() []netip.Addr {
	var found []netip.Addr
	for _, r := range slices.Concat(d.IPv4, d.IPv6) {
		for _, h := range r.hops {
			if !h.gateway.IsValid() {
				continue // everything is on the segment
			}
			if h.gateway.Is6() && h.gateway.IsLinkLocalUnicast() {
				link, err := netlink.LinkByIndex(int(h.index))
				if err != nil {
					continue // it went this moment: the watch tells
				}
				h.gateway = h.gateway.WithZone(link.Attrs().Name)
			}
			found = append(found, h.gateway)
		}
	}
	slices.SortFunc(found, netip.Addr.Compare)
	return slices.Compact(found)
}
