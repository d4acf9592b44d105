package runtimes

import (
	"context"
	"fmt"
	"os"
	"strings"
)

// Buildah is buildah on a machine. It hands the plugin a namespace that has no
// file but a descriptor of its own (/proc/PID/fd/N).
type Buildah struct{ m *Machine }

// Buildah prepares buildah and gives it the image.
func (m *Machine) Buildah(ctx context.Context) (*Buildah, error) {
	if err := m.configureContainers(); err != nil {
		return nil, err
	}
	b := &Buildah{m}
	_, err := b.Do(ctx, "pull", "--quiet", "docker-archive:"+imageFile)
	return b, err
}

// Do runs a buildah command.
func (b *Buildah) Do(ctx context.Context, args ...string) (string, error) {
	return b.m.Run(ctx, "buildah", args...)
}

// Container makes a working container of the image. Each Exec in it has a
// namespace, an attachment and an address of its own.
func (b *Buildah) Container(ctx context.Context, name string) (*Container, error) {
	id, err := b.Do(ctx, "from", "--pull=never", "--name", name, Image)
	if err != nil {
		return nil, err
	}
	return &Container{Name: name, ID: strings.TrimSpace(id), exec: func(ctx context.Context, args ...string) (string, error) {
		return b.Do(ctx, append([]string{"run", "--isolation", "oci", name, "--"}, args...)...)
	}}, nil
}

// Serve runs the image's web server in a working container, in the background,
// and returns what it has on the network.
func (b *Buildah) Serve(ctx context.Context, name string) (i Interface, err error) {
	out, err := b.m.daemon("buildah", "run", "--isolation", "oci", "--env", "NAME="+name, name, "--", "sh", "-c", "ip address show dev eth0 && echo . && "+serve)
	if err != nil {
		return i, err
	}
	err = await(ctx, "the web server in "+name, func() error {
		text, err := os.ReadFile(out)
		if err != nil {
			return err
		}
		shown, _, all := strings.Cut(string(text), "\n.\n")
		if !all {
			return fmt.Errorf("it has said %q", text)
		}
		i, err = parseInterface(shown)
		return err
	})
	return i, err
}

// Build builds an image from the lines of a Containerfile and returns what its
// steps said. Each RUN is a container with a network of its own.
func (b *Buildah) Build(ctx context.Context, tag string, lines ...string) (string, error) {
	dir := "/var/lib/machine/build-" + tag
	if err := b.m.write(dir+"/Containerfile", strings.Join(lines, "\n")+"\n", 0o644); err != nil {
		return "", err
	}
	return b.Do(ctx, "build", "--pull=never", "--isolation", "oci", "--no-cache", "--tag", tag, dir)
}
