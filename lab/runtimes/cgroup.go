package runtimes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/lab"
)

// cgroupPrefix begins the names of machines' cgroups. The lab's name and the
// host's follow, with a dot between, which neither has in it.
const cgroupPrefix = "weft-lab-"

// makeCgroup makes the cgroup of a machine and removes those of machines whose
// lab is gone.
func makeCgroup(lab, host string) (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	if err := sweepCgroups(root); err != nil {
		return "", err
	}
	path := filepath.Join(root, cgroupPrefix+lab+"."+host)
	return path, os.Mkdir(path, 0o755)
}

// cgroupRoot finds the hierarchy of cgroup version 2. A machine sees that one
// alone, so that runtimes do there what they do on hosts of today, wherever the
// lab runs.
func cgroupRoot() (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	for lines := bufio.NewScanner(f); lines.Scan(); {
		mount, kind, _ := strings.Cut(lines.Text(), " - ") // proc_pid_mountinfo(5)
		if fields := strings.Fields(mount); strings.HasPrefix(kind, "cgroup2 ") && len(fields) > 4 {
			return fields[4], nil
		}
	}
	return "", errors.New("no cgroup2 is mounted")
}

// sweepCgroups removes what labs that are gone have left.
func sweepCgroups(root string) error {
	left, err := filepath.Glob(filepath.Join(root, cgroupPrefix+"*"))
	if err != nil {
		return err
	}
	labs, err := lab.Names()
	if err != nil {
		return err
	}
	var errs []error
	for _, path := range left {
		name, _, _ := strings.Cut(strings.TrimPrefix(filepath.Base(path), cgroupPrefix), ".")
		if slices.Contains(labs, name) {
			continue
		}
		// Processes in it die at this moment, and somebody else may sweep too.
		if err := removeCgroup(path); err != nil && !errors.Is(err, unix.EBUSY) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// removeCgroup removes a cgroup and those below; EBUSY as long as one of them
// has a process.
func removeCgroup(path string) error {
	var all []string
	err := filepath.WalkDir(path, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			all = append(all, path)
		}
		return err
	})
	for _, path := range slices.Backward(all) {
		err = errors.Join(err, unix.Rmdir(path))
	}
	if errors.Is(err, fs.ErrNotExist) && !errors.Is(err, unix.EBUSY) {
		return nil
	}
	return err
}

// emptyCgroup removes a cgroup when the last of its processes is gone.
func emptyCgroup(ctx context.Context, path string) error {
	return await(ctx, fmt.Sprintf("the processes in %s to end", path), func() error { return removeCgroup(path) })
}
