package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/lab"
)

const prefix = "/weft/v1/"

// perTxn is below the 128 operations that an etcd server takes by default.
const perTxn = 120

// network is the pods' of every benchmark: room for 65536 nodes.
var network = netip.MustParsePrefix("10.0.0.0/8")

// fabricSpec is the Fabric object of every benchmark.
func fabricSpec() map[string]any {
	return map[string]any{"network": map[string]any{"ipv4": network.String()}}
}

// connect opens a client of the lab's etcd whose connections begin on a host.
func connect(l *lab.Lab) (*clientv3.Client, error) {
	h := l.Hosts[0]
	return clientv3.New(clientv3.Config{
		Endpoints:   l.Etcd.Endpoints(fabric.IPv4),
		DialTimeout: 5 * time.Second,
		DialOptions: []grpc.DialOption{grpc.WithContextDialer(func(ctx context.Context, addr string) (net.Conn, error) {
			return h.Dial(ctx, "tcp", addr)
		})},
	})
}

// peer is the node record of the i-th simulated node, from 1. It is in
// nobody's rack, so it is reached over the overlay.
func peer(i int) fabric.Node {
	n := fabric.Node{
		Name: fmt.Sprintf("peer-%05d", i), ID: fabric.NodeID(fmt.Sprintf("peer-%05d", i)), Index: uint32(i),
		VTEPMAC: fabric.DeriveMAC("bench", fmt.Sprint(i)), MTU: 1500, Receives: []fabric.PathKind{fabric.PathVXLAN},
	}
	n.Underlay.IPv4 = netip.AddrFrom4([4]byte{198, 19, 64 + byte(i>>8), byte(i)})
	return n
}

// subnetOf is the n-th /24 of the network.
func subnetOf(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(n >> 8), byte(n), 0}), 24)
}

// subnetKey is the key of a subnet's record (DESIGN, section 4).
func subnetKey(p netip.Prefix) string {
	a := p.Addr().As4()
	return fmt.Sprintf("%ssubnets/ipv4/%03d.%03d.%03d.%03d-%d", prefix, a[0], a[1], a[2], a[3], p.Bits())
}

// fill writes the records of n simulated nodes, all alive.
func fill(ctx context.Context, c *clientv3.Client, n int) error {
	lease, err := c.Grant(ctx, 3600)
	if err != nil {
		return fmt.Errorf("simulated peers: %w", err)
	}
	var ops []clientv3.Op
	flush := func() error {
		if len(ops) == 0 {
			return nil
		}
		_, err := c.Txn(ctx).Then(ops...).Commit()
		ops = nil
		return err
	}
	for i := 1; i <= n; i++ {
		node := peer(i)
		ops = append(ops,
			clientv3.OpPut(prefix+"nodes/"+node.Name, text(node)),
			clientv3.OpPut(prefix+"alive/"+node.Name, text(map[string]any{"id": node.ID, "instance": "bench"}), clientv3.WithLease(lease.ID)),
			clientv3.OpPut(subnetKey(subnetOf(i)), text(fabric.Subnet{Owner: node.ID, Epoch: 1})))
		if len(ops) >= perTxn {
			if err := flush(); err != nil {
				return fmt.Errorf("simulated peers: %w", err)
			}
		}
	}
	return flush()
}

// text is JSON; the values are plain structs that always have one.
func text(v any) string {
	b, _ := json.Marshal(v)
	return string(b)
}
