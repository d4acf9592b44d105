package lab

import (
	"context"
	"embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/backends/bgp/switchconf"
	"github.com/weft-net/weft/fabric"
)

// frrDir is where Debian's frr keeps its daemons.
const frrDir = "/usr/lib/frr"

//go:embed templates/*.tmpl
var templates embed.FS

// frr is Debian's FRR: zebra, which keeps the kernel's routes, and bgpd. Both
// stay in the foreground, so that they die with the lab, and have configuration,
// sockets and everything else in the switch's directory.
type frr struct {
	sw          *Switch
	zebra, bgpd *Process
}

func newFRR(s *Switch) *frr {
	return &frr{sw: s, zebra: s.lab.process("zebra-" + s.Spec.Name), bgpd: s.lab.process("bgpd-" + s.Spec.Name)}
}

func (d *frr) processes() []*Process { return []*Process{d.zebra, d.bgpd} }

func (d *frr) file(name string) string { return filepath.Join(d.sw.dir(), name) }

func (d *frr) configure(c switchConfig) error {
	text, err := renderSwitch("frr", c)
	if err != nil {
		return err
	}
	// vtysh wants a file, empty as it may be.
	return writeFiles(d.sw.dir(), map[string]string{"frr.conf": text, "vtysh.conf": "", "zebra.conf": "ip nht resolve-via-default\nipv6 nht resolve-via-default\n"})
}

func (d *frr) start(ctx context.Context) error {
	// -K: what an earlier zebra left in the kernel stays until bgpd has learnt
	// anew; a zebra that ends takes nothing along (-r). An IPv6 route that moves
	// is replaced as an IPv4 one is, and not deleted first and then added.
	if err := d.run(ctx, d.zebra, "zebra", "zebra.conf", "-r", "-K", "60", "--v6-rr-semantics"); err != nil {
		return err
	}
	return d.run(ctx, d.bgpd, "bgpd", "frr.conf", "-p", "179")
}

// run starts one daemon, if it does not run, and waits until it answers.
func (d *frr) run(ctx context.Context, p *Process, name, conf string, more ...string) error {
	if p.Alive() {
		return nil
	}
	args := append([]string{
		"-u", "root", "-g", "root", "-P", "0", "--log", "stdout",
		"-f", d.file(conf), "-i", d.file(name + ".pid"), "-z", d.file("zserv.api"), "--vty_socket", d.sw.dir(),
	}, more...)
	spawn, err := d.sw.lab.frrSpawner()
	if err != nil {
		return err
	}
	inside := *d.sw.Namespace
	inside.spawn = spawn
	if err := p.Start(&inside, exec.Command(filepath.Join(frrDir, name), args...)); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	return p.explain(await(ctx, p.Name+" to answer", func() error {
		if !p.Alive() {
			return errNotRunning
		}
		_, err := d.ask(ctx, name, "show version")
		return err
	}))
}

func (d *frr) command(ctx context.Context, words string) (string, error) {
	return d.ask(ctx, "", words)
}

// ask runs a command of vtysh at one daemon, or at all.
func (d *frr) ask(ctx context.Context, daemon, words string) (string, error) {
	args := []string{"--vty_socket", d.sw.dir(), "--config_dir", d.sw.dir(), "-c", words}
	if daemon != "" {
		args = append(args, "-d", daemon)
	}
	return d.sw.Run(ctx, "vtysh", args...)
}

// frrSpawner is the thread that starts FRR's daemons, which refuse to run as
// anybody but a member of the group frrvty, and leave a directory below
// /var/tmp/frr behind when they are killed. In the thread's own mount namespace
// root is a member and /var/tmp is gone with the last of them.
func (l *Lab) frrSpawner() (*spawner, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frr != nil {
		return l.frr, nil
	}
	group := filepath.Join(l.Dir(), "frr.group")
	if err := os.WriteFile(group, []byte("root:x:0:\nfrrvty:x:0:\n"), 0o644); err != nil {
		return nil, err
	}
	s := newSpawner(l.spawn.deathly)
	err := s.call(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
			return fmt.Errorf("mount namespace: %w", err)
		}
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
			return fmt.Errorf("private mounts: %w", err)
		}
		if err := unix.Mount(group, "/etc/group", "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount over /etc/group: %w", err)
		}
		if err := unix.Mount("tmpfs", "/var/tmp", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
			return fmt.Errorf("mount over /var/tmp: %w", err)
		}
		return nil
	})
	if err != nil {
		s.close()
		return nil, fmt.Errorf("a place for FRR: %w", err)
	}
	l.frr = s
	return s, nil
}

// renderSwitch writes a daemon's configuration: the part for the nodes as
// `weft bgp tor-config` writes it, and the part for other switches.
func renderSwitch(kind string, c switchConfig) (string, error) {
	t, err := template.New("").Funcs(template.FuncMap{
		"families": func() []fabric.Family { return fabric.Families[:] },
	}).ParseFS(templates, "templates/*.tmpl")
	if err != nil {
		return "", err
	}
	var b strings.Builder
	if c.HasNodes() {
		nodes, err := switchconf.Render(kind, c.Nodes)
		if err != nil {
			return "", err
		}
		b.WriteString(nodes)
	}
	if err := t.ExecuteTemplate(&b, kind+".tmpl", c); err != nil {
		return "", fmt.Errorf("%s configuration: %w", kind, err)
	}
	return b.String(), nil
}

// writeFiles makes a directory and files in it.
func writeFiles(dir string, files map[string]string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// HasFRR reports whether FRR is installed here.
func HasFRR() bool {
	_, err := os.Stat(filepath.Join(frrDir, "bgpd"))
	return err == nil
}
