package store

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/weft-net/weft/fabric"
)

// five starts five agents that know each other.
func five(t *testing.T, url string, opts ...agentOption) []*agent {
	t.Helper()
	var agents []*agent
	for i := range 5 {
		agents = append(agents, startAgent(t, []string{url}, testNode(i), opts...))
	}
	for _, a := range agents {
		a.waitSnap("five whole peers", fiveWhole)
		a.waitState(Leased)
	}
	return agents
}

func fiveWhole(s *fabric.Snapshot) bool {
	whole := len(s.Peers) == 5
	for _, p := range s.Peers {
		whole = whole && p.Alive && !p.Held && len(p.Subnets) == 1
	}
	return whole
}

// neverLost fails if a snapshot since the fabric was whole lacked a peer other
// than the agent itself, or if the agent's share changed.
func (a *agent) neverLost(share Lease) {
	a.t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := false
	for _, s := range a.snaps {
		if !whole {
			whole = fiveWhole(s)
			continue
		}
		for i := range 5 {
			n := testNode(i)
			if p := s.Peer(n.ID); n.ID != a.ss.opt.Self.ID && (p == nil || len(p.Subnets) != 1) {
				a.t.Errorf("%s lost %s for a time: %s", a.ss.opt.Self.Name, n.Name, describe(s))
			}
		}
	}
	if !equalLease(a.lease, share) || a.leases[len(a.leases)-1].State == Fenced {
		a.t.Errorf("%s has %+v, had %+v", a.ss.opt.Self.Name, a.lease, share)
	}
}

func shares(agents []*agent) (out []Lease) {
	for _, a := range agents {
		_, l := a.now()
		out = append(out, l)
	}
	return out
}

// A wipe of the prefix removes no peer anywhere; all records come back.
func TestWipe(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := five(t, e.url)
	before := shares(agents)
	del(t, c, "", clientv3.WithPrefix())
	rev := put(t, c, "marker", "")
	for i, a := range agents {
		a.waitSnap("all records to come back", func(s *fabric.Snapshot) bool {
			return s.Revision >= rev && fiveWhole(s) && s.Hold == nil && s.SpecRev == 0 && s.Spec != nil
		})
		a.neverLost(before[i])
	}
	put(t, c, keyFabric, fabricValue("10.244.0.0/16", 24, "1h", "15s"))
	agents[0].waitSnap("the Fabric object", func(s *fabric.Snapshot) bool { return s.SpecRev > 0 && len(s.Problems) == 0 })
}

// What does not come back after a wipe stays until the operator says so.
func TestWipeWithADeadNode(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := five(t, e.url)
	agents[4].stop()
	del(t, c, "", clientv3.WithPrefix())
	a := agents[0]
	a.waitSnap("four to be back, one to be held", func(s *fabric.Snapshot) bool {
		p := s.Peer("id-node-4")
		return s.Hold != nil && s.Hold.Peers == 1 && p != nil && p.Held && !p.Alive && len(s.Peers) == 5
	})
	if n := strings.Count(a.logs.String(), "mass disappearance held back"); n != 1 {
		t.Errorf("the hold was logged %d times", n)
	}
	a.ss.ReleaseHold()
	a.waitSnap("it to be gone", func(s *fabric.Snapshot) bool { return s.Hold == nil && len(s.Peers) == 4 })
}

// A rack that is taken out with `weft node remove` is gone at once, however
// many nodes it had: each leaves a mark that it was meant.
func TestRemoveManyNodes(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "2s")
	agents := five(t, e.url)
	for _, a := range agents[1:] {
		a.stop()
	}
	st := operator(t, e)
	for i := range 4 {
		name := testNode(i + 1).Name
		eventually(t, name+" to be removed", func() error { return st.RemoveNode(context.Background(), name) })
	}
	s := agents[0].waitSnap("four nodes to be gone", func(s *fabric.Snapshot) bool { return len(s.Peers) == 1 || s.Hold != nil })
	if s.Hold != nil {
		t.Errorf("held: %s", describe(s))
	}
}

