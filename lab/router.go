package lab

import (
	"context"
	"errors"
	"os/exec"
	"path/filepath"
)

// RouterCommand is the hidden subcommand of weft-lab that is a router.
const RouterCommand = "internal-router"

// router is the router that weft-lab has in it.
type router struct {
	sw   *Switch
	proc *Process
}

func newRouter(s *Switch) *router {
	return &router{sw: s, proc: s.lab.process("router-" + s.Spec.Name)}
}

func (d *router) processes() []*Process { return []*Process{d.proc} }

func (d *router) file() string { return filepath.Join(d.sw.dir(), "router.json") }

func (d *router) configure(c switchConfig) error { return errors.New("not there yet") }

func (d *router) start(ctx context.Context) error {
	if d.proc.Alive() {
		return nil
	}
	return d.proc.Start(d.sw.Namespace, exec.Command(d.sw.lab.bin.Lab, RouterCommand, d.file()))
}

func (d *router) command(ctx context.Context, words string) (string, error) {
	return "", errors.New("the built-in router has no command line")
}
