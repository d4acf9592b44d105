package ipam

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process held the slot files' lock until the
// caller's context ended.
var ErrBusy = errors.New("slot files are locked by another process")

// lock takes the one lock that guards all slot files of a directory, so that
// both families of an attachment are one critical section. It is a file of its
// own that is never replaced; the kernel drops the lock of a process that dies.
// The directory is made if there is none.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	unlock, err = lockIn(ctx, dir)
	if !errors.Is(err, os.ErrNotExist) {
		return unlock, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	return lockIn(ctx, dir)
}

// lockIn is lock in a directory that exists; os.ErrNotExist if it does not.
func lockIn(ctx context.Context, dir string) (unlock func(), err error) {
	path := dir + "/lock"
	for {
		fd, err := openFile(path, unix.O_RDWR|unix.O_CREAT)
		if err != nil {
			return nil, fmt.Errorf("lock slot files: %s: %w", path, err)
		}
		if err := flock(ctx, fd); err != nil {
			return nil, errors.Join(err, unix.Close(fd))
		}
		if current(fd, path) {
			return func() { _ = unix.Close(fd) }, nil
		}
		_ = unix.Close(fd) // the directory was removed meanwhile: lock the file there is now
	}
}

// flock waits for the lock. It asks again and again instead of blocking in the
// kernel, because that wait could not be ended when ctx is.
func flock(ctx context.Context, fd int) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 2*time.Millisecond) {
		err := unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
		switch err {
		case nil:
			return nil
		case unix.EINTR:
			continue
		case unix.EWOULDBLOCK:
		default:
			return fmt.Errorf("lock slot files: %w", err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%w%s (%w)", ErrBusy, holder(fd), ctx.Err())
		case <-time.After(wait):
		}
	}
}

// holder says which process has locked the file, with the first fields of its
// /proc/PID/stat: "T" or "t" is one that was stopped. Empty if it cannot be seen.
func holder(fd int) string {
	var st unix.Stat_t
	locks, err := os.ReadFile("/proc/locks")
	if err != nil || unix.Fstat(fd, &st) != nil {
		return ""
	}
	file := ":" + strconv.FormatUint(st.Ino, 10)
	for line := range strings.Lines(string(locks)) {
		// 2: FLOCK ADVISORY WRITE 5577 00:1b:39992 0 EOF
		f := strings.Fields(line)
		if len(f) < 6 || f[1] != "FLOCK" || !strings.HasSuffix(f[5], file) {
			continue
		}
		stat, err := os.ReadFile("/proc/" + f[4] + "/stat")
		if end := strings.LastIndex(string(stat), ") "); err == nil && end > 0 && len(stat) > end+2 {
			return fmt.Sprintf(": %s in state %c", stat[:end+1], stat[end+2])
		}
		return ": process " + f[4]
	}
	return ""
}

// current reports whether path still is the file that fd is.
func current(fd int, path string) bool {
	var a, b unix.Stat_t
	err, err2 := unix.Fstat(fd, &a), unix.Lstat(path, &b)
	return err == nil && err2 == nil && a.Dev == b.Dev && a.Ino == b.Ino
}
