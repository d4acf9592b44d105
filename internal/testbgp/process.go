// Package testbgp runs the routing daemons that weft meets in the field, FRR,
// BIRD and gobgpd, in a test's network namespace (see testns), each with files
// and sockets of its own: tests of several packages run at once. What it starts
// goes with the test, also with one that is killed. Tests only.
package testbgp

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Process is a program that runs until the test ends. The kernel kills it when
// the test does not.
type Process struct {
	cmd    *exec.Cmd
	output bytes.Buffer // not to be read before the end
	stop   func()
}

// Start runs a program in the test's network namespace, or in a new one. What it
// said is logged where the test fails.
func Start(t *testing.T, ownNamespace bool, name string, args ...string) *Process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &Process{cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Stdout, p.cmd.Stderr = &p.output, &p.output
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if ownNamespace {
		p.cmd.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if err := p.cmd.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = p.cmd.Wait() // killed: that is its error
	}()
	p.stop = func() { cancel(); <-ended }
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.output.String())
		}
	})
	return p
}

// Stop kills the process and waits for its end.
func (p *Process) Stop() { p.stop() }

// Pid is the number of the process.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// In runs a program in the network namespace of a process and returns what it
// says.
func (p *Process) In(args ...string) (string, error) {
	all := append([]string{"--target", fmt.Sprint(p.Pid()), "--net", "--"}, args...)
	out, err := exec.Command("nsenter", all...).CombinedOutput()
	return string(out), err
}

// Poll waits until something is so, and gives up after a minute with the last
// that isSo said.
func Poll(t *testing.T, what string, isSo func() (bool, string)) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for deadline := time.After(time.Minute); ; {
		var ok bool
		if ok, last = isSo(); ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s:\n%s", what, last)
		case <-tick.C:
		}
	}
}

// write makes a file in dir and returns its path.
func write(t *testing.T, dir, name, text string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
