package cni

import (
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/ipam"
)

// agentThat listens where an agent does, and does something when a plugin has
// found it: the plugin waits by then.
func (w *world) agentThat(does func()) {
	w.t.Helper()
	l, err := net.Listen("unix", filepath.Join(w.runDir, nodefile.Socket))
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if c, err := l.Accept(); err == nil {
			c.Close()
			does()
		}
	}()
	w.t.Cleanup(func() { l.Close(); <-done })
}

// TestAddWaitsForAFurtherSubnet: a pod is not refused while the agent is about
// to lease a further subnet.
func TestAddWaitsForAFurtherSubnet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	w.add(w.pod("a"))
	next := w.node
	next.Subnets = append(next.Subnets, netip.MustParsePrefix("10.1.3.0/30"))
	w.agentThat(func() {
		if err := next.Write(w.runDir); err != nil {
			t.Error(err)
		}
	})
	p := w.pod("b")
	res, _ := w.addAs(call{command: "ADD", id: p.id, netns: p.netns})
	if got := res.IPs[0].Address.String(); got != "10.1.3.2/30" || res.IPs[0].Gateway.String() != "10.1.3.1" {
		t.Errorf("got %s via %s", got, res.IPs[0].Gateway)
	}
}

// TestAddHearsThatThereIsNoFurtherSubnet: it waits for the reason too.
func TestAddHearsThatThereIsNoFurtherSubnet(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	w.add(w.pod("a"))
	next := w.node
	next.Full.IPv4 = "pool exhausted"
	w.agentThat(func() {
		if err := next.Write(w.runDir); err != nil {
			t.Error(err)
		}
	})
	p := w.pod("b")
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, codeFull, "pool exhausted")
}

// TestAddWaitsForTheFamilyThatIsFull: that there is no more of one family says
// nothing of the other.
func TestAddWaitsForTheFamilyThatIsFull(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30", "fd00:1:0:2::/64")
	w.node.Full.IPv6 = "pool exhausted"
	w.write()
	w.add(w.pod("a"))
	p := w.pod("b")
	c := call{command: "ADD", id: p.id, netns: p.netns}
	w.fails(c, 11, "every address is in use in [10.1.2.0/30]; weftd leases a further subnet")
	w.node.Full.IPv4, w.node.Full.IPv6 = "pool exhausted", ""
	w.write()
	w.fails(c, codeFull, "pool exhausted")
}

// TestAddTakesWhatIsFreedMeanwhile: while it waits for a further subnet another
// pod goes.
func TestAddTakesWhatIsFreedMeanwhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	a, b := w.pod("a"), w.pod("b")
	w.add(a)
	w.agentThat(func() { w.del(a) })
	if res, _ := w.add(b); res.IPs[0].Address.String() != "10.1.2.2/30" {
		t.Errorf("got %s", res.IPs[0].Address.String())
	}
}

// TestAddFollowsASubnetThatMoves: the node file was read before the agent closed
// the subnet, and says by what it was replaced a moment later.
func TestAddFollowsASubnetThatMoves(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	slots, err := ipam.NewSlots(w.runDir, ipam.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := slots.Open(t.Context(), []netip.Prefix{netip.MustParsePrefix("10.1.3.0/30")}); err != nil {
		t.Fatal(err)
	}
	closed := netip.MustParsePrefix("10.1.2.0/30")
	if _, err := slots.Return(t.Context(), closed); err != nil {
		t.Fatal(err)
	}
	p := w.pod("a")
	c := call{command: "ADD", id: p.id, netns: p.netns}
	w.fails(c, 11, "given the subnet up") // no agent: at once
	next := w.node
	next.Subnets = []netip.Prefix{netip.MustParsePrefix("10.1.3.0/30")}
	w.agentThat(func() {
		if err := next.Write(w.runDir); err != nil {
			t.Error(err)
		}
	})
	res, _ := w.addAs(c)
	if got := res.IPs[0].Address.String(); got != "10.1.3.2/30" {
		t.Errorf("got %s", got)
	}
}

// TestAddDoesNotWaitForEver: an agent that does nothing costs patience.
func TestAddDoesNotWaitForEver(t *testing.T) {
	t.Parallel()
	w := newWorld(t, "10.1.2.0/30")
	w.add(w.pod("a"))
	w.agentThat(func() {})
	p := w.pod("b")
	w.fails(call{command: "ADD", id: p.id, netns: p.netns}, 11, "weftd leases a further subnet")
}
