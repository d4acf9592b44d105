package kernel

import (
	"fmt"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// waiter waits for the sockets and says once that there is something to read.
// It says so again only after rearm: what is pending does not make it spin.
type waiter struct {
	changed chan struct{}
	arms    atomic.Uint64 // calls of rearm
	armed   chan struct{} // wakes the wait for the next one
	wake    int           // eventfd that ends the wait
	quit    chan struct{}
	ended   chan struct{}
}

func newWaiter(fds ...int) (*waiter, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	w := &waiter{
		changed: make(chan struct{}, 1), armed: make(chan struct{}, 1),
		wake: wake, quit: make(chan struct{}), ended: make(chan struct{}),
	}
	polled := []unix.PollFd{{Fd: int32(wake), Events: unix.POLLIN}}
	for _, fd := range fds {
		polled = append(polled, unix.PollFd{Fd: int32(fd), Events: unix.POLLIN})
	}
	go w.run(polled)
	return w, nil
}

func (w *waiter) run(polled []unix.PollFd) {
	defer close(w.ended)
	for {
		n, err := unix.Poll(polled, -1)
		switch {
		case err == unix.EINTR || err == nil && n == 0:
			continue
		case err != nil || polled[0].Revents != 0:
			return
		}
		arms := w.arms.Load()
		select {
		case w.changed <- struct{}{}:
		default:
		}
		for w.arms.Load() == arms {
			select {
			case <-w.armed:
			case <-w.quit:
				return
			}
		}
	}
}

// rearm says that the sockets have been read empty. A signal sent before that
// is void; what came since raises a new one. (One that is being sent at this
// moment may still arrive, and costs its receiver an empty look.)
func (w *waiter) rearm() {
	w.arms.Add(1)
	select {
	case <-w.changed:
	default:
	}
	select {
	case w.armed <- struct{}{}:
	default:
	}
}

// stop ends the wait and returns when nothing of it is left.
func (w *waiter) stop() {
	close(w.quit)
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
	<-w.ended
	_ = unix.Close(w.wake)
}
