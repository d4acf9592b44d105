package ipam

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// ErrBusy says that another process held the slot files' lock until the
// caller's context ended.
var ErrBusy = errors.New("slot files are locked by another process")

// lock takes the one lock that guards all slot files of a directory, so that
// both families of an attachment are one critical section. It is a file of its
// own that is never replaced; the kernel drops the lock of a process that dies.
func lock(ctx context.Context, dir string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "lock")
	for {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		if err := flock(ctx, f); err != nil {
			return nil, errors.Join(err, f.Close())
		}
		if current(f, path) {
			return func() { f.Close() }, nil
		}
		f.Close() // the directory was removed meanwhile: lock the file there is now
	}
}

// flock waits for the lock. It asks again and again instead of blocking in the
// kernel, because that wait could not be ended when ctx is.
func flock(ctx context.Context, f *os.File) error {
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 5*time.Millisecond) {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
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
			return fmt.Errorf("%w (%w)", ErrBusy, ctx.Err())
		case <-time.After(wait):
		}
	}
}

// current reports whether path still is the file that f is.
func current(f *os.File, path string) bool {
	a, err := f.Stat()
	b, err2 := os.Lstat(path)
	return err == nil && err2 == nil && os.SameFile(a, b)
}
