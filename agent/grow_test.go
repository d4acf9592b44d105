package agent

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/cni/plumb"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/store"
)

// growing is a host whose lease grows and shrinks as a session's would, with a
// pool of its own: package store tests the session, lab both together.
type growing struct {
	*grower
	t    *testing.T
	loop *loop
	pool []string // not leased
	want fabric.PerFamily[int]
	back []netip.Prefix // asked to be given back since the last answer
	deaf bool           // etcd is away
	now  time.Time
}

func (h *growing) Want(n fabric.PerFamily[int]) { h.want = n }

func (h *growing) GiveBack(p netip.Prefix) {
	if !slices.Contains(h.back, p) {
		h.back = append(h.back, p)
	}
}

// newGrowing leases 10.244.1.0/28, and fd00:1::/64 if asked to.
func newGrowing(t *testing.T, pool ...string) *growing {
	h := &growing{t: t, loop: testLoop(t), pool: pool, now: time.Unix(1e9, 0)}
	spec := testSpec()
	spec.Addresses = fabric.AddressSpec{MinFree: 10, MaxSubnets: 4, ReturnAfter: fabric.Duration(30 * time.Minute)}
	h.loop.in.now.growth = &growth{}
	h.loop.in.setSnapshot(&fabric.Snapshot{Revision: 1, Spec: spec})
	h.loop.in.setLease(leased("10.244.1.0/28"))
	slots := h.slots()
	h.grower = &grower{log: quiet(), in: h.loop.in, slots: slots, session: h, own: func() []netip.Prefix { return h.loop.summary.Load().own }, clock: func() time.Time { return h.now }}
	return h
}

func (h *growing) slots() *ipam.Slots {
	h.t.Helper()
	slots, err := ipam.NewSlots(h.loop.files.runDir, ipam.Options{InUse: plumb.InUse})
	if err != nil {
		h.t.Fatal(err)
	}
	return slots
}

// settle lets the loop, the grower and the session go on until all rest.
func (h *growing) settle() {
	h.t.Helper()
	for range 30 {
		version := h.loop.in.take().version
		h.loop.round()
		h.round(h.t.Context())
		h.answer()
		h.loop.round()
		if h.loop.in.take().version == version {
			return
		}
	}
	h.t.Fatal("it does not come to rest")
}

// answer does what was asked of the session.
func (h *growing) answer() {
	l := h.loop.in.take().lease
	if l.State != store.Leased || h.deaf {
		return
	}
	had := len(l.Subnets)
	l.Subnets = slices.DeleteFunc(slices.Clone(l.Subnets), func(s fabric.Subnet) bool { return slices.Contains(h.back, s.Prefix) })
	changed := len(l.Subnets) != had
	h.back = nil
	denied := ""
	for len(l.Subnets) < h.want.IPv4 {
		if len(h.pool) == 0 {
			denied = "pool exhausted"
			break
		}
		l.Subnets = append(l.Subnets, leased(h.pool[0]).Subnets...)
		h.pool, changed = h.pool[1:], true
	}
	if changed || l.Denied.IPv4 != denied {
		l.Denied.IPv4 = denied
		h.loop.in.setLease(l)
	}
}

// add gives a pod an address, as the plugin does: by the node file alone.
func (h *growing) add(i int) error {
	_, err := h.slots().Allocate(h.t.Context(), ipam.Claim{Attachment: attachment(i)}, offered(h.t, h.loop.files.runDir))
	return err
}

func attachment(i int) ipam.Attachment {
	return ipam.Attachment{Container: fmt.Sprintf("pod-%d", i), Interface: "eth0"}
}

func (h *growing) addAll(from, to int) {
	h.t.Helper()
	for i := from; i < to; i++ {
		if err := h.add(i); err != nil {
			h.t.Fatalf("pod %d: %v", i, err)
		}
		h.settle()
	}
}

func (h *growing) remove(from, to int) {
	h.t.Helper()
	for i := from; i < to; i++ {
		if _, err := h.slots().Release(h.t.Context(), attachment(i)); err != nil {
			h.t.Fatal(err)
		}
	}
	h.settle()
}

func (h *growing) wantOffered(what string, want ...string) {
	h.t.Helper()
	if got := offered(h.t, h.loop.files.runDir); !slices.Equal(got, prefixes(want...)) {
		h.t.Errorf("%s: offered %v, want %v", what, got, want)
	}
}

func (h *growing) full() string {
	h.t.Helper()
	file, err := nodefile.Read(h.loop.files.runDir)
	if err != nil {
		h.t.Fatal(err)
	}
	return file.Full.IPv4
}

