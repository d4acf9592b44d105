package cni

import "testing"

// TestRefusedAgain: an ADD that follows another without a DEL and is refused
// leaves nothing of either. (The first one's interface makes way before the
// second has an address.)
func TestRefusedAgain(t *testing.T) {
	w := newWorld(t, "10.1.2.0/24", "fd00::/64")
	p := w.pod("c1")
	w.add(p)
	w.fails(call{command: "ADD", id: p.id, netns: p.netns, env: []string{"CNI_ARGS=IP=10.1.2.1"}}, codeReserved, "10.1.2.1")
	w.clean(p)
}
