package store

import (
	"net/netip"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// Forty agents that start at once on a pool of exactly forty subnets all get
// one, and an index of their own.
func TestManyStartOnATightPool(t *testing.T) {
	e := newEtcd(t)
	c := e.client()
	put(t, c, keyFabric, fabricValue("10.244.0.0/24", 30, "1h", "15s"))
	// 64 subnets less these 24 are 40
	for i := range 24 {
		put(t, c, subnetKey(netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, 0, byte(4 * i)}), 30)), `{"for":"somebody-else"}`)
	}
	var agents []*agent
	for i := range 40 {
		agents = append(agents, startAgent(t, []string{e.url}, testNode(i)))
	}
	indexes := map[uint32]bool{}
	subnets := map[netip.Prefix]bool{}
	for _, a := range agents {
		l := a.waitState(Leased)
		indexes[l.Index] = true
		for _, s := range l.Subnets {
			subnets[s.Prefix] = true
		}
	}
	if len(indexes) != 40 || len(subnets) != 40 {
		t.Errorf("%d indexes and %d subnets for 40 nodes", len(indexes), len(subnets))
	}
	agents[0].waitSnap("all peers to be there", func(s *fabric.Snapshot) bool { return len(s.Peers) == 40 && len(s.Problems) == 0 })
}
