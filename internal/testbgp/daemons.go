package testbgp

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

// EnterFRRsGroup gives the test's thread a mount namespace of its own in which
// root is in the group frrvty, as FRR's daemons demand of who starts them; what
// they leave in /var/tmp goes with the thread. Call it once, after testns.New
// and before anything of FRR's is run.
func EnterFRRsGroup(t *testing.T) {
	t.Helper()
	group := write(t, t.TempDir(), "group", "root:x:0:\nfrrvty:x:0:\n")
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

// FRR is a zebra and a bgpd.
type FRR struct{ dir string }

// StartFRR runs zebra without a configuration, and bgpd with this one and these
// options more. EnterFRRsGroup comes first.
func StartFRR(t *testing.T, config string, options ...string) *FRR {
	t.Helper()
	dir := t.TempDir()
	sock := filepath.Join(dir, "zserv.api")
	daemon := func(name, config string, options ...string) {
		t.Helper()
		args := []string{
			"-u", "root", "-g", "root", "--vty_socket", dir, "-P", "0", "-z", sock, "--log", "stdout",
			"-f", write(t, dir, name+".conf", config), "-i", filepath.Join(dir, name+".pid"),
		}
		Start(t, false, "/usr/lib/frr/"+name, append(args, options...)...)
	}
	daemon("zebra", "")
	Poll(t, "zebra's socket", func() (bool, string) {
		_, err := os.Stat(sock)
		return err == nil, fmt.Sprint(err)
	})
	daemon("bgpd", config, options...)
	write(t, dir, "vtysh.conf", "") // vtysh complains where it cannot read one
	return &FRR{dir}
}

// Show runs commands of vtysh's at bgpd and returns what they say, also when
// bgpd is not there yet.
func (f *FRR) Show(commands ...string) string {
	args := []string{"--vty_socket", f.dir, "--config_dir", f.dir, "-d", "bgpd"}
	for _, c := range commands {
		args = append(args, "-c", c)
	}
	out, _ := exec.Command("vtysh", args...).CombinedOutput()
	return string(out)
}

// BIRD is a bird.
type BIRD struct {
	*Process
	sock string
}

// StartBIRD runs BIRD with a configuration.
func StartBIRD(t *testing.T, config string) *BIRD {
	t.Helper()
	dir := t.TempDir()
	sock := filepath.Join(dir, "bird.ctl")
	return &BIRD{Start(t, false, "/usr/sbin/bird", "-f", "-c", write(t, dir, "bird.conf", config), "-s", sock, "-P", filepath.Join(dir, "pid")), sock}
}

// Show runs a "show" command of birdc's and returns what it says, also when
// BIRD is not there yet.
func (b *BIRD) Show(args ...string) string {
	out, _ := exec.Command("/usr/sbin/birdc", append([]string{"-s", b.sock, "show"}, args...)...).CombinedOutput()
	return string(out)
}

// GoBGP is a gobgpd, which has a network namespace of its own.
type GoBGP struct{ *Process }

// StartGoBGP runs gobgpd with a configuration.
func StartGoBGP(t *testing.T, config string) *GoBGP {
	t.Helper()
	file := write(t, t.TempDir(), "gobgpd.toml", config)
	return &GoBGP{Start(t, true, "/usr/bin/gobgpd", "-f", file, "--pprof-disable", "--api-hosts", "127.0.0.1:50051", "-p")}
}

// Command runs gobgpd's command line until it succeeds: it may be starting.
func (g *GoBGP) Command(t *testing.T, args ...string) {
	t.Helper()
	Poll(t, fmt.Sprint("gobgp ", args), func() (bool, string) {
		out, err := g.In(append([]string{"/usr/bin/gobgp"}, args...)...)
		return err == nil, out
	})
}
