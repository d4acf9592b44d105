package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/weft-net/weft/agent/api"
)

// Agent is the weftd of one host.
type Agent struct {
	*Process
	// Program, where set, is run instead of the lab's weftd: another version.
	Program string
	host    *Host
	api     *api.Client
}

func newAgent(h *Host) *Agent {
	return &Agent{Process: h.lab.process("weftd-" + h.Spec.Name), host: h, api: api.Dial(h.RunDir())}
}

// RunDir is the agent's run directory: socket, node file, slot files.
func (h *Host) RunDir() string { return filepath.Join(h.dir(), "run") }

// StateDir is where the agent keeps its last good snapshot.
func (h *Host) StateDir() string { return filepath.Join(h.dir(), "state") }

// ConfDir is where the agent writes the CNI configuration.
func (h *Host) ConfDir() string { return filepath.Join(h.dir(), "cni") }

// ConfigFile is the agent's own configuration.
func (h *Host) ConfigFile() string { return filepath.Join(h.dir(), "weftd.yaml") }

// BGPFile is where BGP objects of the host's own are looked for.
func (h *Host) BGPFile() string { return filepath.Join(h.dir(), "bgp.yaml") }

// configFile mirrors weftd.yaml.
type configFile struct {
	NodeName string            `yaml:"nodeName"`
	NodeID   string            `yaml:"nodeID"`
	Labels   []string          `yaml:"labels,omitempty"`
	Etcd     configEtcd        `yaml:"etcd"`
	Underlay map[string]string `yaml:"underlay"`
	RunDir   string            `yaml:"runDir"`
	StateDir string            `yaml:"stateDir"`
	CNI      configCNI         `yaml:"cni"`
	BGP      map[string]string `yaml:"bgp"`
	Listen   string            `yaml:"listen"`
	Log      map[string]string `yaml:"log"`
}

type configEtcd struct {
	Endpoints   []string          `yaml:"endpoints"`
	TLS         map[string]string `yaml:"tls,omitempty"`
	DialTimeout string            `yaml:"dialTimeout"`
}

type configCNI struct {
	ConfDir string `yaml:"confDir"`
	Write   bool   `yaml:"write"`
}

// WriteConfig writes the host's weftd.yaml and makes its directories.
func (h *Host) WriteConfig() error {
	for _, dir := range []string{h.RunDir(), h.StateDir(), h.ConfDir()} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	etcd := h.lab.Etcd
	c := configFile{
		NodeName: h.Spec.Name, NodeID: h.NodeID(),
		Etcd:     configEtcd{Endpoints: etcd.Endpoints(h.families()[0]), DialTimeout: "2s"},
		Underlay: map[string]string{"interface": uplink},
		RunDir:   h.RunDir(), StateDir: h.StateDir(),
		CNI:    configCNI{ConfDir: h.ConfDir(), Write: true},
		BGP:    map[string]string{"file": h.BGPFile()},
		Listen: "127.0.0.1:9479", Log: map[string]string{"level": "debug", "format": "text"},
	}
	for _, key := range slices.Sorted(maps.Keys(h.Spec.Labels)) {
		c.Labels = append(c.Labels, key+"="+h.Spec.Labels[key])
	}
	if etcd.Spec.TLS {
		d := etcd.tlsDir()
		c.Etcd.TLS = map[string]string{
			"ca": filepath.Join(d, "ca.crt"), "cert": filepath.Join(d, "client.crt"), "key": filepath.Join(d, "client.key"),
		}
	}
	data, err := yaml.Marshal(c)
	if err != nil {
		return fmt.Errorf("weftd.yaml: %w", err)
	}
	return os.WriteFile(h.ConfigFile(), data, 0o600)
}

// NodeID is the host's stable identity in the fabric.
func (h *Host) NodeID() string { return h.lab.Name + "-" + h.Spec.Name }

// Start writes the configuration where there is none yet and starts the
// agent. It does not wait until it is ready.
func (a *Agent) Start() error {
	if _, err := os.Stat(a.host.ConfigFile()); err != nil {
		if err := a.host.WriteConfig(); err != nil {
			return fmt.Errorf("host %s: %w", a.host.Spec.Name, err)
		}
	}
	program := cmp.Or(a.Program, a.host.lab.bin.Weftd)
	return a.Process.Start(a.host.Namespace, exec.Command(program, "--config", a.host.ConfigFile()))
}

// Freeze stops the agent from running; Thaw undoes it.
func (a *Agent) Freeze() error { return a.Signal(syscall.SIGSTOP) }

// Thaw lets a frozen agent run on.
func (a *Agent) Thaw() error { return a.Signal(syscall.SIGCONT) }

// Restart stops the agent in order, starts it again and waits until it is
// ready.
func (a *Agent) Restart(ctx context.Context) error {
	if err := a.Stop(ctx); err != nil {
		return err
	}
	if err := a.Start(); err != nil {
		return err
	}
	return a.WaitReady(ctx)
}

// Status asks the agent over its control socket.
func (a *Agent) Status(ctx context.Context) (*api.Status, error) { return a.api.Status(ctx) }

// WaitReady waits until the agent says that it is ready; at most 30 s.
func (a *Agent) WaitReady(ctx context.Context) error {
	return a.WaitStatus(ctx, "ready", func(s *api.Status) error {
		if !s.Ready {
			return errors.New(strings.Join(s.NotReady, "; "))
		}
		return nil
	})
}

// WaitStatus waits, at most 30 s, until ok is content with the agent's status.
func (a *Agent) WaitStatus(ctx context.Context, what string, ok func(*api.Status) error) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return a.explain(await(ctx, a.Name+": "+what, func() error {
		if !a.Alive() {
			return errNotRunning
		}
		s, err := a.Status(ctx)
		if err != nil {
			return err
		}
		return ok(s)
	}))
}

// BGP asks the agent about its speaker.
func (a *Agent) BGP(ctx context.Context) (*api.BGP, error) { return a.api.BGP(ctx) }

// ShutDownBGP takes the host's routes back, as before the host's own shutdown.
func (a *Agent) ShutDownBGP(ctx context.Context) error { return a.api.BGPShutdown(ctx) }

// WaitBGP waits, at most a minute, until ok is content with the speaker.
func (a *Agent) WaitBGP(ctx context.Context, what string, ok func(*api.BGP) error) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return a.explain(await(ctx, a.Name+": "+what, func() error {
		if !a.Alive() {
			return errNotRunning
		}
		b, err := a.BGP(ctx)
		if err != nil {
			return err
		}
		return ok(b)
	}))
}
