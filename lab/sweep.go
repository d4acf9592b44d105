package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Sweep removes every lab whose process died without taking it down, and
// returns their names.
func Sweep() ([]string, error) {
	var swept []string
	err := lockedState(func() error {
		names, err := Names()
		if err != nil {
			return err
		}
		var errs []error
		for _, name := range names {
			// Under the lock every directory has its record: one without was
			// left by a process killed between the two.
			s, err := readState(name)
			if err == nil && !s.abandoned() {
				continue
			}
			errs = append(errs, destroy(name))
			swept = append(swept, name)
		}
		return errors.Join(errs...)
	})
	return swept, err
}

// destroy removes all traces of a lab: processes, namespaces, directory. It
// needs nothing but the name, and may be repeated.
func destroy(name string) error {
	spaces, err := filepath.Glob(filepath.Join(netnsDir, namespacePrefix(name)+"*"))
	if err != nil {
		return err
	}
	errs := []error{killInside(spaces)}
	for _, path := range spaces {
		errs = append(errs, removeNamespace(filepath.Base(path)))
	}
	errs = append(errs, os.RemoveAll(labDir(name)))
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove lab %s: %w", name, err)
	}
	return nil
}

// inode identifies a namespace.
type inode struct{ dev, ino uint64 }

func inodeOf(path string) (inode, error) {
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return inode{}, err
	}
	return inode{st.Dev, st.Ino}, nil
}

// killInside kills every process that lives in one of the namespaces and
// waits until they are gone. No list of processes can be wrong about that.
func killInside(spaces []string) error {
	ours := map[inode]bool{}
	for _, path := range spaces {
		if in, err := inodeOf(path); err == nil {
			ours[in] = true
		}
	}
	for deadline := time.Now().Add(10 * time.Second); ; {
		inside, err := processesIn(ours)
		if err != nil || len(inside) == 0 {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("process %d does not die", inside[0].PID)
		}
		for _, p := range inside {
			if err := p.signal(syscall.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
				return err
			}
		}
		_, _ = unix.Poll(nil, 5) // they die meanwhile
	}
}

// processesIn lists the processes, this one apart, whose network namespace is
// one of spaces.
func processesIn(spaces map[inode]bool) ([]processID, error) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil, err
	}
	var out []processID
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		in, err := inodeOf(filepath.Join("/proc", e.Name(), "ns/net"))
		if err != nil || !spaces[in] {
			continue // gone, a zombie, or somebody else's
		}
		id, err := identify(pid)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if id.alive() {
			out = append(out, id)
		}
	}
	return out, nil
}

// namespacePrefix begins the names of a lab's namespaces. Lab names hold no
// dash, so that no lab's prefix begins another's.
func namespacePrefix(lab string) string { return "weft-" + strings.ToLower(lab) + "-" }
