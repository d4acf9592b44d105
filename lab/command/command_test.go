package command

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/weft-net/weft/internal/testns"
	"github.com/weft-net/weft/lab"
)

// nobody is a user without privileges.
const nobody = 65534

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

func testMain(m *testing.M) int {
	outer := os.Geteuid() != 0
	code, ran, err := lab.EnterUserNamespace()
	if ran {
		return code
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err) // testns.New leaves out what cannot be
	}
	privileged = !outer && os.Getenv("WEFT_LAB_USERNS") == ""
	return m.Run()
}

// privileged is true where the tests run as the machine's root, who can
// become somebody else.
var privileged bool

// user runs weft-lab, without root where that can be had.
type user struct {
	t    *testing.T
	bin  string
	home string
	drop bool
}

func newUser(t *testing.T) *user {
	testns.New(t)
	u := &user{t: t, bin: os.Getenv("WEFT_TEST_BIN"), drop: privileged}
	dir, err := os.MkdirTemp("", "weft-lab-user-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	u.home = filepath.Join(dir, "home")
	if u.bin == "" {
		u.bin = filepath.Join(dir, "bin")
		if err := os.Mkdir(u.bin, 0o755); err != nil {
			t.Fatal(err)
		}
		if _, err := lab.BuildBinaries(t.Context(), u.bin); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(u.home, 0o700); err != nil {
		t.Fatal(err)
	}
	if u.drop {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(u.home, nobody, nobody); err != nil {
			t.Fatal(err)
		}
	}
	return u
}

// run returns standard output and the exit code.
func (u *user) run(args ...string) (string, int) {
	u.t.Helper()
	cmd := exec.CommandContext(u.t.Context(), filepath.Join(u.bin, "weft-lab"), args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Dir = &out, &errs, "/"
	cmd.Env = append(os.Environ(), "HOME="+u.home, "XDG_CACHE_HOME=")
	if u.drop {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, NoSetGroups: true}}
	}
	err := cmd.Run()
	if u.drop && strings.Contains(errs.String(), "needs root") {
		u.t.Logf("not possible here without root: %s", errs.String())
		u.drop = false
		return u.run(args...)
	}
	if err != nil {
		u.t.Logf("weft-lab %s: %v\n%s", strings.Join(args, " "), err, errs.String())
	}
	return out.String(), cmd.ProcessState.ExitCode()
}

func TestDemo(t *testing.T) {
	for name, words := range map[string][]string{
		"demo": {"h1-a", "h3-b", "direct", "vxlan", "ipv4", "ipv6", "10.244.", "fd00:10:244:"},
		"demo-bgp": {
			"h1-a", "h4-a", "established", "64901", "4200000001", "t1a loses", "t1a comes back",
			"ipv4", "ipv6", "10.244.", "fd00:10:244:", "198.18.1.1 eth0, 198.18.101.1 eth1",
		},
		"demo-migrate": {
			"6 hosts", "vxlan-to-bgp", "bgp-to-vxlan", "finished", "direct", "bgp", "vxlan",
			"retransmissions: ", "packets reordered: 0",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			demonstrate(t, name, words)
		})
	}
}

// demonstrate runs a demo as anybody would, and looks at what it shows.
func demonstrate(t *testing.T, name string, words []string) {
	t.Helper()
	out, code := newUser(t).run(name)
	if code != 0 || !strings.HasSuffix(out, "packets lost: 0\n"+lastWords(out)) {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for line := range strings.Lines(out) {
		if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	for _, want := range words {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing", want)
		}
	}
}

// lastWords is the last chapter of a demo.
func lastWords(out string) string { return out[max(0, strings.LastIndex(out, "\n[")):] }

func TestDemoFailsWithoutItsPrograms(t *testing.T) {
	t.Parallel()
	out, code := newUser(t).run("demo", "--bin", "/nonexistent")
	if code != 1 {
		t.Errorf("exit code %d\n%s", code, out)
	}
}

// TestLabThatStays uses a lab from one process after another.
func TestLabThatStays(t *testing.T) {
	t.Parallel()
	u := newUser(t)
	name := "--name=t" + fmt.Sprint(os.Getpid())
	file := filepath.Join(u.home, "..", "topology.yaml")
	topology := "hosts: [{name: north}, {name: south, rack: r2}]\npods: [{name: p1, host: north}]\n"
	if err := os.WriteFile(file, []byte(topology), 0o644); err != nil {
		t.Fatal(err)
	}
	defer u.run("down", name)
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"up", name, "-f", file}, "ready"},
		{[]string{"status", name}, "vxlan"},
		{[]string{"pod", "add", "south", "p2", name}, "p2 [10.244."},
		{[]string{"exec", name, "p1", "--", "ip", "-br", "addr", "show", "eth0"}, "10.244."},
		{[]string{"exec", name, "south", "--", "weft", "status"}, "node      south"},
		{[]string{"status", name}, "p2   south"},
		{[]string{"pod", "rm", "p2", name}, ""},
		{[]string{"down", name}, ""},
	} {
		out, code := u.run(step.args...)
		if code != 0 || !strings.Contains(out, step.want) {
			t.Fatalf("weft-lab %s: exit code %d, want 0 and %q\n%s", strings.Join(step.args, " "), code, step.want, out)
		}
	}
	if out, code := u.run("status", name); code != 1 {
		t.Errorf("status of a lab that is gone: exit code %d\n%s", code, out)
	}
}
