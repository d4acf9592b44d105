package agent

import (
	"net/netip"
	"slices"
	"sync"

	"github.com/weft-net/weft/fabric"
)

// gateways are the addresses in the pods' network by which the other nodes ask
// and answer probes: those of their bridges. The loop says who the nodes are,
// others ask about addresses; the list is made when the first does.
type gateways struct {
	mu    sync.Mutex
	self  fabric.NodeID  // guarded by mu, as all below
	peers []*fabric.Peer // as of the last change
	addrs []netip.Addr   // theirs, sorted
	stale bool           // addrs are not those of peers
}

// follow takes over the nodes.
func (g *gateways) follow(self fabric.NodeID, peers []*fabric.Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.self, g.peers, g.stale = self, peers, true
}

// known reports whether an address is that of a peer's bridge.
func (g *gateways) known(a netip.Addr) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stale {
		g.list()
	}
	_, ok := slices.BinarySearchFunc(g.addrs, a, netip.Addr.Compare)
	return ok
}

func (g *gateways) list() {
	g.addrs, g.stale = g.addrs[:0], false
	for _, p := range g.peers {
		if p.ID == g.self {
			continue
		}
		for i := range p.Subnets {
			g.addrs = append(g.addrs, p.Subnets[i].Prefix.Addr().Next())
		}
	}
	slices.SortFunc(g.addrs, netip.Addr.Compare)
}