// A node gets further subnets before its addresses run out, as long as there are
// any, and the host has all that it needs for each.
func TestGrow(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28", "10.244.3.0/28")
	h.settle()
	h.wantOffered("at first", "10.244.1.0/28")
	h.addAll(0, 10)
	h.wantOffered("with 3 of 13 free", "10.244.1.0/28")
	h.addAll(10, 11)
	h.wantOffered("with 2 of 13 free", "10.244.1.0/28", "10.244.9.0/28")
	h.addAll(11, 36) // all are taken but three of 39
	h.wantOffered("in the end", "10.244.1.0/28", "10.244.9.0/28", "10.244.3.0/28")
	if full := h.full(); full != "pool exhausted" {
		t.Errorf("full for the reason %q", full)
	}
	addrs, routes := testns.Run(t, "ip", "-4", "-o", "addr", "show", "dev", "weft0"), routes(t)
	for _, p := range []string{"10.244.1.", "10.244.9.", "10.244.3."} {
		if !strings.Contains(addrs, p+"1/28") || !strings.Contains(routes, "blackhole "+p+"0/28") {
			t.Errorf("no gateway or blackhole of %s0/28:\n%s\n%s", p, addrs, routes)
		}
	}
	h.addAll(36, 39)
	if err := h.add(39); err == nil {
		t.Error("an address more than there are")
	}
	h.pool = append(h.pool, "10.244.7.0/28")
	h.settle()
	h.wantOffered("when there is one more", "10.244.1.0/28", "10.244.9.0/28", "10.244.3.0/28", "10.244.7.0/28")
	if full := h.full(); !strings.Contains(full, "spec.addresses.maxSubnets") {
		t.Errorf("full for the reason %q, want that four are the most", full)
	}
	env, err := os.ReadFile(filepath.Join(h.loop.files.runDir, subnetEnv))
	if err != nil || !strings.Contains(string(env), "FLANNEL_SUBNET=10.244.1.1/28\n") || strings.Count(string(env), "SUBNET") != 1 {
		t.Errorf("flannel's file knows the first subnet only: %v\n%s", err, env)
	}
}

// The subnets of a fenced node take no pods, whatever a plugin believes; what was
// being given back stays closed when they are leased again.
func TestFenceClosesSlotFiles(t *testing.T) {
	h := newGrowing(t, "10.244.9.0/28")
	h.settle()
	h.addAll(0, 11)
	before := h.loop.in.take().lease
	h.loop.in.setLease(store.Lease{State: store.Fenced, Reason: "etcd could not be reached"})
	h.settle()
	h.wantOffered("fenced")
	if _, err := h.slots().Allocate(t.Context(), ipam.Claim{Attachment: attachment(99)}, prefixes("10.244.1.0/28", "10.244.9.0/28")); err == nil {
		t.Error("an address of a fenced node's subnets")
	}
	if own := h.loop.summary.Load().own; len(own) != 2 {
		t.Errorf("a fenced node answers for %v: its pods are there", own)
	}
	h.loop.in.setLease(before)
	h.settle()
	h.wantOffered("leased again", "10.244.1.0/28", "10.244.9.0/28")
}

// A subnet that was lost to nobody is kept as long as there is a pod in it.
func TestLostSubnetStaysForItsPods(t *testing.T) {
	h := newGrowing(t)
	h.settle()
	h.addAll(0, 2)
	h.loop.in.setLease(leased("10.244.5.0/28"))
	h.settle()
	h.wantOffered("moved", "10.244.5.0/28")
	if own := h.loop.summary.Load().own; !slices.Equal(own, prefixes("10.244.5.0/28", "10.244.1.0/28")) {
		t.Errorf("with pods in both it answers for %v", own)
	}
	h.remove(0, 2)
	if own := h.loop.summary.Load().own; !slices.Equal(own, prefixes("10.244.5.0/28")) {
		t.Errorf("without it answers for %v", own)
	}
}

// The slot files are open before the node file says that pods can come.
func TestSlotFilesBeforeTheNodeFile(t *testing.T) {
	h := newGrowing(t)
	h.loop.round()
	if s := h.loop.summary.Load(); s.ready {
		t.Error("ready before the slot files are open")
	}
	if _, err := nodefile.Read(h.loop.files.runDir); err == nil {
		t.Error("a node file before the slot files are open")
	}
	h.settle()
	if s := h.loop.summary.Load(); !s.ready {
		t.Errorf("not ready: %v", s.reasons)
	}
}

// stick holds the lock of the slot files, as a plugin does that was stopped.
func (h *growing) stick() (release func()) {
	h.t.Helper()
	dir := filepath.Join(h.loop.files.runDir, "slots")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		h.t.Fatal(err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		h.t.Fatal(err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX); err != nil {
		h.t.Fatal(err)
	}
	return func() { lock.Close() }
}

// impatient is a round that does not wait for the lock.
func (h *growing) impatient() {
	h.t.Helper()
	ctx, cancel := context.WithTimeout(h.t.Context(), 20*time.Millisecond)
	defer cancel()
	if wait := h.round(ctx); wait != openAgain {
		h.t.Errorf("looks again in %v", wait)
	}
	h.loop.round()
}

// A lock that is not released costs patience and is said; what could not be
// opened or closed meanwhile is when it is.
func TestGrowWithAStuckLock(t *testing.T) {
	h := newGrowing(t)
	release := h.stick()
	h.impatient()
	if s := h.loop.summary.Load(); s.ready || !strings.Contains(strings.Join(s.reasons, ";"), "slot files: ") {
		t.Errorf("ready %t, %v", s.ready, s.reasons)
	}
	release()
	h.settle()
	h.wantOffered("when it is released", "10.244.1.0/28")
	release = h.stick()
	h.loop.in.setLease(store.Lease{State: store.Fenced, Reason: "another node has it"})
	h.impatient()
	h.wantOffered("fenced")
	release()
	h.settle()
	if _, err := h.slots().Allocate(t.Context(), ipam.Claim{Attachment: attachment(1)}, prefixes("10.244.1.0/28")); err == nil {
		t.Error("an address of a fenced node's subnet")
	}
}

// The plugin waits for a further subnet where an agent listens.
func TestPluginKnowsTheSocket(t *testing.T) {
	if nodefile.Socket != api.Socket {
		t.Errorf("the plugin looks for the agent at %s, it listens at %s", nodefile.Socket, api.Socket)
	}
}
