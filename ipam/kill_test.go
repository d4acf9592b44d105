package ipam

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// The test binary is started again as a worker by these.
const (
	workerEnv = "WEFT_IPAM_WORKER" // "calls", "dense" or "hold"
	dirEnv    = "WEFT_IPAM_DIR"
	seedEnv   = "WEFT_IPAM_SEED" // also the worker's number
)

func TestMain(m *testing.M) {
	work := map[string]func(s *Slots, seed uint64) error{"calls": workCalls, "dense": workDense, "hold": workHold}[os.Getenv(workerEnv)]
	if work == nil {
		os.Exit(testns.Main(m))
	}
	s, err := NewSlots(os.Getenv(dirEnv), Options{})
	seed, err2 := strconv.ParseUint(os.Getenv(seedEnv), 10, 64)
	if err = errors.Join(err, err2); err == nil {
		err = work(s, seed)
	}
	fmt.Fprintln(os.Stderr, "worker:", err)
	os.Exit(1)
}

// workHold takes the lock, says so and keeps it.
func workHold(s *Slots, _ uint64) error {
	if _, err := lock(bg, s.dir); err != nil {
		return err
	}
	fmt.Println()
	for {
		_ = unix.Pause()
	}
}

// start runs a worker; it dies with the test.
func start(t *testing.T, kind, dir string, seed uint64) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), workerEnv+"="+kind, dirEnv+"="+dir, fmt.Sprintf("%s=%d", seedEnv, seed))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	return cmd, out
}

var killSubnets = prefixes("10.0.0.0/25", "fd00::/120")

const podsPerWorker = 40 // three workers nearly fill the /25

func workerPod(worker uint64, n int) Attachment {
	return Attachment{Container: fmt.Sprintf("w%d-%d", worker, n), Interface: "eth0"}
}

// workerClaim asks for any address, for a certain one or for a pod's.
func workerClaim(worker uint64, n int, rng *rand.Rand) Claim {
	c := Claim{Attachment: workerPod(worker, n), Network: "n"}
	switch rng.IntN(3) {
	case 0:
		c.Pod, c.Sticky = fmt.Sprintf("w%d/%d", worker, rng.IntN(podsPerWorker)), true
	case 1:
		c.Want = []netip.Addr{killSubnets[0].Addr().Next().Next()}
		for range rng.IntN(100) {
			c.Want[0] = c.Want[0].Next()
		}
	}
	return c
}

// workCalls allocates and releases at random through the API and says so: "?"
// before and "!" after each operation.
func workCalls(s *Slots, worker uint64) error {
	rng := rand.New(rand.NewPCG(worker, 2))
	has := map[int]bool{}
	for {
		n := rng.IntN(podsPerWorker)
		fmt.Printf("? %d\n", n)
		if has[n] {
			if _, err := s.Release(bg, workerPod(worker, n)); err != nil {
				return err
			}
			fmt.Printf("! %d -\n", n)
			delete(has, n)
			continue
		}
		g, err := s.Allocate(bg, workerClaim(worker, n, rng), killSubnets)
		if errors.Is(err, ErrInUse) {
			fmt.Printf("! %d -\n", n)
			continue
		}
		if err != nil {
			return err
		}
		fmt.Printf("! %d %s %s\n", n, g.Addrs[0].Addr(), g.Addrs[1].Addr())
		has[n] = true
	}
}

// belief is what a worker has said: the addresses it holds, and the attachment
// that its unfinished operation is about, -1 if there is none.
type belief struct {
	held     map[int][2]string
	inFlight int
}

// listen reads what a worker says until it dies, and kills it after some lines.
func listen(cmd *exec.Cmd, out io.Reader, after int) (belief, error) {
	b := belief{held: map[int][2]string{}, inFlight: -1}
	in := bufio.NewScanner(out)
	for lines := 0; in.Scan(); lines++ {
		if lines == after {
			if err := cmd.Process.Kill(); err != nil {
				return b, err
			}
		}
		f := strings.Fields(in.Text())
		n, err := strconv.Atoi(f[1])
		if err != nil {
			return b, err
		}
		switch {
		case f[0] == "?":
			b.inFlight = n
			continue
		case f[2] == "-":
			delete(b.held, n)
		default:
			b.held[n] = [2]string{f[2], f[3]}
		}
		b.inFlight = -1
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ProcessState.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		return b, fmt.Errorf("worker ended by itself: %w", err)
	}
	return b, nil
}