// restore replaces the server's data by a snapshot's, as an operator would.
func (e *etcdServer) restore(snapshot string) {
	e.t.Helper()
	must(e.t, os.RemoveAll(e.dir))
	cmd := exec.Command("etcdctl", "snapshot", "restore", snapshot, "--data-dir", e.dir, "--name", "one",
		"--initial-cluster", "one="+e.peer, "--initial-advertise-peer-urls", e.peer)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("etcdctl snapshot restore: %v\n%s", err, out)
	}
}

func (e *etcdServer) save() string {
	e.t.Helper()
	file := filepath.Join(filepath.Dir(e.dir), "backup.db")
	cmd := exec.Command("etcdctl", "--endpoints", e.url, "snapshot", "save", file)
	cmd.Env = append(os.Environ(), "ETCDCTL_API=3")
	if out, err := cmd.CombinedOutput(); err != nil {
		e.t.Fatalf("etcdctl snapshot save: %v\n%s", err, out)
	}
	return file
}

// etcd is restored from a copy that is older than most nodes: its revision
// runs backwards, its cluster id stays. All nodes put their records back.
func TestRestoreFromAnOlderCopy(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	ghost := testNode(50)
	ghost.Index = 51
	put(t, c, nodeKey(ghost.Name), encodeJSON(ghost))
	backup := e.save()
	del(t, c, nodeKey(ghost.Name))
	agents := five(t, e.url)
	before := shares(agents)
	for i := range 30 {
		put(t, c, "noise", fmt.Sprint(i))
	}
	e.stop()
	e.restore(backup)
	e.start()
	c = e.client()
	for i, a := range agents {
		a.waitSnap("the restored history, and all records back", func(s *fabric.Snapshot) bool {
			return len(s.Peers) == 6 && s.Peer(ghost.ID) != nil && s.Hold == nil && allShares(s, before)
		})
		a.neverLost(before[i])
	}
	resp, err := c.Get(context.Background(), testPrefix+dirNodes, clientv3.WithPrefix(), clientv3.WithCountOnly())
	must(t, err)
	if resp.Count != 6 {
		t.Errorf("%d node records, want 6", resp.Count)
	}
}

// The restored etcd has been written to, beyond the revision that the agents
// saw, before they reach it: only its content tells that it is another history.
func TestRestoreThatRanAhead(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	ghost := testNode(50)
	ghost.Index = 51
	put(t, c, nodeKey(ghost.Name), encodeJSON(ghost))
	backup := e.save()
	del(t, c, nodeKey(ghost.Name))
	relay := newRelay(t, e.url)
	agents := five(t, relay.url)
	before := shares(agents)
	relay.cut()
	e.stop()
	e.restore(backup)
	e.start()
	c = e.client()
	for i := range 60 {
		put(t, c, "noise", fmt.Sprint(i))
	}
	relay.mend()
	for i, a := range agents {
		a.waitSnap("the restored history, and all records back", func(s *fabric.Snapshot) bool {
			return len(s.Peers) == 6 && s.Peer(ghost.ID) != nil && s.Hold == nil && allShares(s, before)
		})
		a.neverLost(before[i])
	}
}

func allShares(s *fabric.Snapshot, leases []Lease) bool {
	for i, l := range leases {
		p := s.Peer(testNode(i).ID)
		if p == nil || p.Held || len(p.Subnets) != 1 || p.Subnets[0].Prefix != l.Subnets[0].Prefix || p.Index != l.Index {
			return false
		}
	}
	return true
}

// Another, empty etcd at the same address is not "no peers".
func TestEmptyEtcd(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := five(t, e.url)
	before := shares(agents)
	e.stop()
	must(t, os.RemoveAll(e.dir))
	e.args = append(e.args, "--initial-cluster-token", "another")
	e.start()
	for i, a := range agents {
		a.waitSnap("all records to be put into the new etcd", func(s *fabric.Snapshot) bool {
			return s.SpecRev == 0 && fiveWhole(s) && s.Hold == nil && allShares(s, before)
		})
		a.neverLost(before[i])
	}
}

