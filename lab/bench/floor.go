package bench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netlink"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/kernel/rtnl"
)

// FloorCommand is the hidden subcommand of weft-lab that is the floor: one
// range read, one batched write of the same objects that weftd makes of it,
// nothing else. It prints a Usage but for the Wall.
const FloorCommand = "internal-floor"

// Usage is what a program took.
type Usage struct {
	Wall time.Duration // from the fork
	CPU  time.Duration
	RSS  int64 // bytes, the most there were
}

// least takes the smaller of each figure.
func (u Usage) least(v Usage) Usage {
	return Usage{Wall: min(u.Wall, v.Wall), CPU: min(u.CPU, v.CPU), RSS: min(u.RSS, v.RSS)}
}

// Floor runs the program in the current namespace and prints its usage.
func Floor(ctx context.Context, endpoint string) error {
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: 5 * time.Second})
	if err != nil {
		return err
	}
	defer c.Close()
	resp, err := c.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return err
	}
	link := &netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "floor"}, VxlanId: 1, Port: 4789}
	if err := netlink.LinkAdd(link); err != nil {
		return fmt.Errorf("vxlan device: %w", err)
	}
	if err := netlink.LinkSetUp(link); err != nil {
		return fmt.Errorf("vxlan device: %w", err)
	}
	b, err := objects(resp, uint32(link.Index))
	if err != nil {
		return err
	}
	if err := write(b); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(Usage{CPU: cpu(), RSS: peakRSS()})
}

// objects builds the messages for all nodes: forwarding entry, neighbour
// entry, nexthop object, route.
func objects(resp *clientv3.GetResponse, link uint32) (*rtnl.Batch, error) {
	nodes := map[fabric.NodeID]*fabric.Node{}
	subnets := map[fabric.NodeID]netip.Prefix{}
	for _, kv := range resp.Kvs {
		key := strings.TrimPrefix(string(kv.Key), prefix)
		switch {
		case strings.HasPrefix(key, "nodes/"):
			n := new(fabric.Node)
			if err := json.Unmarshal(kv.Value, n); err != nil {
				return nil, err
			}
			nodes[n.ID] = n
		case strings.HasPrefix(key, "subnets/ipv4/"):
			var s fabric.Subnet
			if err := json.Unmarshal(kv.Value, &s); err != nil {
				return nil, err
			}
			p, err := parseSubnet(key[len("subnets/ipv4/"):])
			if err != nil {
				return nil, err
			}
			subnets[s.Owner] = p
		}
	}
	b := new(rtnl.Batch)
	for id, n := range nodes {
		if p, ok := subnets[id]; ok {
			addPeer(b, n, p, link)
		}
	}
	return b, nil
}

func parseSubnet(s string) (netip.Prefix, error) {
	addr, length, _ := strings.Cut(s, "-")
	var a [4]byte
	for i, word := range strings.SplitN(addr, ".", 4) {
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil {
			return netip.Prefix{}, err
		}
		a[i] = byte(n)
	}
	bits, err := strconv.Atoi(length)
	return netip.PrefixFrom(netip.AddrFrom4(a), bits), err
}

// addPeer adds the four messages of one peer.
func addPeer(b *rtnl.Batch, n *fabric.Node, p netip.Prefix, link uint32) {
	const flags = unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	neigh := func(family, flag byte) []byte {
		h := make([]byte, 12) // struct ndmsg
		h[0] = family
		binary.NativeEndian.PutUint32(h[4:], link)
		binary.NativeEndian.PutUint16(h[8:], unix.NUD_PERMANENT)
		h[10] = flag
		return h
	}
	b.Message(unix.RTM_NEWNEIGH, flags, neigh(unix.AF_BRIDGE, unix.NTF_SELF))
	b.Bytes(unix.NDA_LLADDR, n.VTEPMAC[:])
	b.Addr(unix.NDA_DST, n.Underlay.IPv4)

	b.Message(unix.RTM_NEWNEIGH, flags, neigh(unix.AF_INET, 0))
	b.Addr(unix.NDA_DST, p.Addr())
	b.Bytes(unix.NDA_LLADDR, n.VTEPMAC[:])

	id := kernel.NexthopID(n.Index, fabric.IPv4, 0)
	b.Message(unix.RTM_NEWNEXTHOP, flags, []byte{unix.AF_INET, 0, kernel.Protocol, 0, unix.RTNH_F_ONLINK, 0, 0, 0})
	b.U32(unix.NHA_ID, id)
	b.U32(unix.NHA_OIF, link)
	b.Addr(unix.NHA_GATEWAY, p.Addr())

	const nhID = 30 // RTA_NH_ID
	b.Message(unix.RTM_NEWROUTE, flags, []byte{unix.AF_INET, byte(p.Bits()), 0, 0, unix.RT_TABLE_MAIN, kernel.Protocol, 0, unix.RTN_UNICAST, 0, 0, 0, 0})
	b.Addr(unix.RTA_DST, p.Addr())
	b.U32(unix.RTA_PRIORITY, kernel.Metric)
	b.U32(nhID, id)
}

func write(b *rtnl.Batch) error {
	conn, err := rtnl.Dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	errs, err := conn.Execute(b)
	if err != nil {
		return err
	}
	for i, err := range errs {
		if err != nil {
			return fmt.Errorf("message %d of %d: %w", i, len(errs), err)
		}
	}
	return nil
}

// cpu is the time that this process has used.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func peakRSS() int64 {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return r.Maxrss << 10
}
