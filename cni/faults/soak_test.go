package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/ipam"
)

// seedEnv repeats a run: how calls interleave is the machine's, but what each
// worker does follows from it.
const seedEnv = "WEFT_SEED"

// workers call the plugin at the same time, each for the containers that are
// its own: a runtime has one call for a container under way at a time.
const (
	workers           = 32
	containersEach    = 4
	roundsOfShortSoak = 3
)

// Codes of refusals that are right answers (docs/cni.md).
const (
	codeLater    = 11
	codeFull     = 100
	codeInUse    = 106
	codeOutside  = 107
	codeReserved = 108
)

// soak is one random run.
type soak struct {
	*host
	m     *model
	limit atomic.Int64 // ns: kills come within this time
	done  atomic.Int64 // calls
	kills atomic.Int64
	mu    sync.Mutex
	errs  []error
}

// worker is one runtime: what it knows of its containers.
type worker struct {
	*soak
	rng    *rand.Rand
	ids    []string
	pods   map[string]*pod // with a namespace
	unsure map[string]bool // the last call for it was killed
}

// TestSoak has 32 runtimes call the plugin at random: ADD, DEL and requests for
// certain addresses, with kills in between; after each round GC, then the host
// is compared with the model. The long form makes 20 000 calls.
func TestSoak(t *testing.T) { runSoak(t, false) }

// TestSoakWithAgent is the same with what the agent does to the slot files, an
// agent that is restarted again and again, and subnets that drain and come back.
func TestSoakWithAgent(t *testing.T) { runSoak(t, true) }

func runSoak(t *testing.T, agent bool) {
	seed := rand.Uint64()
	if s := os.Getenv(seedEnv); s != "" {
		var err error
		if seed, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d", seedEnv, seed)
	h := newHost(t, "10.1.0.0/26", "10.1.1.0/26", "fd00::/122", "fd00:1::/122")
	s := &soak{host: h, m: newModel(h.node.Subnets)}
	s.limit.Store(int64(20 * time.Millisecond))
	var all []*worker
	for i := range workers {
		w := &worker{soak: s, rng: rand.New(rand.NewPCG(seed, uint64(i))), pods: map[string]*pod{}, unsure: map[string]bool{}}
		for c := range containersEach {
			w.ids = append(w.ids, fmt.Sprintf("w%d-c%d", i, c))
		}
		all = append(all, w)
	}
	rng := rand.New(rand.NewPCG(seed, workers))
	rounds := times(20000/500, roundsOfShortSoak)
	for range rounds {
		calls := times(500, 160)
		s.round(all, calls, agent, rng.Uint64())
		s.judge(all, rng)
	}
	for _, w := range all {
		for _, id := range w.ids {
			h.must(call{command: "DEL", id: id})
		}
	}
	h.want(map[string][]netip.Addr{})
	t.Logf("%d calls, %d killed", s.done.Load(), s.kills.Load())
}

// round lets all workers loose until they have made that many calls.
func (s *soak) round(all []*worker, calls int, agent bool, seed uint64) {
	s.t.Helper()
	var wg, background sync.WaitGroup
	stop := make(chan struct{})
	if agent {
		background.Go(func() { s.note(s.agent(rand.New(rand.NewPCG(seed, 0)), stop)) })
	}
	var left atomic.Int64
	left.Store(int64(calls))
	for _, w := range all {
		wg.Go(func() {
			if err := s.enter(); err != nil {
				s.note(err)
				return
			}
			for left.Add(-1) >= 0 {
				if err := w.step(); err != nil {
					s.note(err)
					return
				}
			}
		})
	}
	wg.Wait() // before the agent: its last passes see what there is
	close(stop)
	background.Wait()
	if err := errors.Join(s.errs...); err != nil {
		s.t.Fatal(err)
	}
}

func (s *soak) note(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.errs = append(s.errs, err)
	}
}

// enter moves the calling goroutine for good to the host's namespace.
func (s *soak) enter() error {
	runtime.LockOSThread()
	return os.NewSyscallError("setns", unix.Setns(s.netns, unix.CLONE_NEWNET))
}

// step makes one random call.
func (w *worker) step() error {
	id := w.ids[w.rng.IntN(len(w.ids))]
	if w.pods[id] == nil {
		p, err := newPod(id)
		if err != nil {
			return err
		}
		w.pods[id] = p
	}
	p := w.pods[id]
	c := add(p)
	var want netip.Addr
	switch n := w.rng.IntN(100); {
	case n < 40:
		c = del(p)
	case n < 43: // the container's namespace goes without a DEL
		p.ns.Close()
		delete(w.pods, id)
		c = call{command: "DEL", id: id}
	case n < 58:
		want = w.someAddress()
		c.args = "IgnoreUnknown=1;IP=" + want.String()
	}
	return w.call(c, want)
}

