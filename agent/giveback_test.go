package agent

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
)

// A further subnet goes back once it had no pod for long enough, and with it all
// that the host had for it.
func TestGiveBack(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28")
	h.settle()
	h.addAll(0, 11)
	h.remove(0, 11)
	h.wantOffered("at once", "10.244.1.0/28", "10.244.9.0/28")
	h.now = h.now.Add(30*time.Minute - time.Second)
	if wait := h.round(t.Context()); wait != time.Second {
		t.Errorf("a second before its time it would look again in %v", wait)
	}
	h.wantOffered("a second before its time", "10.244.1.0/28", "10.244.9.0/28")
	h.addAll(0, 1)
	h.now = h.now.Add(time.Second)
	h.settle()
	h.wantOffered("in time", "10.244.1.0/28")
	if l := h.loop.in.take().lease; len(l.Subnets) != 1 || l.Subnets[0].Prefix.String() != "10.244.1.0/28" {
		t.Errorf("leased %v", l.Subnets)
	}
	if own := h.loop.summary.Load().own; len(own) != 1 || strings.Contains(routes(t)+testns.Run(t, "ip", "addr", "show", "dev", "weft0"), "10.244.9.") {
		t.Errorf("it answers for %v, with\n%s", own, routes(t))
	}
	// A plugin that was frozen with the old node file gets nothing of it.
	if _, err := h.slots().Allocate(t.Context(), ipam.Claim{Attachment: attachment(99)}, prefixes("10.244.9.0/28")); err == nil {
		t.Error("an address of a subnet that was given back")
	}
	h.pool = []string{"10.244.9.0/28"} // the same, leased anew
	h.addAll(1, 14)
	h.wantOffered("when it is needed again", "10.244.1.0/28", "10.244.9.0/28")
}

// While etcd is away, what is being given back stays this node's: it is routed,
// and takes no pods.
func TestGiveBackWhileEtcdIsAway(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28")
	h.settle()
	h.addAll(0, 11)
	h.remove(0, 11)
	h.deaf, h.now = true, h.now.Add(time.Hour)
	h.settle()
	h.wantOffered("etcd is away", "10.244.1.0/28")
	h.addAll(0, 13)
	if err := h.add(13); err == nil {
		t.Error("an address of a subnet that is being given back")
	}
	h.wantOffered("and addresses run out", "10.244.1.0/28")
	if own := h.loop.summary.Load().own; len(own) != 2 {
		t.Errorf("it answers for %v", own)
	}
	h.deaf = false
	h.settle()
	h.wantOffered("etcd is back", "10.244.1.0/28")
	h.pool = []string{"10.244.9.0/28"}
	h.settle()
	h.wantOffered("and it is leased anew", "10.244.1.0/28", "10.244.9.0/28")
}

// A subnet in which an address rests is kept until others have forgotten it.
func TestGiveBackWaits(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28")
	h.settle()
	h.addAll(0, 14)
	h.remove(0, 14) // one of them in 10.244.9.0/28
	h.now = h.now.Add(time.Hour)
	if wait := h.round(t.Context()); wait != ipam.Quarantine {
		t.Errorf("looks again in %v", wait)
	}
	h.settle()
	h.wantOffered("while an address rests", "10.244.1.0/28", "10.244.9.0/28")
}

// A subnet stays if the kernel shows a pod in it that its slot file does not know.
func TestGiveBackSparesAPodOfALostFile(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28")
	h.settle()
	h.addAll(0, 11) // a second subnet is leased, and not used yet
	h.settle()
	h.remove(0, 11)
	name := attachment(99).HostInterface()
	testns.Run(t, "ip", "link", "add", name, "type", "bridge")
	testns.Run(t, "ip", "link", "set", name, "alias", fmt.Sprintf("weft-pod %s %s 10.244.9.5", attachment(99).Container, attachment(99).Interface))
	h.now = h.now.Add(time.Hour)
	h.round(t.Context())
	h.settle()
	h.wantOffered("with a pod in it", "10.244.1.0/28", "10.244.9.0/28")
	testns.Run(t, "ip", "link", "del", name)
	for range 2 { // it counts as unused from now on
		h.round(t.Context())
		h.now = h.now.Add(time.Hour)
	}
	h.settle()
	h.wantOffered("with none", "10.244.1.0/28")
}
