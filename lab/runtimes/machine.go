package runtimes

import (
	"bufio"
	"bytes"
	"context"
	_ "embed" // machine.sh
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/weft-net/weft/lab"
)

//go:embed machine.sh
var firstProcess string

// Machine is a host of a lab as a container runtime sees it.
type Machine struct {
	*lab.Host
	pid    int       // of its first process
	first  *exec.Cmd // the parent of that, which it does not outlive
	cgroup string

	mu      sync.Mutex
	daemons []*exec.Cmd // guarded by mu
}

// Boot makes a machine of a host. plugin is the weft-cni that its runtimes
// call. Halt ends it.
func Boot(l *lab.Lab, h *lab.Host, plugin string) (_ *Machine, err error) {
	if err := os.MkdirAll(h.ConfDir(), 0o755); err != nil {
		return nil, err
	}
	m := &Machine{Host: h}
	if m.cgroup, err = makeCgroup(l.Name, h.Spec.Name); err != nil {
		return nil, fmt.Errorf("cgroup of %s: %w", h.Spec.Name, err)
	}
	if err := m.boot(); err != nil {
		return nil, errors.Join(fmt.Errorf("boot %s: %w", h.Spec.Name, err), m.Halt())
	}
	if err := errors.Join(os.Symlink(plugin, m.path("/opt/cni/bin/weft")), m.wrap()); err != nil {
		return nil, errors.Join(err, m.Halt())
	}
	return m, nil
}

// dir is the host's directory in the lab. The machine has it at the same path.
func (m *Machine) dir() string { return filepath.Dir(m.RunDir()) }

func (m *Machine) boot() error {
	cmd := exec.Command("sh", "-c", firstProcess, "machine", m.dir(), m.ConfDir(), m.cgroup, m.Spec.Name)
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if err := m.Start(cmd); err != nil {
		return err
	}
	m.first = cmd
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if err == nil {
		m.pid, err = strconv.Atoi(strings.TrimSpace(line))
	}
	if err != nil {
		_ = cmd.Process.Kill()
		return fmt.Errorf("%w: %w: %s", err, cmd.Wait(), strings.TrimSpace(stderr.String()))
	}
	return nil
}

// Halt kills everything that runs on the machine.
func (m *Machine) Halt() error {
	if m.first != nil && m.first.ProcessState == nil {
		_ = m.first.Process.Kill()
		_ = m.first.Wait() // killed
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.daemons {
		_ = d.Wait() // killed as well
	}
	m.daemons = nil
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return emptyCgroup(ctx, m.cgroup)
}

// path is where a file of the machine is found from outside.
func (m *Machine) path(path string) string {
	return filepath.Join("/proc", strconv.Itoa(m.pid), "root", path)
}

// write makes a file on the machine, and the directories it is in.
func (m *Machine) write(path, text string, mode os.FileMode) error {
	path = m.path(path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, []byte(text), mode)
}

// command prepares a program that runs on the machine. What it leaves behind
// when it is killed goes with the machine.
func (m *Machine) command(ctx context.Context, name string, args ...string) *exec.Cmd {
	enter := []string{"--target", strconv.Itoa(m.pid), "--mount", "--pid", "--uts", "--ipc", "--cgroup", "--", name}
	cmd := exec.CommandContext(ctx, "nsenter", append(enter, args...)...)
	cmd.Env = []string{
		"PATH=/opt/weft:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"HOME=/var/lib/machine", "TMPDIR=/var/tmp",
	}
	cmd.WaitDelay = time.Second // its children may hold its output open
	return cmd
}

// Run runs a program on the machine and returns its standard output. The error
// has what it said on standard error.
func (m *Machine) Run(ctx context.Context, name string, args ...string) (string, error) {
	return m.RunEnv(ctx, nil, name, args...)
}

// RunEnv is Run with additions to the environment.
func (m *Machine) RunEnv(ctx context.Context, env []string, name string, args ...string) (string, error) {
	cmd := m.command(ctx, name, args...)
	cmd.Env = append(cmd.Env, env...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := m.Start(cmd); err != nil {
		return "", err
	}
	if err := cmd.Wait(); err != nil {
		return out.String(), fmt.Errorf("%s: %s %s: %w: %s", m.Spec.Name, name, strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}

// daemon starts a program that runs until it ends or the machine does, and
// returns the file that has what it says.
func (m *Machine) daemon(name string, args ...string) (log string, err error) {
	cmd := m.command(context.Background(), name, args...)
	f, err := os.CreateTemp(m.dir(), name+"-*.log")
	if err != nil {
		return "", err
	}
	defer f.Close()
	cmd.Stdout, cmd.Stderr = f, f
	if err := m.Start(cmd); err != nil {
		return "", err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.daemons = append(m.daemons, cmd)
	return f.Name(), nil
}

// await calls ok every few milliseconds until it returns nil or ctx ends.
func await(ctx context.Context, what string, ok func() error) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ok()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s: %w (last: %w)", what, context.Cause(ctx), err)
		case <-tick.C:
		}
	}
}
