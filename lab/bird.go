package lab

import (
	"context"
	"os/exec"
	"path/filepath"
	"time"
)

// Debian's bird2.
const (
	birdPath  = "/usr/sbin/bird"
	birdcPath = "/usr/sbin/birdc"
)

// bird is BIRD, in the foreground, with everything in the switch's directory.
type bird struct {
	sw   *Switch
	proc *Process
}

func newBIRD(s *Switch) *bird { return &bird{sw: s, proc: s.lab.process("bird-" + s.Spec.Name)} }

func (d *bird) processes() []*Process { return []*Process{d.proc} }

func (d *bird) socket() string { return filepath.Join(d.sw.dir(), "bird.ctl") }

func (d *bird) file() string { return filepath.Join(d.sw.dir(), "bird.conf") }

func (d *bird) configure(c switchConfig) error {
	text, err := renderSwitch("bird", c)
	if err != nil {
		return err
	}
	return writeFiles(d.sw.dir(), map[string]string{"bird.conf": text})
}

func (d *bird) start(ctx context.Context) error {
	if d.proc.Alive() {
		return nil
	}
	// -R: it was running before, and its neighbours may have kept its routes.
	if err := d.proc.Start(d.sw.Namespace, exec.Command(birdPath, "-f", "-R", "-c", d.file(), "-s", d.socket())); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return d.proc.explain(await(ctx, d.proc.Name+" to answer", func() error {
		if !d.proc.Alive() {
			return errNotRunning
		}
		_, err := d.command(ctx, "show status")
		return err
	}))
}

func (d *bird) command(ctx context.Context, words string) (string, error) {
	return d.sw.Run(ctx, birdcPath, "-s", d.socket(), words)
}
