package speaker

import (
	"net/netip"
	"testing"

	"github.com/osrg/gobgp/v4/pkg/apiutil"
	packet "github.com/osrg/gobgp/v4/pkg/packet/bgp"

	"github.com/weft-net/weft/backends/bgp"
)

// A session out of a range goes on counting its flaps when it comes back, and
// those who never do cost bounded memory.
func TestFlapsOfASessionOutOfARange(t *testing.T) {
	b := newBoard()
	b.keep(nil, []rangeRow{{prefix: pfx("198.18.0.0/16"), session: bgp.Session{Key: "range/198.18.0.0/16"}}})
	event := func(a netip.Addr, state packet.FSMState) {
		b.event(&apiutil.WatchEventMessage_PeerEvent{
			Type: apiutil.PEER_EVENT_STATE, Peer: apiutil.Peer{State: apiutil.PeerState{NeighborAddress: a, SessionState: state}},
		})
	}
	flap := func(a netip.Addr) {
		event(a, packet.BGP_FSM_ESTABLISHED)
		event(a, packet.BGP_FSM_IDLE)
	}
	first := addr("198.18.0.1")
	for range 3 {
		flap(first)
	}
	event(first, packet.BGP_FSM_ESTABLISHED)
	if got := b.statuses(); len(got) != 1 || got[0].Flaps != 3 || !got[0].Dynamic {
		t.Errorf("%+v, want one dynamic session with 3 flaps", got)
	}
	for i := range 2 * partedMost {
		flap(netip.AddrFrom4([4]byte{198, 18, byte(1 + i>>8), byte(i)}))
	}
	if n := len(b.parted); n != partedMost || len(b.rows) != 1 || len(b.byAddr) != 1 {
		t.Errorf("%d parted sessions, %d rows and %d addresses are kept, want %d, 1 and 1", n, len(b.rows), len(b.byAddr), partedMost)
	}
}
