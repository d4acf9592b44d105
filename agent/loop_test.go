package agent

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weft-net/weft/backends"
	"github.com/weft-net/weft/backends/vxlan"
	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/config"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/kernel"
	"github.com/weft-net/weft/store"
)

// testLoop is a loop over the real kernel in a namespace of its own, with an
// uplink and a lease. Rounds are called by hand.
func testLoop(t *testing.T) *loop {
	t.Helper()
	testns.New(t)
	for _, line := range []string{
		"link add eth0 type veth peer name far0", "link set eth0 up", "link set far0 up", "addr add 198.18.0.1/24 dev eth0",
		"route add default via 198.18.0.254",
	} {
		testns.Run(t, "ip", strings.Fields(line)...)
	}
	l := anotherLoop(t, t.TempDir())
	u, err := kernel.FindUnderlay(kernel.UnderlayQuery{})
	l.in.setUnderlay(u, err)
	l.in.setLease(leased("10.244.1.0/24"))
	return l
}

// anotherLoop is what a restarted agent would have in the same namespace.
func anotherLoop(t *testing.T, runDir string) *loop {
	t.Helper()
	host, err := kernel.Open(kernel.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { host.Close() })
	return &loop{
		log: quiet(), host: host, in: newInbox(), repaired: map[string]uint64{}, asks: make(chan func()),
		files: &nodeFiles{node: "a", runDir: runDir, cni: config.CNI{ConfDir: filepath.Join(runDir, "net.d"), Write: true}},
		want:  wanted{host: host, ways: newWays(fabric.Node{Name: "self", ID: "self"}), input: backends.Input{Self: "self", Subnets: earlierSubnets(runDir)}},
	}
}

func (l *loop) roundWant(t *testing.T, ready bool) *summary {
	t.Helper()
	l.round()
	s := l.summary.Load()
	if s.ready != ready {
		t.Fatalf("ready %t, want %t; reasons %v", s.ready, ready, s.reasons)
	}
	return s
}

func testSpec() *fabric.Spec {
	s := &fabric.Spec{Backend: "vxlan", VXLAN: fabric.VXLANSpec{VNI: 1, Port: 4789, DirectRouting: true}}
	s.Network.IPv4 = netip.MustParsePrefix("10.244.0.0/16")
	return s
}

func testPeer(i int, underlay string) *fabric.Peer {
	id := fabric.NodeID(fmt.Sprintf("peer-%03d", i))
	p := &fabric.Peer{Alive: true, Node: fabric.Node{
		Name: string(id), ID: id, Index: uint32(i), MTU: 1500, VTEPMAC: vxlan.VTEPMAC(id), Receives: receives(nil),
	}}
	p.Underlay.IPv4 = netip.MustParseAddr(underlay)
	p.Subnets = []fabric.Subnet{{Prefix: netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(i), 0}), 24), Owner: id}}
	return p
}

func snapshotOf(peers ...*fabric.Peer) *fabric.Snapshot {
	return &fabric.Snapshot{Revision: 1, Spec: testSpec(), Peers: peers}
}

func routes(t *testing.T) string { return testns.Run(t, "ip", "route", "show", "proto", "158") }

func TestReadyOnlyWhileTheKernelHoldsWhatItShould(t *testing.T) {
	l := testLoop(t)
	l.roundWant(t, false)
	foreign := []string{"10.244.2.0/24", "via", "198.18.0.77", "metric", "158", "proto", "static"}
	testns.Run(t, "ip", append([]string{"route", "add"}, foreign...)...)
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.2"), testPeer(3, "198.18.0.3")))
	s := l.roundWant(t, false)
	if len(s.report.Conflicts) != 1 || !strings.Contains(routes(t), "10.244.3.0/24") {
		t.Errorf("conflicts %v, routes\n%s\nwant one conflict and the other peer in place", s.report.Conflicts, routes(t))
	}
	if s.desired != 2 || s.lacking != 1 {
		t.Errorf("%d of %d peers lacking, want 1 of 2", s.lacking, s.desired)
	}
	for _, p := range l.peers() {
		if want := p.Name != "peer-002"; p.Programmed != want {
			t.Errorf("%s: programmed %t, want %t (%s)", p.Name, p.Programmed, want, p.Reason)
		}
	}
	testns.Run(t, "ip", append([]string{"route", "del"}, foreign...)...)
	l.roundWant(t, true)
	testns.Run(t, "ip", "route", "del", "10.244.3.0/24")
	if s := l.roundWant(t, true); s.repaired["route"] != 1 {
		t.Errorf("repaired %v, want one route", s.repaired)
	}
}

