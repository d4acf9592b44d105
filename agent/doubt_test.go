package agent

import (
	"net/netip"
	"testing"
	"time"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/internal/testns"
)

// A switch that boots has its link up before it forwards: its stale routes are
// used again when its session is back, and at once where only the link flapped.
func TestASwitchThatBootsIsNotUsed(t *testing.T) {
	l, from := twoUplinks(t)
	from.synced.IPv4 = true
	from.tors = []bgp.SessionStatus{
		{Key: "tors/198.18.1.1", Address: netip.MustParseAddr("198.18.1.1"), State: bgp.Established, Since: time.Now()},
		{Key: "tors/198.18.2.1", Address: netip.MustParseAddr("198.18.2.1"), State: bgp.Established, Since: time.Now()},
	}
	// 198.18.2.7 stands for a next hop of the switch's that is not the session's.
	from.say("10.244.2.0/24", "198.18.1.1", "198.18.2.1")
	from.say("10.244.3.0/24", "198.18.1.1", "198.18.2.7")
	l.roundWant(t, true)
	use := func(prefix string) string {
		text, _ := l.want.learnt.hops(netip.MustParsePrefix(prefix))
		return text
	}
	const both, others, one = "via 198.18.1.1 on eth1, 198.18.2.1 on eth2", "via 198.18.1.1 on eth1, 198.18.2.7 on eth2", "via 198.18.1.1 on eth1"
	link := func(state string) {
		testns.Run(t, "ip", "link", "set", "far2", state) // its carrier
		poll(t, l, func() bool {
			hops, err := l.host.Reach([]netip.Addr{from.tors[1].Address})
			return err == nil && (len(hops[from.tors[1].Address]) > 0 && hops[from.tors[1].Address][0].Link == "eth2") == (state == "up")
		})
		l.round()
	}
	want := func(when, first, second string) {
		t.Helper()
		if use("10.244.2.0/24") != first || use("10.244.3.0/24") != second {
			t.Errorf("%s: %q and %q, want %q and %q", when, use("10.244.2.0/24"), use("10.244.3.0/24"), first, second)
		}
	}
	want("at first", both, others)
	link("down")
	link("up")
	want("after a flap that the session outlived", both, others)
	link("down")
	from.tors[1].State, from.tors[1].Restarting = "active", true
	link("up")
	want("while the switch boots", one, one)
	from.tors[1].State, from.tors[1].Restarting, from.tors[1].Since = bgp.Established, false, time.Now()
	l.round()
	want("when its session is back", both, others)
	from.tors[1].State, from.tors[1].Restarting = "active", true // its daemon alone
	l.round()
	want("while only its daemon restarts", both, others)
}
