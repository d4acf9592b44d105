package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// spawner is the one thread from which a lab starts processes. The parent
// death signal of a child is tied to the thread that made it (prctl(2),
// PR_SET_PDEATHSIG), so that thread must live as long as the lab.
type spawner struct {
	calls   chan func()
	ctx     context.Context // over when the lab is closed
	close   func()          // ends the thread, and with it every child where the lab is deathly
	deathly bool            // children die with this process
}

func newSpawner(deathly bool) *spawner {
	ctx, cancel := context.WithCancel(context.Background())
	s := &spawner{calls: make(chan func()), ctx: ctx, close: cancel, deathly: deathly}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the lab
		for {
			select {
			case call := <-s.calls:
				call()
			case <-ctx.Done():
				return
			}
		}
	}()
	return s
}

// call runs fn on the thread.
func (s *spawner) call(fn func() error) error {
	result := make(chan error)
	select {
	case s.calls <- func() { result <- fn() }:
		return <-result
	case <-s.ctx.Done():
		return errors.New("the lab is closed")
	}
}

// start starts cmd in the namespace.
func (s *spawner) start(n *Namespace, cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	if s.deathly {
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	return s.call(func() error {
		home, err := netns.Get()
		if err != nil {
			return err
		}
		defer home.Close()
		if err := netns.Set(n.handle); err != nil {
			return err
		}
		return errors.Join(cmd.Start(), netns.Set(home))
	})
}

// Start starts cmd inside the namespace; the caller waits for it.
func (n *Namespace) Start(cmd *exec.Cmd) error {
	if err := n.spawn.start(n, cmd); err != nil {
		return fmt.Errorf("start %s in %s: %w", cmd.Path, n.Name, err)
	}
	return nil
}

// Run runs a program inside the namespace and returns its standard output.
// The error carries the last line of its standard error.
func (n *Namespace) Run(ctx context.Context, name string, args ...string) (string, error) {
	return n.RunInput(ctx, nil, name, args...)
}

// RunInput is Run with something on standard input.
func (n *Namespace) RunInput(ctx context.Context, stdin []byte, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(stdin), &out, &errs
	if err := n.Start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s %s in %s: %w: %s", name, strings.Join(args, " "), n.Name, err, lastLine(errs.String()))
	}
	return out.String(), nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// processID names one process for good: a number alone is used again.
type processID struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"` // clock ticks after boot, proc_pid_stat(5)
}

// identify reads the identity of the process with that number.
func identify(pid int) (processID, error) {
	start, _, err := procStat(pid)
	return processID{PID: pid, Start: start}, err
}

// alive reports whether that very process runs; a zombie does not.
func (p processID) alive() bool {
	start, state, err := procStat(p.PID)
	return err == nil && start == p.Start && state != 'Z'
}

// signal sends to that very process, or says that it is gone.
func (p processID) signal(sig syscall.Signal) error {
	fd, err := unix.PidfdOpen(p.PID, 0)
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer unix.Close(fd)
	if !p.alive() { // looked at after the descriptor is held: no other can take its place
		return fmt.Errorf("process %d: %w", p.PID, unix.ESRCH)
	}
	return unix.PidfdSendSignal(fd, sig, nil, 0)
}

// procStat reads start time and state from /proc/<pid>/stat.
func procStat(pid int) (start uint64, state byte, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command name stands in parentheses and may hold anything.
	_, rest, _ := strings.Cut(string(data[bytes.LastIndexByte(data, ')')+1:]), " ")
	fields := strings.Fields(rest)
	if len(fields) < 20 {
		return 0, 0, fmt.Errorf("/proc/%d/stat is not understood", pid)
	}
	start, err = strconv.ParseUint(fields[19], 10, 64)
	return start, fields[0][0], err
}

// errNotRunning ends a wait for a process at once.
var errNotRunning = errors.New("it is not running")

// await calls ok every few milliseconds until it says yes, ctx ends or there
// is nothing to wait for; what describes the wait in the error.
func await(ctx context.Context, what string, ok func() error) error {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		if errors.Is(err, errNotRunning) {
			return fmt.Errorf("waiting for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
