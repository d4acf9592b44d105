package runtimes

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// BuildCnitool compiles cnitool of the CNI module that weft is built with into
// dir and returns its path.
func BuildCnitool(ctx context.Context, dir string) (string, error) {
	path := filepath.Join(dir, "cnitool")
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, "github.com/containernetworking/cni/cnitool")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return path, nil
}

// Cnitool is cnitool on a machine.
type Cnitool struct {
	m    *Machine
	path string
	conf string // directory of configurations
}

// Cnitool prepares a cnitool that reads the agent's conflist, or, where lists
// are given, those: file names and contents.
func (m *Machine) Cnitool(path string, lists map[string]string) (*Cnitool, error) {
	c := &Cnitool{m: m, path: path, conf: "/etc/cni/net.d"}
	if len(lists) > 0 {
		c.conf = "/var/lib/machine/cnitool"
	}
	for name, text := range lists {
		if err := m.write(filepath.Join(c.conf, name), text, 0o644); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// Do runs cnitool: a verb, the network's name and what else it takes. env may
// hold CAP_ARGS, CNI_ARGS and CNI_IFNAME.
func (c *Cnitool) Do(ctx context.Context, env []string, args ...string) (string, error) {
	env = append([]string{"CNI_PATH=/opt/cni/bin", "NETCONFPATH=" + c.conf}, env...)
	return c.m.RunEnv(ctx, env, c.path, args...)
}

// Container makes a namespace with a name and the image's web server in it: a
// container that cnitool is to attach.
func (c *Cnitool) Container(ctx context.Context, name string) (*Container, error) {
	if _, err := c.m.Run(ctx, "ip", "netns", "add", name); err != nil {
		return nil, err
	}
	www := "/var/lib/machine/www-" + name
	if err := c.m.write(www+"/name", name+"\n", 0o644); err != nil {
		return nil, err
	}
	if _, err := c.m.daemon("ip", "netns", "exec", name, "busybox", "httpd", "-f", "-p", "[::]:80", "-h", www); err != nil {
		return nil, err
	}
	return &Container{Name: name, exec: func(ctx context.Context, args ...string) (string, error) {
		return c.m.Run(ctx, "ip", append([]string{"netns", "exec", name, "busybox"}, args...)...)
	}}, nil
}
