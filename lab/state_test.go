package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// abandonEnv makes the test program build a lab and wait to be killed.
const abandonEnv = "WEFT_LAB_TEST_ABANDON"

// abandon is the life of that copy. It prints the lab's name and the numbers
// of processes that it left inside: one of nobody's, and routing daemons.
func abandon() int {
	l, err := New(Options{Topology: Topology{
		Racks: []Rack{{Name: "r1", ToRs: []SwitchSpec{{Name: "t1", Kind: KindFRR}, {Name: "t2", Kind: KindBIRD}}}},
		Hosts: []HostSpec{{Name: "h1"}},
	}})
	if err == nil {
		err = l.StartSwitches(context.Background())
	}
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	cmd, err := l.Host("h1").sleeper()
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	words := []any{l.Name, cmd.Process.Pid}
	for _, s := range l.Switches() {
		for _, p := range s.daemonProcesses() {
			words = append(words, p.PID())
		}
	}
	fmt.Println(words...)
	_ = cmd.Wait() // killed with the lab
	return 0
}

func TestSweepRemovesWhatACrashedRunLeft(t *testing.T) {
	t.Parallel()
	testns.New(t)
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), abandonEnv+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	words := strings.Fields(line)
	if len(words) != 5 {
		t.Fatalf("%q is not a name, a process, zebra, bgpd and bird", line)
	}
	name := words[0]
	var children []processID
	for _, word := range words[1:] {
		pid, err := strconv.Atoi(word)
		if err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		child, err := identify(pid)
		if err != nil || !child.alive() {
			t.Fatalf("process %d does not run: %v", pid, err)
		}
		children = append(children, child)
	}
	if swept, err := Sweep(); err != nil || slices.Contains(swept, name) {
		t.Errorf("a lab whose process lives was swept: %v", err)
	}
	if _, err := os.Stat(labDir(name)); err != nil {
		t.Errorf("a lab whose process lives lost its directory: %v", err)
	}

	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	if err := await(testContext(t), "the children to die", func() error {
		for _, child := range children {
			if child.alive() {
				return fmt.Errorf("%d lives", child.PID)
			}
		}
		return nil
	}); err != nil {
		t.Error(err)
	}
	// Another test's New may have swept it first: what counts is that it went.
	if _, err := Sweep(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(netnsDir, namespacePrefix(name)+"*")); len(left) > 0 {
		t.Errorf("namespaces left: %v", left)
	}
	if _, err := os.Stat(labDir(name)); err == nil {
		t.Errorf("%s is left", labDir(name))
	}
}

func TestLabThatStaysIsNotSwept(t *testing.T) {
	t.Parallel()
	l := makeLab(t, Options{Stay: true})
	if err := l.record(func(s *state) { s.Owner.Start++ }); err != nil { // as if its process were gone
		t.Fatal(err)
	}
	if swept, err := Sweep(); err != nil || slices.Contains(swept, l.Name) {
		t.Errorf("swept %v, %v", swept, err)
	}
	if _, err := Load(l.Name); err != nil {
		t.Error(err)
	}
}

func TestLoadSeesTheSameLab(t *testing.T) {
	t.Parallel()
	ctx := testContext(t)
	l := bareLab(t, Topology{Hosts: []HostSpec{{Name: "h1"}, {Name: "h2", Rack: "r2", Families: []string{"ipv6"}}}})
	if err := l.Etcd.Start(ctx); err != nil {
		t.Fatal(err)
	}
	other, err := Load(l.Name)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	for i, h := range l.Hosts {
		if got := other.Hosts[i]; got.Underlay != h.Underlay || got.Spec.Name != h.Spec.Name {
			t.Errorf("got %v %v, want %v %v", got.Spec, got.Underlay, h.Spec, h.Underlay)
		}
	}
	if err := other.Etcd.WaitReady(ctx); err != nil {
		t.Error(err)
	}
	if err := other.Etcd.Stop(ctx); err != nil || l.Etcd.members[0].proc.Alive() {
		t.Errorf("etcd was not stopped by the other: %v", err)
	}
	if out, err := other.Host("h1").Run(ctx, "ip", "-br", "addr", "show", uplink); err != nil || !strings.Contains(out, "198.18.1.11/24") {
		t.Errorf("%q, %v", out, err)
	}
}

func TestNameIsTakenOnce(t *testing.T) {
	t.Parallel()
	l := bareLab(t, Topology{})
	if _, err := New(Options{Name: l.Name}); err == nil || !strings.Contains(err.Error(), "already") {
		t.Errorf("got %v", err)
	}
	for _, name := range []string{"a-b", "A", "x/y"} {
		if _, err := New(Options{Name: name}); err == nil {
			t.Errorf("the name %q was accepted", name)
		}
	}
}

// TestProcessNumberUsedAgain: a number whose start time differs is another
// process, and gets no signal.
func TestProcessNumberUsedAgain(t *testing.T) {
	cmd := exec.Command("sleep", "600")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	}()
	id, err := identify(cmd.Process.Pid)
	if err != nil || !id.alive() {
		t.Fatalf("%+v, %v", id, err)
	}
	stale := processID{PID: id.PID, Start: id.Start - 1}
	if stale.alive() {
		t.Error("taken for the earlier process of that number")
	}
	if err := stale.signal(unix.SIGKILL); !errors.Is(err, unix.ESRCH) {
		t.Errorf("signal to the earlier process: %v", err)
	}
	if !id.alive() {
		t.Error("the signal went to the wrong process")
	}
}