// someAddress is one of the node's, reserved ones among them.
func (w *worker) someAddress() netip.Addr {
	subnet := w.node.Subnets[w.rng.IntN(len(w.node.Subnets))]
	a := subnet.Addr()
	for range w.rng.IntN(1 << (a.BitLen() - subnet.Bits())) {
		a = a.Next()
	}
	return a
}

// call makes a call, some of which are killed, and tells the model.
func (w *worker) call(c call, want netip.Addr) error {
	var kill func(*os.Process)
	if w.rng.IntN(6) == 0 {
		after := time.Duration(w.rng.Int64N(w.limit.Load()))
		kill = func(p *os.Process) { time.AfterFunc(after, func() { _ = p.Kill() }) }
	}
	f := w.m.begin(c.id, want)
	a, err := w.run(c, kill)
	if err != nil {
		return err
	}
	w.done.Add(1)
	w.unsure[c.id] = a.killed
	switch {
	case a.killed:
		w.kills.Add(1)
	case c.command == "ADD" && a.code == 0:
		w.limit.Store((w.limit.Load()*7 + int64(time.Since(f.began))*5/4) / 8)
		w.m.added(f, a.addrs)
		return nil
	case c.command == "DEL" && a.code == 0:
		w.m.deleted(f)
		return nil
	}
	slots, err := w.slots()
	if err != nil {
		return err
	}
	if !a.killed {
		if err := w.refusal(f, c, a, slots); err != nil {
			return err
		}
	}
	w.m.settled(f, slots, w.pods[c.id] == nil)
	return nil
}

func (s *soak) slots() ([]ipam.Slot, error) {
	files, err := ipam.NewSlots(s.runDir, ipam.Options{})
	if err != nil {
		return nil, err
	}
	return files.List(s.t.Context())
}

// refusal judges a call that failed.
func (w *worker) refusal(f flight, c call, a answer, slots []ipam.Slot) error {
	switch {
	case c.command == "ADD" && a.code == codeFull, c.command == "ADD" && a.code == codeLater:
		w.m.full(f, a)
		return nil
	case f.want.IsValid() && a.code == codeInUse:
		w.m.refused(f, slots)
		return nil
	case f.want.IsValid() && a.code == codeReserved && w.reserved(f.want):
		return nil
	case f.want.IsValid() && a.code == codeOutside:
		w.m.outside(f)
		return nil
	}
	return fmt.Errorf("%s %s %s: %s", c.command, c.id, c.args, a)
}

// reserved reports whether no pod can have an address of the node's subnets.
func (s *soak) reserved(a netip.Addr) bool {
	for _, p := range s.node.Subnets {
		if p.Contains(a) {
			return a == p.Addr() || a == p.Addr().Next() || a.Is4() && !p.Contains(a.Next())
		}
	}
	return true
}

// judge compares the host with the model while nothing is under way: after a DEL
// of what is not known to be whole, and once more after a GC that keeps a part.
func (s *soak) judge(all []*worker, rng *rand.Rand) {
	s.t.Helper()
	for _, w := range all {
		for id, unsure := range w.unsure {
			// A container without a namespace has nothing, whatever the model knows.
			if unsure || w.pods[id] == nil {
				f := s.m.begin(id, netip.Addr{})
				s.must(call{command: "DEL", id: id})
				s.m.deleted(f)
				w.unsure[id] = false
			}
		}
	}
	s.want(s.m.attached())
	var valid []map[string]string
	for who := range s.m.attached() {
		id, _, _ := strings.Cut(who, "/")
		if rng.IntN(4) > 0 {
			valid = append(valid, map[string]string{"containerID": id, "ifname": "eth0"})
			continue
		}
		s.m.deleted(s.m.begin(id, netip.Addr{}))
	}
	s.must(call{command: "GC", conf: map[string]any{"cni.dev/valid-attachments": valid}})
	s.want(s.m.attached())
	s.guarded(s.m.attached())
	if wrong := s.m.judgement(); len(wrong) > 0 || s.t.Failed() {
		s.t.Fatalf("after %d calls: %s", s.done.Load(), strings.Join(wrong, "\n"))
	}
}
