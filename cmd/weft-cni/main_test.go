package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// Other processes' timer slack is for CAP_SYS_NICE, which a user namespace gives.
func TestMain(m *testing.M) { os.Exit(testns.Main(m)) }

// A plugin built as `make build` builds it begins at weft_cni_entry: its
// runtime's threads may oversleep, its own may not, and its limit of open files
// is as in any Go program by the time it reads its configuration.
func TestEntry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "weft")
	build := exec.Command("go", "build", "-ldflags", "-E weft_cni_entry", "-o", path, ".")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	cmd := exec.Command(path)
	cmd.Env = []string{"CNI_COMMAND=VERSION"}
	stdin, err := cmd.StdinPipe() // it waits for its end
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	deadline, tick := time.After(20*time.Second), time.NewTicker(5*time.Millisecond)
	defer tick.Stop()
	for err = settled(cmd.Process.Pid); err != nil; err = settled(cmd.Process.Pid) {
		select {
		case <-deadline:
			t.Error(err)
		case <-tick.C:
			continue
		}
		break
	}
	if err := errors.Join(stdin.Close(), cmd.Wait()); err != nil {
		t.Error(err)
	}
}

// settled returns what is not, or not yet, as the entry point and main leave it.
func settled(pid int) error {
	var files unix.Rlimit
	if err := unix.Prlimit(pid, unix.RLIMIT_NOFILE, nil, &files); err != nil {
		return err
	}
	if files.Cur < files.Max-1 {
		return fmt.Errorf("%d of %d files can be open", files.Cur, files.Max)
	}
	own, err := os.ReadFile("/proc/self/timerslack_ns")
	if err != nil {
		return err
	}
	tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		return err
	}
	quiet := false
	for _, task := range tasks {
		slack, err := os.ReadFile("/proc/" + task.Name() + "/timerslack_ns")
		switch {
		case err != nil:
			return err
		case task.Name() != strconv.Itoa(pid):
			quiet = quiet || string(slack) == "10000000\n"
		case string(slack) != string(own):
			return fmt.Errorf("the main thread's timer slack is %s, ours %s", slack, own)
		}
	}
	if !quiet {
		return errors.New("no thread has the timer slack of the entry point")
	}
	return nil
}

// What is tested is what is shipped.
func TestMakeBuildsWithTheEntry(t *testing.T) {
	out, err := exec.Command("make", "-n", "-C", "../..", "build").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "-E weft_cni_entry") {
		t.Errorf("%v\n%s", err, out)
	}
}
