package lab

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A lab that stays, without root, needs its user namespace to stay: a process
// that does nothing but hold it, and into which every later weft-lab of this
// user goes.

// HoldCommand is the hidden subcommand of weft-lab that holds the namespaces.
const HoldCommand = "internal-hold"

// held is the value of insideEnv inside a namespace that is held.
const held = "held"

// EnterHeldNamespace makes a program that is not root root of this user's
// held namespace, by running it again there; start says whether to make one
// where there is none. As root, and inside, it returns at once; otherwise it
// returns only with an error.
func EnterHeldNamespace(start bool) error {
	if os.Getenv(insideEnv) == held { // entering the mounts lost the working directory
		return os.Chdir(os.Getenv("PWD"))
	}
	if os.Geteuid() == 0 || os.Getenv(insideEnv) != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	holder, err := findHolder()
	if err != nil && start {
		holder, err = startHolder(self)
	}
	if err != nil {
		return err
	}
	enter, err := exec.LookPath("nsenter")
	if err != nil {
		return fmt.Errorf("needs root, or util-linux: %w", err)
	}
	argv := []string{enter, "--preserve-credentials", "--user", "--mount", "--net", "--pid", "--target", strconv.Itoa(holder.PID), "--", self}
	return unix.Exec(enter, append(argv, os.Args[1:]...), append(os.Environ(), insideEnv+"="+held, "PWD="+here))
}

func holderFile() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("needs root, or a home directory: %w", err)
	}
	return filepath.Join(dir, "weft-lab", "holder.json"), nil
}

func findHolder() (processID, error) {
	path, err := holderFile()
	if err != nil {
		return processID{}, err
	}
	var id processID
	data, err := os.ReadFile(path)
	if err == nil {
		err = json.Unmarshal(data, &id)
	}
	if err != nil || !id.alive() {
		return id, errors.New("there is no lab (weft-lab up makes one)")
	}
	return id, nil
}

// startHolder starts the holder and waits until its namespaces are ready.
func startHolder(self string) (processID, error) {
	path, err := holderFile()
	if err != nil {
		return processID{}, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return processID{}, err
	}
	cmd := exec.Command(self, HoldCommand)
	cmd.Env = append(os.Environ(), insideEnv+"=new")
	cmd.SysProcAttr = userNamespace()
	cmd.SysProcAttr.Setsid = true
	answer, err := cmd.StdoutPipe()
	if err != nil {
		return processID{}, err
	}
	if err := cmd.Start(); err != nil {
		return processID{}, fmt.Errorf("needs root, or permission to make user namespaces: %w", err)
	}
	line, err := bufio.NewReader(answer).ReadString('\n')
	if err != nil || line != "ready\n" {
		return processID{}, fmt.Errorf("needs root: %s", lastLine(line))
	}
	id, err := identify(cmd.Process.Pid)
	if err != nil {
		return id, err
	}
	data, err := json.Marshal(id)
	if err != nil {
		return id, err
	}
	return id, os.WriteFile(path, data, 0o600)
}

// Hold is the holder's whole life: it makes the mounts, says so on standard
// output and, as the first process of its process namespace, waits for the
// orphans of that namespace. Told to end, it does so once it is alone: its
// end kills everybody else in there, the one who told it included.
func Hold() error {
	if err := privateMounts(); err != nil {
		fmt.Println(err)
		return err
	}
	signals := make(chan os.Signal, 16)
	signal.Notify(signals, syscall.SIGCHLD, syscall.SIGTERM)
	fmt.Println("ready")
	var look <-chan time.Time // whether it is alone; only once it was told to end
	for {
		select {
		case sig := <-signals:
			reap()
			if sig == syscall.SIGTERM && look == nil {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				look = tick.C
			}
		case <-look:
			if all, err := filepath.Glob("/proc/[0-9]*"); err != nil || len(all) == 1 {
				return err
			}
		}
	}
}

// reap collects every child that has ended.
func reap() {
	for {
		if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
			return
		}
	}
}

// ReleaseHeldNamespace ends the holder when no lab is left in it.
func ReleaseHeldNamespace() error {
	names, err := Names()
	if err != nil || len(names) > 0 || os.Getenv(insideEnv) != held {
		return err
	}
	return unix.Kill(1, unix.SIGTERM)
}
