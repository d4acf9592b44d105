package faults

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// killPoint is where a traced process was killed, or its ordinary end.
type killPoint struct {
	ended  bool // by itself, before it had made that many calls
	status unix.WaitStatus
	call   uint64 // number of the system call that was not carried out
}

func (k killPoint) String() string {
	if k.ended {
		return fmt.Sprintf("its end, status %#x", uint32(k.status))
	}
	return fmt.Sprintf("system call %d", k.call)
}

// noise are the calls of Go's runtime: how many there are, and when, differs from
// one run to the next, and nothing outside the process can tell whether one of
// them was made. Only calls that are not among them are counted.
func noise(nr uint64, args []uint64) bool {
	switch nr {
	case unix.SYS_FUTEX, unix.SYS_NANOSLEEP, unix.SYS_EPOLL_PWAIT, unix.SYS_SCHED_YIELD, unix.SYS_MADVISE, unix.SYS_TGKILL,
		unix.SYS_GETPID, unix.SYS_GETTID, unix.SYS_RT_SIGACTION, unix.SYS_RT_SIGPROCMASK, unix.SYS_RT_SIGRETURN,
		unix.SYS_SIGALTSTACK, unix.SYS_CLONE, unix.SYS_SCHED_GETAFFINITY, unix.SYS_PRLIMIT64, unix.SYS_EXIT, unix.SYS_CLOCK_GETTIME,
		unix.SYS_RSEQ, unix.SYS_SET_ROBUST_LIST, unix.SYS_PRCTL, unix.SYS_RESTART_SYSCALL:
		return true
	case unix.SYS_MMAP, unix.SYS_MUNMAP, unix.SYS_MPROTECT:
		return nr != unix.SYS_MMAP || int32(args[4]) < 0 // anonymous memory
	}
	return archNoise(nr)
}

// killAt starts a program and kills it at the entry of its n-th system call that
// is not noise, counted over all of its threads from 1; that call is not carried
// out. The caller's goroutine must be locked to its thread, as only the thread
// that started a process may trace it. stdout gets what the program printed.
func killAt(t testing.TB, cmd *exec.Cmd, n int) killPoint {
	t.Helper()
	runtime.LockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Ptrace: true, Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	k, err := trace(pid, n)
	if err != nil {
		_ = unix.Kill(pid, unix.SIGKILL)
		t.Errorf("trace: %v", err)
	}
	for { // until all threads are reaped, and with them all that they held
		var status unix.WaitStatus
		if _, err := unix.Wait4(-pid, &status, unix.WALL, nil); errors.Is(err, unix.ECHILD) {
			break
		}
	}
	_ = cmd.Process.Release()
	return k
}

// trace follows the process group of pid, whose leader has just been started
// and is stopped.
func trace(pid, n int) (killPoint, error) {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_EXITKILL
	var status unix.WaitStatus
	if _, err := unix.Wait4(pid, &status, unix.WALL, nil); err != nil || !status.Stopped() {
		return killPoint{}, fmt.Errorf("the program did not stop at its start: %#x, %w", uint32(status), err)
	}
	if err := unix.PtraceSetOptions(pid, options); err != nil {
		return killPoint{}, os.NewSyscallError("ptrace", err)
	}
	tid, sig, calls := pid, 0, 0
	for {
		// ESRCH: the thread was killed with the others; its end is reported.
		if err := unix.PtraceSyscall(tid, sig); err != nil && !errors.Is(err, unix.ESRCH) {
			return killPoint{}, os.NewSyscallError("ptrace", err)
		}
		var err error
		for tid, sig = 0, 0; tid == 0; {
			if tid, err = unix.Wait4(-pid, &status, unix.WALL, nil); err != nil {
				return killPoint{}, os.NewSyscallError("wait4", err)
			}
			if !status.Stopped() {
				if tid == pid {
					return killPoint{ended: true, status: status}, nil
				}
				tid = 0 // a thread has ended
			}
		}
		switch {
		case status.StopSignal() == unix.SIGTRAP|0x80:
			nr, args, entry, err := syscallInfo(tid)
			if err != nil || !entry || noise(nr, args) {
				continue // on an error the thread is gone
			}
			if calls++; calls == n {
				return killPoint{call: nr}, os.NewSyscallError("kill", unix.Kill(pid, unix.SIGKILL))
			}
		case status.StopSignal() != unix.SIGTRAP && status.StopSignal() != unix.SIGSTOP:
			sig = int(status.StopSignal()) // its own, which the tracer hands on
		}
	}
}

// syscallInfo reads what a thread is stopped at (struct ptrace_syscall_info,
// linux/ptrace.h): the same on every processor.
func syscallInfo(tid int) (nr uint64, args []uint64, entry bool, err error) {
	var info [88]byte
	const opEntry = 1 // PTRACE_SYSCALL_INFO_ENTRY
	_, _, errno := unix.RawSyscall6(unix.SYS_PTRACE, unix.PTRACE_GET_SYSCALL_INFO, uintptr(tid), uintptr(len(info)), uintptr(unsafe.Pointer(&info[0])), 0, 0)
	if errno != 0 {
		return 0, nil, false, errno
	}
	for at := 32; at < 32+6*8; at += 8 {
		args = append(args, binary.NativeEndian.Uint64(info[at:]))
	}
	return binary.NativeEndian.Uint64(info[24:]), args, info[0] == opEntry, nil
}
