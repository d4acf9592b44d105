package runtimes

import (
	"context"
	"crypto/rand"
	"fmt"
)

// containerdSocket is where containerd listens on a machine.
const containerdSocket = "/run/containerd/containerd.sock"

// containerdConf is what containerd reads (containerd-config.toml(5)). Its CNI
// directories are where kubelet's hosts have them; ctr knows no others.
const containerdConf = `
version = 2
root = "/var/lib/containerd"
state = "/run/containerd"
disabled_plugins = [
	"io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
	"io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
[grpc]
address = "` + containerdSocket + `"
[plugins."io.containerd.internal.v1.opt"]
path = "/var/lib/containerd/opt"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "` + Image + `"
restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "native"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
pod_annotations = ["weft/*"]
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
BinaryName = "` + wrapper + `"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/opt/cni/bin"
conf_dir = "/etc/cni/net.d"
`

// Containerd is containerd on a machine.
type Containerd struct{ m *Machine }

// Containerd starts containerd, waits until it answers and gives it the image,
// for ctr and for the CRI. It runs as long as the machine.
func (m *Machine) Containerd(ctx context.Context) (*Containerd, error) {
	if err := m.write("/etc/containerd/config.toml", containerdConf, 0o644); err != nil {
		return nil, err
	}
	log, err := m.daemon("containerd")
	if err != nil {
		return nil, err
	}
	c := &Containerd{m}
	err = await(ctx, "containerd", func() error {
		_, err := c.Ctr(ctx, "version")
		return err
	})
	for _, namespace := range []string{"default", criNamespace} {
		if err == nil {
			_, err = c.Ctr(ctx, "--namespace", namespace, "images", "import", "--snapshotter", "native", imageFile)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("%w (see %s)", err, log)
	}
	return c, nil
}

// Ctr runs ctr.
func (c *Containerd) Ctr(ctx context.Context, args ...string) (string, error) {
	return c.m.Run(ctx, "ctr", append([]string{"--address", containerdSocket}, args...)...)
}

// Start runs a container of the image in the background with `ctr run --cni`.
func (c *Containerd) Start(ctx context.Context, name string) (*Container, error) {
	_, err := c.Ctr(ctx, "run", "--detach", "--cni", "--snapshotter", "native", "--runc-binary", wrapper, "--env", "NAME="+name, Image, name)
	if err != nil {
		return nil, err
	}
	return &Container{Name: name, ID: "default-" + name, exec: func(ctx context.Context, args ...string) (string, error) {
		return c.Ctr(ctx, append([]string{"task", "exec", "--exec-id", rand.Text()[:8], name}, args...)...)
	}}, nil
}

// Remove kills a container that Start started and removes it. ctr does not
// tell the plugin.
func (c *Containerd) Remove(ctx context.Context, name string) error {
	for _, args := range [][]string{{"task", "rm", "--force", name}, {"container", "rm", name}} {
		if _, err := c.Ctr(ctx, args...); err != nil {
			return err
		}
	}
	return nil
}
