package agent

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/weft-net/weft/backends/paths"
	"github.com/weft-net/weft/fabric"
)

// Whatever comes in whatever order, a restart ends up with what is there when
// things have settled.
func TestRandomLivesSettle(t *testing.T) {
	l, from, prober, clock := anyPath(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 2))
	peers, announced := map[int]*fabric.Peer{}, map[int]bool{}
	for step := range 80 {
		for range 1 + rng.IntN(4) {
			i := 2 + rng.IntN(12)
			switch rng.IntN(6) {
			case 0:
				delete(peers, i)
			case 1:
				l.in.setDown(fabric.NodeID(fmt.Sprintf("peer-%03d", i)), rng.IntN(2) == 0)
			case 2:
				from.up = !from.up
			case 3, 4:
				via := []string{"198.18.1.1", "198.18.2.1"}[:rng.IntN(3)]
				announced[i] = len(via) > 0
				from.say(fmt.Sprintf("10.244.%d.0/24", i), via...)
			default:
				peers[i] = testPeer(i, fmt.Sprintf("198.18.%d.%d", []int{1, 9}[rng.IntN(2)], 20+i))
			}
		}
		var list []*fabric.Peer
		for i := 2; i < 14; i++ {
			if peers[i] != nil {
				p := *peers[i]
				p.Receives = p.Receives[:2:2]
				peers[i] = &p
				list = append(list, &p)
			}
		}
		l.in.setSnapshot(anyPathSnapshot(list...))
		clock.pass(time.Duration(rng.IntN(20)) * time.Second)
		if s := l.round1(t); !s.report.InSync {
			t.Fatalf("step %d: %v", step, s.reasons)
		}
		if step%10 != 9 {
			continue
		}
		from.up = true
		l.roundWant(t, true)
		for range 3 { // of doubtful ways too
			clock.pass(paths.MostStable)
			l.roundWant(t, true)
		}
		other := &told{up: true, status: from.status, changes: from.said, said: from.said, synced: from.synced}
		again := anotherRouting(t, t.TempDir(), other)
		watch(again, clock, prober)
		again.in.now = l.in.take()
		if s := again.roundWant(t, true); s.writes != 0 {
			t.Fatalf("step %d: a fresh start writes %d messages\n%s\n%s", step, s.writes, l.pathsOf(t), again.pathsOf(t))
		}
		l.in.setSnapshot(anyPathSnapshot(list...))
	}
}