// etcd is stopped and started again: the watch goes on, nothing is listed.
func TestEtcdRestart(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := five(t, e.url)
	before := shares(agents)
	e.stop()
	eventually(t, "the outage to be noticed", func() error {
		if s := agents[0].ss.Etcd(); s.Connected || !strings.Contains(s.Error, "refused") {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	e.start()
	c := e.client()
	n := testNode(77)
	n.Index = 78
	put(t, c, nodeKey(n.Name), encodeJSON(n))
	for i, a := range agents {
		a.waitSnap("what is new", func(s *fabric.Snapshot) bool { return s.Peer(n.ID) != nil })
		a.neverLost(before[i])
	}
}

// While the watch is down, what it missed is compacted away: list again.
func TestCompaction(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	relay := newRelay(t, e.url)
	agents := five(t, relay.url)
	before := shares(agents)
	relay.cut()
	n := testNode(77)
	n.Index = 78
	put(t, c, nodeKey(n.Name), encodeJSON(n))
	rev := put(t, c, nodeKey("garbage"), "x")
	_, err := c.Compact(context.Background(), rev)
	must(t, err)
	relay.mend()
	for i, a := range agents {
		a.waitSnap("what it missed", func(s *fabric.Snapshot) bool { return s.Peer(n.ID) != nil && len(s.Problems) == 1 })
		a.neverLost(before[i])
	}
}

// A frozen etcd is noticed, and nothing is lost when it thaws.
func TestFrozenEtcd(t *testing.T) {
	t.Parallel()
	e, _ := fabricWith(t, "10.244.0.0/16", 24, "1h", "4s")
	agents := five(t, e.url)
	before := shares(agents)
	e.signal(syscall.SIGSTOP)
	eventually(t, "the silence to be noticed", func() error {
		if s := agents[0].ss.Etcd(); s.Connected {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	e.signal(syscall.SIGCONT)
	for i, a := range agents {
		a.waitSnap("a whole fabric", fiveWhole)
		a.neverLost(before[i])
	}
}

// A node that is cut off longer than its subnet's lease lives must not act as
// the owner any more; it gets its subnet back while nobody took it.
func TestFencedByTime(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "4s", "2s")
	relay := newRelay(t, e.url)
	a := startAgent(t, []string{relay.url}, testNode(1))
	before := a.waitState(Leased)
	relay.cut()
	if l := a.waitState(Fenced); len(l.Subnets) != 0 || !strings.Contains(l.Reason, "4s") {
		t.Errorf("fenced as %+v", l)
	}
	eventually(t, "the subnet to expire", func() error {
		resp, err := c.Get(context.Background(), testPrefix+dirSubnets, clientv3.WithPrefix())
		if err == nil && len(resp.Kvs) > 0 {
			err = fmt.Errorf("%s", resp.Kvs[0].Key)
		}
		return err
	})
	relay.mend()
	if l := a.waitState(Leased); subnetsOf(l) != subnetsOf(before) || l.Subnets[0].Epoch != before.Subnets[0].Epoch+1 {
		t.Errorf("after the partition %+v, before %+v", l, before)
	}
}

// Garbage of every sort under the prefix of a running fabric costs nothing but
// the problems it makes; a peer that claims what is ours loses.
func TestGarbageInARunningFabric(t *testing.T) {
	t.Parallel()
	e, c := fabricWith(t, "10.244.0.0/16", 24, "1h", "15s")
	agents := five(t, e.url)
	before := shares(agents)
	thief := testNode(0)
	thief.Name, thief.ID, thief.Index = "thief", "id-thief", 66
	put(t, c, nodeKey("thief"), encodeJSON(thief)) // our MAC and address
	mine := before[0].Subnets[0].Prefix
	put(t, c, subnetKey(netip.PrefixFrom(mine.Addr(), 25)), `{"owner":"id-nobody"}`)
	put(t, c, subnetKey(netip.PrefixFrom(mine.Addr(), 26)), `{"owner":"id-node-1"}`) // which node-1 gives back
	for _, k := range []string{"nodes/", "nodes/\xff\xfe", "nodes/a/b", "subnets/ipv4/x", "subnets/ipv9/y", "alive/", "nodes/zzz"} {
		put(t, c, k, "\x00garbage")
	}
	put(t, c, "something/else", "is not ours")
	for i, a := range agents {
		a.waitSnap("nine problems and five peers", func(s *fabric.Snapshot) bool { return len(s.Problems) == 9 && fiveWhole(s) })
		a.neverLost(before[i])
	}
}
