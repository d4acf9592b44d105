package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// Process is a long-running program of the lab: an agent or an etcd member.
// It is known by name, so a process that another weft-lab started can be
// signalled too.
type Process struct {
	Name string
	lab  *Lab

	mu    sync.Mutex
	done  chan struct{} // closed when the child is reaped; nil: not our child. Guarded by mu
	ended string        // how the child ended, once it is reaped. Guarded by mu
}

func (l *Lab) process(name string) *Process { return &Process{Name: name, lab: l} }

// LogFile is where its standard output and error go.
func (p *Process) LogFile() string { return filepath.Join(p.lab.Dir(), "log", p.Name+".log") }

// explain adds to an error about the process where its log is and, if the
// process has ended, how it ended and its last words.
func (p *Process) explain(err error) error {
	if err == nil {
		return nil
	}
	if p.Alive() {
		return fmt.Errorf("%w; see %s", err, p.LogFile())
	}
	data, _ := os.ReadFile(p.LogFile())
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Errorf("%w; %s, last words in %s: %.300s", err, p.ended, p.LogFile(), lastLine(string(data)))
}

// PID is its process number, 0 while it does not run.
func (p *Process) PID() int {
	if id := p.id(); id.PID != 0 && id.alive() {
		return id.PID
	}
	return 0
}

// Alive reports whether it runs (or is frozen).
func (p *Process) Alive() bool { return p.PID() != 0 }

func (p *Process) id() processID {
	p.lab.mu.Lock()
	defer p.lab.mu.Unlock()
	return p.lab.state.Processes[p.Name]
}

// Start starts it in a namespace. It must not run.
func (p *Process) Start(n *Namespace, cmd *exec.Cmd) error {
	if p.Alive() {
		return fmt.Errorf("%s runs already", p.Name)
	}
	if err := os.MkdirAll(filepath.Dir(p.LogFile()), 0o755); err != nil {
		return err
	}
	log, err := os.OpenFile(p.LogFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	// A session of its own: Ctrl-C at the terminal is for weft-lab alone.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := n.Start(cmd); err != nil {
		return err
	}
	id, err := identify(cmd.Process.Pid)
	done := make(chan struct{})
	p.mu.Lock()
	p.done = done
	p.mu.Unlock()
	go func() {
		defer close(done)
		_ = cmd.Wait()
		p.mu.Lock()
		p.ended = cmd.ProcessState.String()
		p.mu.Unlock()
	}()
	if err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return p.lab.record(func(s *state) { s.Processes[p.Name] = id })
}

// Signal sends a signal; a process that does not run is an error.
func (p *Process) Signal(sig syscall.Signal) error {
	id := p.id()
	if id.PID == 0 {
		return fmt.Errorf("%s was never started", p.Name)
	}
	if err := id.signal(sig); err != nil {
		return fmt.Errorf("%s to %s: %w", sig, p.Name, err)
	}
	return nil
}

// Kill kills it without warning and waits until it is gone.
func (p *Process) Kill() error {
	if err := p.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	return p.wait(context.Background())
}

// Stop asks it to end and waits. One that does not run is fine; one that
// ignores it until ctx is over is an error.
func (p *Process) Stop(ctx context.Context) error {
	if !p.Alive() {
		return nil
	}
	if err := p.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, unix.ESRCH) {
		return err
	}
	return p.wait(ctx)
}

func (p *Process) wait(ctx context.Context) error {
	p.mu.Lock()
	done := p.done
	p.mu.Unlock()
	if done == nil {
		return await(ctx, p.Name+" to end", func() error {
			if p.Alive() {
				return errors.New("it runs")
			}
			return nil
		})
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting for %s to end: %w", p.Name, context.Cause(ctx))
	}
}
