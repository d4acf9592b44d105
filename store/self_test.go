package store

import (
	"slices"
	"testing"

	"github.com/weft-net/weft/fabric"
)

// What a node says of itself because of the fabric is not unsaid by its restart.
func TestRestartUnsaysNothing(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	b := startAgent(t, []string{e.url}, testNode(2))
	b.waitState(Leased)
	for life := range 2 {
		var a *agent
		ready := make(chan struct{})
		a = startAgent(t, []string{e.url}, testNode(1), func(_ *Config, o *SessionOptions) {
			was := o.Snapshots
			o.Snapshots = func(s *fabric.Snapshot) {
				<-ready
				n := testNode(1)
				n.Receives = append(n.Receives, fabric.PathBGP)
				a.ss.SetSelf(n)
				was(s)
			}
		})
		close(ready)
		a.waitState(Leased)
		b.waitSnap("the node", func(s *fabric.Snapshot) bool { return s.Peer("id-node-1") != nil })
		b.mu.Lock()
		seen := slices.Clone(b.snaps)
		b.mu.Unlock()
		for _, s := range seen {
			if p := s.Peer("id-node-1"); p != nil && !p.CanReceive(fabric.PathBGP) {
				t.Fatalf("life %d: a record says that it receives %v", life, p.Receives)
			}
		}
		a.stop()
	}
}
