package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// Traffic counts packets that arrive for some destinations. The kernel does
// the counting, in a socket filter: no packet is copied, and nothing stays
// behind when the process ends.
type Traffic struct {
	fd    int
	total uint64
}

// NewTraffic counts in the calling thread's namespace, from now on, the packets
// that come in over any device but loopback for addresses in prefixes, except
// those whose source is in one of local: this host's own pods.
func NewTraffic(prefixes []netip.Prefix, local ...netip.Prefix) (*Traffic, error) {
	filter, err := trafficFilter(prefixes, local)
	if err != nil {
		return nil, err
	}
	// With protocol 0 it receives nothing until it is bound.
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("count packets: %w", err)
	}
	if err := startTraffic(fd, filter); err != nil {
		_ = unix.Close(fd)
		return nil, fmt.Errorf("count packets: %w", err)
	}
	return &Traffic{fd: fd}, nil
}

func startTraffic(fd int, filter []unix.SockFilter) error {
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.SetsockoptSockFprog(fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, &prog); err != nil {
		return fmt.Errorf("attach filter: %w", err)
	}
	// What leaves is not even looked at (Linux 4.20).
	if err := unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_IGNORE_OUTGOING, 1); err != nil {
		return fmt.Errorf("ignore outgoing packets: %w", err)
	}
	// Nobody reads the packets. When the smallest buffer is full they are
	// counted as drops before they are cloned (net/packet/af_packet.c,
	// packet_rcv), and the statistics have both.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
		return fmt.Errorf("receive buffer: %w", err)
	}
	var all [2]byte
	binary.BigEndian.PutUint16(all[:], unix.ETH_P_ALL)
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: native.Uint16(all[:])}); err != nil {
		return fmt.Errorf("bind: %w", err)
	}
	return nil
}

// Packets is the number of packets so far. One that passes several devices,
// like a bond and its port, counts on each.
func (t *Traffic) Packets() (uint64, error) {
	stats, err := unix.GetsockoptTpacketStats(t.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS)
	if err != nil {
		return t.total, fmt.Errorf("read packet statistics: %w", err)
	}
	t.total += uint64(stats.Packets) // dropped ones included; reading resets it
	return t.total, nil
}

// Close ends the count.
func (t *Traffic) Close() error { return unix.Close(t.fd) }