func TestMissingInformationRemovesNothing(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.2")))
	l.roundWant(t, true)
	before := routes(t)
	l.in.setSnapshot(&fabric.Snapshot{Revision: 2})
	l.roundWant(t, false)
	l.in.setLease(store.Lease{State: store.Waiting, Reason: "etcd is away"})
	l.roundWant(t, false)
	l.in.setUnderlay(kernel.Underlay{}, kernel.ErrNoUnderlay)
	l.roundWant(t, false)
	if after := routes(t); after != before || before == "" {
		t.Errorf("before\n%safter\n%s", before, after)
	}
	file, err := nodefile.Read(l.files.runDir)
	if err != nil || len(file.Draining) != 0 {
		t.Errorf("node file %+v, %v: want it as it was while nothing is known of the lease", file, err)
	}
}

// A restarted agent that has the list but not yet its lease must neither take
// the bridge's address away nor keep pods from being attached.
func TestRestartBeforeTheLeaseIsKnown(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.2")))
	l.roundWant(t, true)
	again := anotherLoop(t, l.files.runDir)
	again.in.now = l.in.take()
	again.in.setLease(store.Lease{State: store.Waiting})
	if s := again.roundWant(t, false); s.writes != 0 {
		t.Errorf("%d messages written before the lease is known", s.writes)
	}
	again.in.setLease(leased("10.244.1.0/24"))
	if s := again.roundWant(t, true); s.writes != 0 {
		t.Errorf("%d messages written when the lease is what it was", s.writes)
	}
	again.in.setLease(store.Lease{State: store.Fenced, Reason: "another node has it"})
	again.roundWant(t, false)
	if file, err := nodefile.Read(l.files.runDir); err != nil || len(file.Draining) != 1 {
		t.Errorf("node file %+v, %v: want no new pods while fenced", file, err)
	}
	if out := testns.Run(t, "ip", "addr", "show", "dev", "weft0"); !strings.Contains(out, "10.244.1.1/24") {
		t.Errorf("the pods' gateway is gone:\n%s", out)
	}
}

// A lease that comes after the peers costs the peers nothing.
func TestLeaseAfterPeers(t *testing.T) {
	l := testLoop(t)
	l.in.setLease(store.Lease{State: store.Waiting})
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.2"), testPeer(3, "198.18.9.3")))
	before := l.roundWant(t, false).writes
	if !strings.Contains(routes(t), "10.244.2.0/24") {
		t.Errorf("peers wait for the lease:\n%s", routes(t))
	}
	l.in.setLease(leased("10.244.1.0/24"))
	after := l.roundWant(t, true).writes
	if after-before != 3 { // two addresses and the blackhole
		t.Errorf("the lease cost %d messages, want 3", after-before)
	}
	again := anotherLoop(t, t.TempDir())
	again.in.now = l.in.take()
	if s := again.roundWant(t, true); s.writes != 0 {
		t.Errorf("a fresh start writes %d messages", s.writes)
	}
}

func TestRestartWritesNothing(t *testing.T) {
	l := testLoop(t)
	snapshot := snapshotOf(testPeer(2, "198.18.0.2"), testPeer(3, "198.18.9.3"))
	l.in.setSnapshot(snapshot)
	if s := l.roundWant(t, true); s.writes == 0 {
		t.Fatal("nothing was programmed")
	}
	again := anotherLoop(t, l.files.runDir)
	again.in.now = l.in.take()
	if s := again.roundWant(t, true); s.writes != 0 {
		t.Errorf("a restart wrote %d messages", s.writes)
	}
}

