package agent

import (
	"net/netip"
	"sync"

	"github.com/weft-net/weft/fabric"
)

// gateways are the addresses in the pods' network by which the other nodes ask
// and answer probes: those of their bridges. The loop keeps them, others ask.
type gateways struct {
	mu  sync.RWMutex
	ids map[netip.Addr]fabric.NodeID // guarded by mu
}

// follow takes in that a peer changed, came or went; nil stands for a missing one.
func (g *gateways) follow(was, is *fabric.Peer) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if was != nil {
		for _, s := range was.Subnets {
			if at := s.Prefix.Addr().Next(); g.ids[at] == was.ID { // it may be another's by now
				delete(g.ids, at)
			}
		}
	}
	if is == nil {
		return
	}
	if g.ids == nil {
		g.ids = map[netip.Addr]fabric.NodeID{}
	}
	for _, s := range is.Subnets {
		g.ids[s.Prefix.Addr().Next()] = is.ID
	}
}

// known reports whether an address is that of a peer's bridge.
func (g *gateways) known(a netip.Addr) bool {
	g.mu.RLock()
	defer g.mu.RUnlock()
	_, ok := g.ids[a]
	return ok
}
