package lab

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"

	"golang.org/x/sys/unix"
)

// insideEnv is set in the environment of a copy of this program that runs in
// a user namespace: "new" before it has made its mounts, "ready" after.
const insideEnv = "WEFT_LAB_USERNS"

// EnterUserNamespace makes a program that is not root root of a user
// namespace of its own, by running it again there with network, mount and
// process namespaces; all that it leaves behind ends with it. ran is true in
// the outer copy, whose only task is then to exit with code. As root, and in
// the inner copy, it returns at once.
func EnterUserNamespace() (code int, ran bool, err error) {
	switch os.Getenv(insideEnv) {
	case "new":
		if err := privateMounts(); err != nil {
			return 1, false, err
		}
		return 0, false, os.Setenv(insideEnv, "ready")
	case "ready":
		return 0, false, nil
	}
	if os.Geteuid() == 0 {
		return 0, false, nil
	}
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideEnv+"=new")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = userNamespace()
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	// Ctrl-C reaches both copies; the inner one cleans up, this one waits.
	interrupts := make(chan os.Signal, 1)
	signal.Notify(interrupts, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(interrupts)
	if err := cmd.Start(); err != nil {
		return 1, false, fmt.Errorf("needs root, or permission to make user namespaces: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- cmd.Wait() }()
	for {
		select {
		case sig := <-interrupts:
			if sig == syscall.SIGTERM { // sent to this process alone
				_ = cmd.Process.Signal(sig)
			}
		case err := <-done:
			var exit *exec.ExitError
			if errors.As(err, &exit) {
				return max(exit.ExitCode(), 1), true, nil
			}
			return 0, true, err
		}
	}
}

// userNamespace describes new namespaces in which this user is root.
func userNamespace() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
	}
}

// privateMounts gives the new mount namespace a /run to write to and a /proc
// that shows its own processes.
func privateMounts() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("needs root, or mounts in user namespaces: %w", err)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("needs root, or a tmpfs in user namespaces: %w", err)
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("needs root, or a /proc of its own in user namespaces (containers hide it): %w", err)
	}
	return nil
}