func TestDownPeerAnswersUnreachable(t *testing.T) {
	l := testLoop(t)
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.9.2")))
	l.roundWant(t, true)
	l.in.setDown("peer-002", true)
	l.roundWant(t, true)
	if r := routes(t); !strings.Contains(r, "unreachable 10.244.2.0/24") {
		t.Errorf("routes\n%s\nwant unreachable", r)
	}
	l.in.setDown("peer-002", false)
	l.roundWant(t, true)
	if r := routes(t); !strings.Contains(r, "10.244.2.0/24 nhid") {
		t.Errorf("routes\n%s\nwant the nexthop back", r)
	}
}

// Whatever order changes come in, the kernel must end up as if an agent had
// started with the last snapshot.
func TestIncrementsAddUpToTheWhole(t *testing.T) {
	l := testLoop(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 1))
	peers := map[int]*fabric.Peer{}
	for step := range 60 {
		for range 1 + rng.IntN(4) {
			i := 2 + rng.IntN(20)
			switch rng.IntN(4) {
			case 0:
				delete(peers, i)
			case 1:
				l.in.setDown(fabric.NodeID(fmt.Sprintf("peer-%03d", i)), rng.IntN(2) == 0)
			default:
				peers[i] = testPeer(i, fmt.Sprintf("198.18.%d.%d", rng.IntN(2), 10+i))
			}
		}
		var list []*fabric.Peer
		for i := 2; i < 22; i++ {
			if peers[i] != nil {
				list = append(list, peers[i])
			}
		}
		l.in.setSnapshot(snapshotOf(list...))
		l.roundWant(t, true)
		if step%10 != 9 {
			continue
		}
		again := anotherLoop(t, t.TempDir())
		again.in.now = l.in.take()
		if s := again.roundWant(t, true); s.writes != 0 {
			t.Fatalf("step %d: a fresh start writes %d messages", step, s.writes)
		}
	}
}

func TestNodeFiles(t *testing.T) {
	l := testLoop(t)
	l.in.setLease(store.Lease{State: store.Exhausted, Reason: "no subnet is free"})
	l.in.setSnapshot(snapshotOf())
	l.roundWant(t, false)
	if _, err := os.Stat(l.files.cni.ConfDir); !os.IsNotExist(err) {
		t.Errorf("runtimes are told to send pods to a node without a subnet: %v", err)
	}
	l.in.setLease(leased("10.244.1.0/24"))
	l.roundWant(t, true)
	file, err := nodefile.Read(l.files.runDir)
	if err != nil {
		t.Fatal(err)
	}
	if file.MTU != 1450 || file.Bridge != "weft0" || len(file.Subnets) != 1 || len(file.Draining) != 0 {
		t.Errorf("node file %+v", file)
	}
	for _, path := range []string{filepath.Join(l.files.runDir, subnetEnv), filepath.Join(l.files.cni.ConfDir, "10-weft.conflist")} {
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		l.files.forget() // as an audit does
		l.roundWant(t, true)
		if _, err := os.Stat(path); err != nil {
			t.Errorf("not put back: %v", err)
		}
	}
}

// Kicks that come while something fails must not push the next try away.
func TestABurstOfNewsDoesNotDelayTheRetry(t *testing.T) {
	l := &loop{}
	l.summary.Store(&summary{})
	retry := time.NewTimer(time.Hour)
	defer retry.Stop()
	for range 20 {
		l.schedule(retry, false)
	}
	if l.retry != retryFirst {
		t.Errorf("after a burst the delay is %v, want %v", l.retry, retryFirst)
	}
	for range 20 {
		l.schedule(retry, true)
	}
	if l.retry != retryMost {
		t.Errorf("after many tries the delay is %v, want %v", l.retry, retryMost)
	}
	l.summary.Store(&summary{ready: true})
	l.schedule(retry, true)
	if l.retry != 0 {
		t.Errorf("the delay of a node that is ready is %v", l.retry)
	}
}
