package rtnl

import (
	"errors"
	"fmt"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// DialIn opens a socket in the network namespace that the descriptor nsfd refers
// to. Where and what the calling goroutine is does not change.
//
// It does what Within with Dial does, without a goroutine that is locked to its
// thread: for the first of these Go starts one more thread, from which clean ones
// are made, and that is a twenty-fifth of an ADD's time.
//
// ErrStranded is the one error that a process must not outlive.
func DialIn(nsfd int) (*Conn, error) {
	own, err := unix.Open(ownNamespace, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", ownNamespace, err)
	}
	v := visit{there: uintptr(nsfd), home: uintptr(own)}
	v.socket(unix.NETLINK_ROUTE)
	if err := unix.Close(own); err != nil {
		return nil, err
	}
	switch {
	case v.enter != 0:
		return nil, fmt.Errorf("enter network namespace: %w", v.enter)
	case v.leave != 0:
		return nil, fmt.Errorf("%w: %w", ErrStranded, v.leave)
	case v.open != 0:
		return nil, fmt.Errorf("netlink socket: %w", v.open)
	}
	return wrap(int(v.fd))
}

// ErrStranded says that a thread could not come back from another network
// namespace. What runs on it later would run there.
var ErrStranded = errors.New("a thread is left in another network namespace")

// visit is a thread's visit to another network namespace: descriptors of both,
// and what came of each step.
type visit struct {
	there, home        uintptr
	enter, open, leave syscall.Errno // 0: done, or not come to
	fd                 uintptr       // of the socket
}

// socket opens a socket in the other namespace.
//
// The goroutine stays on its thread, and no thread is made from it, from the first
// setns to the second, although nothing locks it: it can be taken off only by a
// signal (SIGURG), and all are blocked; at the start of a function that may have
// to grow the stack, and all here are nosplit; and in a system call that the
// scheduler is told of, which raw ones are not. The same holds for what package
// syscall does between fork and exec.
//
//go:nosplit
//go:norace
func (v *visit) socket(protocol uintptr) {
	all, before := ^uint64(0), uint64(0) // sigset_t
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&all)), uintptr(unsafe.Pointer(&before)), 8, 0, 0)
	if _, _, v.enter = syscall.RawSyscall(unix.SYS_SETNS, v.there, unix.CLONE_NEWNET, 0); v.enter == 0 {
		v.fd, _, v.open = syscall.RawSyscall(syscall.SYS_SOCKET, unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		const attempts = 10 // it may lack memory for a moment
		for n := 0; n < attempts; n++ {
			if _, _, v.leave = syscall.RawSyscall(unix.SYS_SETNS, v.home, unix.CLONE_NEWNET, 0); v.leave == 0 {
				break
			}
		}
	}
	_, _, _ = syscall.RawSyscall6(syscall.SYS_RT_SIGPROCMASK, unix.SIG_SETMASK, uintptr(unsafe.Pointer(&before)), 0, 8, 0, 0)
}
