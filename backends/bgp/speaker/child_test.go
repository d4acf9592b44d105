package speaker

import (
	"bytes"
	"context"
	"encoding/gob"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/internal/testbgp"
)

const childEnv = "WEFT_TEST_SPEAKER"

// request and answer go over the child's stdin and stdout.
type request struct {
	Op      string
	Desired bgp.Desired
	Key     string
	Prefix  netip.Prefix
	Most    int
}

type answer struct {
	Err      string
	Sessions []bgp.SessionStatus
	Changes  []bgp.Change
	Paths    []bgp.Path
	Synced   bool
	Heap     uint64
}

// childMain is a process with a speaker. It ends with its stdin.
func childMain() int {
	log := logrus.New()
	log.SetOutput(os.Stderr)
	if os.Getenv(childEnv) == "debug" {
		log.SetLevel(logrus.DebugLevel)
	}
	s := New(Options{Log: logrus.NewEntry(log)})
	in, out := gob.NewDecoder(os.Stdin), gob.NewEncoder(os.Stdout)
	for {
		var q request
		if err := in.Decode(&q); err != nil {
			return 0
		}
		if q.Op == "exit" {
			s.Detach()
			return 0
		}
		if err := out.Encode(serve(s, q)); err != nil {
			return 1
		}
	}
}

func serve(s *Speaker, q request) (a answer) {
	ctx := context.Background()
	var err error
	switch q.Op {
	case "set":
		err = s.Set(ctx, q.Desired)
	case "sessions":
		a.Sessions = s.Sessions()
	case "take":
		a.Changes, a.Synced = s.Take(q.Most)
	case "routes":
		a.Paths, err = s.Routes(ctx, q.Prefix)
	case "match":
		a.Paths, err = s.Match(ctx, q.Prefix.Addr())
	case "advertised":
		a.Paths, err = s.Advertised(ctx, q.Key)
	case "received":
		a.Paths, err = s.Received(ctx, q.Key)
	case "synced":
		a.Synced = s.Synced(fabric.IPv4) && s.Synced(fabric.IPv6)
	case "heap":
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		a.Heap = m.HeapAlloc
	case "shutdown":
		err = s.Shutdown(ctx)
	default:
		err = fmt.Errorf("no operation %q", q.Op)
	}
	if err != nil {
		a.Err = err.Error()
	}
	return a
}

// child is such a process, seen from the test.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *gob.Encoder
	dec *gob.Decoder
	log lockedBuffer
	fib map[netip.Prefix][]netip.Addr // what Take said
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// speaker starts a process with a speaker in the host's namespace.
func (n *network) speaker() *child {
	n.t.Helper()
	exe, err := os.Executable()
	if err != nil {
		n.t.Fatal(err)
	}
	c := &child{t: n.t, fib: map[netip.Prefix][]netip.Addr{}}
	c.cmd = exec.Command("nsenter", "--target", fmt.Sprint(n.host.Pid()), "--net", "--", exe)
	mode := os.Getenv("WEFT_TEST_SPEAKER_LOG")
	if mode == "" {
		mode = "yes"
	}
	c.cmd.Env = append(os.Environ(), childEnv+"="+mode)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Stderr = &c.log
	c.in, err = c.cmd.StdinPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		n.t.Fatal(err)
	}
	c.enc, c.dec = gob.NewEncoder(c.in), gob.NewDecoder(out)
	if err := c.cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() {
		c.kill()
		if n.t.Failed() {
			n.t.Logf("the speaker said:\n%s", c.log.String())
		}
	})
	return c
}

func (c *child) call(q request) answer {
	c.t.Helper()
	var a answer
	if err := c.enc.Encode(q); err != nil {
		c.t.Fatalf("%s: %v\n%s", q.Op, err, c.log.String())
	}
	if err := c.dec.Decode(&a); err != nil {
		c.t.Fatalf("%s: %v\n%s", q.Op, err, c.log.String())
	}
	if a.Err != "" {
		c.t.Fatalf("%s: %s", q.Op, a.Err)
	}
	return a
}

func (c *child) set(d bgp.Desired) { c.t.Helper(); c.call(request{Op: "set", Desired: d}) }

// kill ends the process as a crash does.
func (c *child) kill() {
	_ = c.cmd.Process.Kill() // it may be gone
	_ = c.cmd.Wait()
}

// exit ends the process as a restart does: Detach, then the end.
func (c *child) exit() {
	c.t.Helper()
	if err := c.enc.Encode(request{Op: "exit"}); err != nil {
		c.t.Fatal(err)
	}
	if err := c.cmd.Wait(); err != nil {
		c.t.Fatal(err)
	}
}

func (c *child) session(key string) bgp.SessionStatus {
	c.t.Helper()
	for _, s := range c.call(request{Op: "sessions"}).Sessions {
		if s.Key == key {
			return s
		}
	}
	return bgp.SessionStatus{}
}

// established waits until a session is up.
func (c *child) established(key string) bgp.SessionStatus {
	c.t.Helper()
	var s bgp.SessionStatus
	testbgp.Poll(c.t, key+" established", func() (bool, string) {
		s = c.session(key)
		return s.State == bgp.Established, fmt.Sprintf("%+v", s)
	})
	return s
}

// routes takes what changed and returns all that there is.
func (c *child) routes() map[netip.Prefix][]netip.Addr {
	c.t.Helper()
	for more := true; more; {
		a := c.call(request{Op: "take", Most: 1000})
		more = a.Synced
		for _, ch := range a.Changes {
			if len(ch.NextHops) == 0 {
				delete(c.fib, ch.Prefix)
			} else {
				c.fib[ch.Prefix] = ch.NextHops
			}
		}
	}
	return c.fib
}
