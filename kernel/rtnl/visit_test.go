package rtnl

import (
	"errors"
	"os"
	"runtime"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// namespaceOf is the inode of the namespace that a socket is in.
func namespaceOf(c *Conn) (uint64, error) {
	fd, err := unix.IoctlRetInt(c.Fd(), unix.SIOCGSKNS)
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	err = unix.Fstat(fd, &st)
	return st.Ino, err
}

// own is the inode of the calling goroutine's namespace.
func own() (uint64, error) {
	c, err := Dial()
	if err != nil {
		return 0, err
	}
	defer c.Close()
	return namespaceOf(c)
}

// errorOf calls fn in a goroutine of its own.
func errorOf(fn func() error) error {
	err := make(chan error)
	go func() { err <- fn() }()
	return <-err
}

// Sockets are where they should be, and threads too, while Go's runtime stops
// the world and moves goroutines about as often as it can.
func TestDialInWhileGoroutinesMove(t *testing.T) {
	testns.New(t) // this goroutine's thread alone is in it
	there, err := os.Open(ownNamespace)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	var other unix.Stat_t
	if err := unix.Fstat(int(there.Fd()), &other); err != nil {
		t.Fatal(err)
	}
	var home uint64 // where goroutines are that are not bound to a thread, as this one is
	if err := errorOf(func() (err error) {
		home, err = own()
		return err
	}); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	var load, visitors sync.WaitGroup
	load.Go(func() {
		for {
			select {
			case <-done:
				return
			default:
				runtime.GC()
			}
		}
	})
	for range 4 {
		visitors.Go(func() {
			for range 50 {
				c, err := DialIn(int(there.Fd()))
				if err != nil {
					t.Error(err)
					return
				}
				in, err := namespaceOf(c)
				at, ownErr := own()
				if err := errors.Join(err, ownErr, c.Close()); err != nil || in != other.Ino || at != home {
					t.Errorf("%v: socket in %d, want %d; goroutine in %d, want %d", err, in, other.Ino, at, home)
					return
				}
			}
		})
	}
	visitors.Wait()
	close(done)
	load.Wait()
}

func TestDialInNoNamespace(t *testing.T) {
	f, err := os.Open("/dev/null")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := DialIn(int(f.Fd())); !errors.Is(err, unix.EINVAL) {
		t.Errorf("got %v, want EINVAL", err)
	}
}
