// Package testns gives a test a network namespace of its own. The namespace
// belongs to the test's thread alone, has no name, and goes when the thread
// goes: a test that is killed leaves nothing behind. Tests only.
package testns

import (
	"errors"
	"fmt"
	"math"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// reexec is set in the environment of the copy that runs in a user namespace.
const reexec = "WEFT_TEST_IN_USERNS"

// forbidden is the exit status of the copy that may not do what tests need; it
// is none of package testing's.
const forbidden = 75

// LeftOut begins the message of every test that is skipped because no
// namespace can be had; the test report counts these and accepts no others.
const LeftOut = "left out: no network namespace can be had here"

// NeedsRoot begins the message of every test that is skipped because it wants
// more than a user namespace has: many user ids, and cgroups to write to. The
// test report accepts it as well.
const NeedsRoot = "left out: container runtimes need root of the machine"

// Main runs the tests of a package that needs namespaces: directly as root,
// otherwise again in a user namespace where this user is root. Call it from
// TestMain and pass its result to os.Exit.
func Main(m *testing.M) int {
	switch {
	case os.Getenv(reexec) != "":
		// What /proc shows must be the processes of this namespace, so that
		// /proc/<pid>/ns/net is found by those that are told a pid.
		if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
			fmt.Fprintf(os.Stderr, "mount /proc in the user namespace: %v\n", err)
			return forbidden
		}
		return m.Run()
	case os.Geteuid() == 0:
		return m.Run()
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), reexec+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit) && exit.ExitCode() != forbidden:
		return exit.ExitCode()
	}
	fmt.Fprintf(os.Stderr, "no user namespace: %v\n", err)
	return m.Run() // New skips what it must
}

// New moves the calling test into a new network namespace with lo up. The
// goroutine stays locked to its thread; goroutines it starts are elsewhere,
// but sockets opened here and programs started here are inside.
func New(t testing.TB) {
	t.Helper()
	runtime.LockOSThread() // never unlocked: the thread ends with the test
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		if errors.Is(err, unix.EPERM) {
			t.Skipf("%s: %v", LeftOut, err)
		}
		t.Fatalf("new network namespace: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err == nil {
		err = netlink.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatalf("lo up: %v", err)
	}
}

// Root is New for tests that need the machine's root, whose user ids are all
// there are, and not that of a user namespace.
func Root(t testing.TB) {
	t.Helper()
	ids, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		t.Fatal(err)
	}
	all := []string{"0", "0", fmt.Sprint(uint32(math.MaxUint32))} // user_namespaces(7)
	if fields := strings.Fields(string(ids)); os.Geteuid() != 0 || !slices.Equal(fields, all) {
		t.Skipf("%s: user %d of %s", NeedsRoot, os.Geteuid(), strings.Join(fields, " "))
	}
	New(t)
}

// Run runs a program in the test's namespace and fails the test if it fails.
func Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
	return string(out)
}
