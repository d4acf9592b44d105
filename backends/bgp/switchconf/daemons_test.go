package switchconf

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// process is a daemon of a test's. The kernel kills it when the test does not.
type process struct {
	*exec.Cmd
	output bytes.Buffer
	ended  chan struct{}
}

// start runs a daemon in the test's namespace, or in one of its own.
func start(t *testing.T, ownNamespace bool, name string, args ...string) *process {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{Cmd: exec.CommandContext(ctx, name, args...), ended: make(chan struct{})}
	p.Stdout, p.Stderr = &p.output, &p.output
	p.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if ownNamespace {
		p.SysProcAttr.Cloneflags = syscall.CLONE_NEWNET
	}
	if err := p.Start(); err != nil {
		cancel()
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.Wait() // killed: that is its error
	}()
	t.Cleanup(func() {
		cancel()
		<-p.ended
		if t.Failed() {
			t.Logf("%s said:\n%s", name, p.output.String())
		}
	})
	return p
}

// in runs a program in the namespace of a process and returns what it says.
func (p *process) in(args ...string) (string, error) {
	all := append([]string{"--target", fmt.Sprint(p.Process.Pid), "--net", "--"}, args...)
	out, err := exec.Command("nsenter", all...).CombinedOutput()
	return string(out), err
}

// poll waits until something is so; it gives up after a minute.
func poll(t *testing.T, what string, isSo func() (bool, string)) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	last := ""
	for deadline := time.After(time.Minute); ; {
		var ok bool
		if ok, last = isSo(); ok {
			return
		}
		select {
		case <-deadline:
			t.Fatalf("waited in vain for %s:\n%s", what, last)
		case <-tick.C:
		}
	}
}

// tor is a real switch daemon with a generated configuration.
type tor interface {
	routes(family string) string // those it uses, in its own words
}

type frr struct{ dir string }

// inFRRsGroup gives the test's thread a mount namespace of its own in which
// root is in the group frrvty, as FRR's daemons demand of who starts them, and
// what they leave in /var/tmp goes with the thread.
func inFRRsGroup(t *testing.T) {
	t.Helper()
	group := filepath.Join(t.TempDir(), "group")
	write(t, group, "root:x:0:\nfrrvty:x:0:\n")
	err := unix.Unshare(unix.CLONE_NEWNS)
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"none", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{group, "/etc/group", "", unix.MS_BIND},
		{"none", "/var/tmp", "tmpfs", 0},
	} {
		if err == nil {
			err = unix.Mount(m.source, m.target, m.kind, m.flags, "")
		}
	}
	if err != nil {
		t.Fatalf("a mount namespace for FRR: %v", err)
	}
}

// startFRR runs zebra and bgpd with files and sockets of their own.
func startFRR(t *testing.T, config string) frr {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, "bgpd.conf")
	empty := filepath.Join(dir, "zebra.conf")
	write(t, file, config)
	write(t, empty, "")
	sock := filepath.Join(dir, "zserv.api")
	common := []string{"-u", "root", "-g", "root", "--vty_socket", dir, "-P", "0", "-z", sock, "--log", "stdout"}
	start(t, false, "/usr/lib/frr/zebra", append(common, "-f", empty, "-i", filepath.Join(dir, "zebra.pid"))...)
	poll(t, "zebra's socket", func() (bool, string) {
		_, err := os.Stat(sock)
		return err == nil, fmt.Sprint(err)
	})
	start(t, false, "/usr/lib/frr/bgpd", append(common, "-f", file, "-i", filepath.Join(dir, "bgpd.pid"))...)
	return frr{dir}
}

func (f frr) routes(family string) string {
	out, _ := exec.Command("vtysh", "--vty_socket", f.dir, "-d", "bgpd", "-c", "show bgp "+family+" unicast").CombinedOutput()
	return string(out)
}

type bird struct{ sock string }

func startBIRD(t *testing.T, config string) bird {
	t.Helper()
	dir := t.TempDir()
	file, sock := filepath.Join(dir, "bird.conf"), filepath.Join(dir, "bird.ctl")
	write(t, file, config)
	start(t, false, "/usr/sbin/bird", "-f", "-c", file, "-s", sock, "-P", filepath.Join(dir, "pid"))
	return bird{sock}
}

func (b bird) routes(family string) string {
	table := map[string]string{"ipv4": "master4", "ipv6": "master6"}[family]
	out, _ := exec.Command("/usr/sbin/birdc", "-s", b.sock, "show", "route", "table", table, "all").CombinedOutput()
	return string(out)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// host is a node of another make: gobgpd in a namespace of its own, on the
// switch's segment, the bridge "seg".
type host struct{ *process }

func startHost(t *testing.T, n int, addrs []string, config string) host {
	t.Helper()
	file := filepath.Join(t.TempDir(), "gobgpd.toml")
	write(t, file, config)
	h := host{start(t, true, "/usr/bin/gobgpd", "-f", file, "--pprof-disable", "--api-hosts", "127.0.0.1:50051", "-p")}
	port := fmt.Sprintf("host%d", n)
	testns.Run(t, "ip", "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", fmt.Sprint(h.Process.Pid))
	testns.Run(t, "ip", "link", "set", port, "master", "seg", "up")
	lines := []string{"ip link set lo up"}
	for _, a := range addrs {
		lines = append(lines, addAddress(a, "eth0"))
	}
	for _, line := range append(lines, "ip link set eth0 up") {
		if out, err := h.in(strings.Fields(line)...); err != nil {
			t.Fatalf("%s: %v\n%s", line, err, out)
		}
	}
	return h
}

// addAddress is the command for an address that can be used at once.
func addAddress(addr, link string) string {
	if strings.Contains(addr, ":") {
		link += " nodad"
	}
	return "ip address add " + addr + " dev " + link
}

// gobgp runs gobgpd's command line until it succeeds: it may be starting.
func (h host) gobgp(t *testing.T, args ...string) {
	t.Helper()
	poll(t, "gobgp "+strings.Join(args, " "), func() (bool, string) {
		out, err := h.in(append([]string{"/usr/bin/gobgp"}, args...)...)
		return err == nil, out
	})
}
