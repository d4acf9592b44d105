package runtimes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
)

// containersConf makes podman and buildah use CNI, and the conflist that the
// agent wrote (containers.conf(5)). They keep events and logs in files: there
// is no systemd on a machine.
const containersConf = `
[containers]
default_ulimits = []
log_driver = "k8s-file"
pids_limit = 0
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
runtime = "runc"
[engine.runtimes]
runc = ["` + wrapper + `"]
[network]
network_backend = "cni"
cni_plugin_dirs = ["/opt/cni/bin"]
network_config_dir = "/etc/cni/net.d"
default_network = "weft"
`

// storageConf has them copy the image, which is small: an overlay upon the
// machine's own is refused by some kernels (containers-storage.conf(5)).
const storageConf = `
[storage]
driver = "vfs"
runroot = "/run/containers/storage"
graphroot = "/var/lib/containers/storage"
`

// configureContainers writes what podman and buildah read.
func (m *Machine) configureContainers() error {
	if err := m.write("/etc/containers/containers.conf", containersConf, 0o644); err != nil {
		return err
	}
	return m.write("/etc/containers/storage.conf", storageConf, 0o644)
}

// Podman is podman on a machine.
type Podman struct{ m *Machine }

// Podman prepares podman and gives it the image.
func (m *Machine) Podman(ctx context.Context) (*Podman, error) {
	if err := m.configureContainers(); err != nil {
		return nil, err
	}
	p := &Podman{m}
	_, err := p.Do(ctx, "load", "--quiet", "--input", imageFile)
	return p, err
}

// Do runs a podman command.
func (p *Podman) Do(ctx context.Context, args ...string) (string, error) {
	return p.m.Run(ctx, "podman", args...)
}

// Start runs a container of the image in the background. options are those of
// `podman run`.
func (p *Podman) Start(ctx context.Context, name string, options ...string) (*Container, error) {
	args := append([]string{"run", "--detach", "--name", name, "--env", "NAME=" + name, "--network", "weft"}, options...)
	id, err := p.Do(ctx, append(args, Image)...)
	if err != nil {
		return nil, err
	}
	return &Container{Name: name, ID: strings.TrimSpace(id), exec: func(ctx context.Context, args ...string) (string, error) {
		return p.Do(ctx, append([]string{"exec", name}, args...)...)
	}}, nil
}

// Inspected is what podman believes a container has on the network.
type Inspected struct {
	IPAddress         netip.Addr
	GlobalIPv6Address netip.Addr
	MacAddress        string
}

// Inspect asks podman about a container.
func (p *Podman) Inspect(ctx context.Context, name string) (in Inspected, err error) {
	out, err := p.Do(ctx, "inspect", "--format", "{{json .NetworkSettings.Networks.weft}}", name)
	if err != nil {
		return in, err
	}
	if err := json.Unmarshal([]byte(out), &in); err != nil {
		return in, fmt.Errorf("podman inspect %s: %w: %s", name, err, out)
	}
	return in, nil
}
