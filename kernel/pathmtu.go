package kernel

import (
	"errors"
	"fmt"
	"net/netip"
	"os"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/kernel/rtnl"
)

// flushLearnt is the sysctl that makes the kernel forget every path MTU that
// it learnt for IPv4 destinations in this namespace, whatever is written to it.
// It cannot forget a single one (net/ipv4/route.c, ipv4_sysctl_rtcache_flush).
const flushLearnt = "net/ipv4/route/flush"

func forgetIPv4() error { return os.WriteFile(sysctlRoot+flushLearnt, []byte("1"), 0) }

// mtuChanges reports whether a change of a route alters the MTU for IPv4. What
// was learnt for single destinations of it hangs on the nexthop object and would
// stand above the new MTU, be it larger or smaller, until it expires
// (net/ipv4/route.c, rt_set_nexthop). IPv6 forgets with the route's change.
func mtuChanges(e *entry[RouteKey, path]) bool {
	return e.key.Dst.Addr().Is4() && e.want.mtu != e.actual.mtu
}

// forget makes MTUs that were changed count at once.
func (r *pass) forget() {
	if !r.outlearnt {
		return
	}
	if err := forgetIPv4(); err != nil {
		r.report.Failed = append(r.report.Failed, Failure{Kind: sysctls.String(), Object: "sysctl " + flushLearnt, Err: err})
		return
	}
	r.outlearnt = false
}

// ForgetPathMTU makes the kernel forget what ICMP told it about the MTU of the
// paths to these hosts, in the calling thread's namespace, and reports whether
// there was anything to forget. A packet through a tunnel to such a host is
// dropped here as long as it is remembered, so nobody could see that the path
// has grown; for outer IPv4 that is for as long as anybody tries. Where there is
// an entry for an IPv4 address, all IPv4 destinations of the namespace are
// forgotten, which costs those that were in use a packet each.
func ForgetPathMTU(hosts ...netip.Addr) (forgot bool, err error) {
	c, err := rtnl.Dial()
	if err != nil {
		return false, fmt.Errorf("forget path MTU: %w", err)
	}
	defer c.Close()
	known, err := learnt(c, hosts)
	if err != nil || len(known) == 0 {
		return false, err
	}
	var b rtnl.Batch
	all4 := false
	for _, a := range known {
		if a.Is4() {
			all4 = true
			continue
		}
		forgetRequest(&b, a)
	}
	if all4 {
		err = forgetIPv4()
	}
	errs, socket := c.Execute(&b)
	for _, e := range errs {
		if e != nil && !gone(e) {
			err = errors.Join(err, e)
		}
	}
	if err = errors.Join(err, socket); err != nil {
		return false, fmt.Errorf("forget path MTU: %w", err)
	}
	return true, nil
}

// learnt are those of the addresses about which the kernel has learnt a path
// MTU: its answer says when it will forget it.
func learnt(c *rtnl.Conn, hosts []netip.Addr) (known []netip.Addr, err error) {
	var b rtnl.Batch
	var asked []netip.Addr
	for _, a := range hosts {
		if a = a.Unmap().WithZone(""); a.IsValid() {
			var h [unix.SizeofRtMsg]byte
			h[0], h[1] = family(a), uint8(a.BitLen())
			b.Message(unix.RTM_GETROUTE, 0, h[:])
			b.Addr(unix.RTA_DST, a)
			asked = append(asked, a)
		}
	}
	errs, err := c.Query(&b, func(i int, m rtnl.Message) {
		if m.Type == unix.RTM_NEWROUTE && hasLearntMTU(m.Data) {
			known = append(known, asked[i])
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look up path MTU: %w", err)
	}
	for i, err := range errs {
		if err != nil && !unreachable(err) {
			return nil, fmt.Errorf("look up the path MTU to %s: %w", asked[i], err)
		}
	}
	return known, nil
}

// hasLearntMTU reports whether a route has an MTU that expires (struct
// rta_cacheinfo): what an administrator set does not.
func hasLearntMTU(data []byte) bool {
	const expires = 8 // offset, after rta_clntref and rta_lastuse
	mtu, ends := 0, false
	if len(data) < unix.SizeofRtMsg {
		return false
	}
	_ = rtnl.Attrs(data[unix.SizeofRtMsg:], func(typ uint16, v []byte) {
		switch typ {
		case unix.RTA_METRICS:
			mtu, _ = metricMTU(v)
		case unix.RTA_CACHEINFO:
			ends = len(v) >= expires+4 && int32(rtnl.U32(v[expires:])) > 0
		}
	})
	return mtu != 0 && ends
}

// forgetRequest deletes what is remembered about one IPv6 destination and leaves
// the route itself (net/ipv6/route.c, ip6_del_cached_rt).
func forgetRequest(b *rtnl.Batch, a netip.Addr) {
	var h [unix.SizeofRtMsg]byte
	h[0], h[1], h[4] = family(a), uint8(a.BitLen()), unix.RT_TABLE_MAIN
	h[6] = unix.RT_SCOPE_NOWHERE
	native.PutUint32(h[8:], unix.RTM_F_CLONED)
	b.Message(unix.RTM_DELROUTE, 0, h[:])
	b.Addr(unix.RTA_DST, a)
}