// TestKilledProcesses runs three processes on one directory and kills them at
// random moments. What each of them was told must be what the files say.
func TestKilledProcesses(t *testing.T) {
	seed := rand.Uint64()
	rng := rand.New(rand.NewPCG(seed, 3))
	for round := range 6 {
		dir := t.TempDir()
		var wg sync.WaitGroup
		beliefs, errs := make([]belief, 3), make([]error, 3)
		for w := range beliefs {
			cmd, out := start(t, "calls", dir, uint64(w))
			after := 20 + rng.IntN(400)
			wg.Go(func() { beliefs[w], errs[w] = listen(cmd, out, after) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Fatalf("seed %d round %d: %v", seed, round, err)
		}
		s := open(t, dir, Options{})
		list, err := s.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		inUse := map[string]string{} // address -> attachment
		for _, slot := range list {
			if slot.InUse {
				inUse[slot.Addr.String()] = slot.Attachment.String()
			}
		}
		for w, b := range beliefs {
			for n, addrs := range b.held {
				for _, a := range addrs {
					switch who := workerPod(uint64(w), n).String(); {
					case inUse[a] == who:
						delete(inUse, a)
					case n != b.inFlight: // else it may be released, and somebody else's by now
						t.Errorf("seed %d round %d: %s was told %s, the file says %q", seed, round, who, a, inUse[a])
					}
				}
			}
			for a, who := range inUse { // at most what was in flight is left
				if b.inFlight >= 0 && who == workerPod(uint64(w), b.inFlight).String() {
					delete(inUse, a)
				}
			}
		}
		if len(inUse) != 0 {
			t.Errorf("seed %d round %d: leaked: %v", seed, round, inUse)
		}
		for _, p := range killSubnets {
			check(t, s, p)
		}
	}
}

// The dense worker's notebook: a mapped file of 64-bit words. Word 0 is the
// operation under way (attachment + 1), word 1+n the slot that attachment n
// has.

func notes(dir string) (table, error) {
	f, err := os.OpenFile(filepath.Join(dir, "notes"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(pageSize); err != nil {
		return nil, err
	}
	m, err := syscall.Mmap(int(f.Fd()), 0, pageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	return m, err
}

// killMyself has the kernel send this process SIGKILL after a while, by a
// timer interrupt between any two instructions.
func killMyself(after time.Duration) error {
	event := struct { // struct sigevent, 64 bytes
		value          uint64
		signal, notify int32
		_              [48]byte
	}{signal: int32(syscall.SIGKILL)}
	var timer int32
	if _, _, errno := syscall.Syscall(syscall.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&event)), uintptr(unsafe.Pointer(&timer))); errno != 0 {
		return fmt.Errorf("timer_create: %w", errno)
	}
	at := struct{ interval, value syscall.Timespec }{value: syscall.NsecToTimespec(int64(after) + 1)}
	if _, _, errno := syscall.Syscall6(syscall.SYS_TIMER_SETTIME, uintptr(timer), 0, uintptr(unsafe.Pointer(&at)), 0, 0, 0); errno != 0 {
		return fmt.Errorf("timer_settime: %w", errno)
	}
	return nil
}

// workDense does nothing but operations on the mapped file, so that a kill
// nearly always hits the middle of one.
func workDense(s *Slots, worker uint64) error {
	note, err := notes(os.Getenv(dirEnv))
	if err != nil {
		return err
	}
	rng := rand.New(rand.NewPCG(worker, 4))
	var pods [podsPerWorker]*owner
	for n := range pods {
		p := workerPod(0, n)
		o := newOwner(Claim{Attachment: p, NetnsPath: strings.Repeat("/proc/1/ns/net", 9), NetnsInode: 1, Network: "n", Pod: "ns/pod"})
		pods[n] = &o
	}
	unlock, err := lock(bg, s.dir)
	if err != nil {
		return err
	}
	defer unlock()
	return s.file(killSubnets[0], func(b *book) error {
		if err := killMyself(time.Duration(rng.IntN(2000)) * time.Microsecond); err != nil {
			return err
		}
		for {
			n := rng.IntN(podsPerWorker)
			slot := uint32(note.u64((1 + n) * 8))
			note.put64(0, uint64(n+1))
			switch {
			case slot == 0:
				if slot, err = b.allocate(pods[n]); err != nil {
					return err
				}
				note.put64((1+n)*8, uint64(slot))
			case rng.IntN(3) == 0:
				b.renew(slot, pods[n])
			case rng.IntN(3) == 0:
				// Moves to the next address, if that is free: released and taken, as
				// two operations.
				p := picker{owner: pods[n], want: b.addr(max(firstSlot, (slot+1)%b.slots)), books: []*book{b}}
				at, err := p.pick()
				if errors.Is(err, ErrInUse) {
					break
				}
				if err == nil {
					_, err = p.occupy(at)
				}
				if err != nil {
					return err
				}
				note.put64((1+n)*8, uint64(at.slot))
			default:
				if err := b.release(slot); err != nil {
					return err
				}
				note.put64((1+n)*8, 0)
			}
			note.put64(0, 0)
		}
	})
}

// TestKilledInTheMiddle kills one process again and again in the middle of an
// operation on the mapped file; the next one takes over what it left.
func TestKilledInTheMiddle(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{Note: func(f, reason string) { t.Errorf("%s: %s", f, reason) }})
	note, err := notes(dir)
	if err != nil {
		t.Fatal(err)
	}
	seed, halfDone := rand.Uint64(), 0
	for round := 0; round < 60 || halfDone < 3; round++ {
		if round == 1000 {
			t.Fatalf("%d of %d kills hit an operation: the test tests nothing", halfDone, round)
		}
		cmd, _ := start(t, "dense", dir, seed+uint64(round))
		var exit *exec.ExitError
		if err := cmd.Wait(); !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("seed %d round %d: worker ended by itself: %v", seed, round, err)
		}
		halfDone += countIntent(t, s)
		check(t, s, killSubnets[0])
		inFlight := int(note.u64(0)) - 1
		note.put64(0, 0)
		for n := range podsPerWorker {
			got, err := s.Lookup(t.Context(), workerPod(0, n))
			if err != nil {
				t.Fatal(err)
			}
			var slot uint64
			if len(got) == 1 {
				i, _ := newGeometry(killSubnets[0], s.clock.boot).slot(got[0])
				slot = uint64(i)
			}
			if want := note.u64((1 + n) * 8); slot != want && n != inFlight {
				t.Fatalf("seed %d round %d: attachment %d has slot %d, was told %d (in flight %d)", seed, round, n, slot, want, inFlight)
			}
			note.put64((1+n)*8, slot)
		}
	}
	t.Logf("%d kills hit an operation", halfDone)
}

// countIntent is 1 if the file was left in the middle of an operation.
func countIntent(t *testing.T, s *Slots) int {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(s.dir, fileName(killSubnets[0])))
	if err != nil {
		t.Fatal(err)
	}
	if table(data).u64(offIntent) != 0 {
		return 1
	}
	return 0
}
