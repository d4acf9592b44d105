package ipam

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/internal/testns"
)

// tinyDisk mounts a file system of its own for the test, in a mount namespace
// that goes with the test's thread.
func tinyDisk(t *testing.T, size string) string {
	t.Helper()
	testns.New(t) // locks the thread, and skips where nothing of this is allowed
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatalf("new mount namespace: %v", err)
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	dir := t.TempDir()
	if err := unix.Mount("weft-test", dir, "tmpfs", 0, "size="+size); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

// fillDisk takes what space is left; free gives it back.
func fillDisk(t *testing.T, dir string) (free func()) {
	t.Helper()
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 4<<20), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	return func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}

// TestFullDisk: a full disk refuses addresses that need space, by a plain
// error; it kills nobody, and freed addresses have their space already.
func TestFullDisk(t *testing.T) {
	dir := tinyDisk(t, "200k")
	var notes []string
	s := open(t, dir, Options{Note: func(_, reason string) { notes = append(notes, reason) }})
	subnet, further := netip.MustParsePrefix("10.0.0.0/24"), netip.MustParsePrefix("10.0.1.0/24")
	for n := range chunkSlots - firstSlot { // the first chunk
		allocate(t, s, pod(n), subnet)
	}
	free := fillDisk(t, dir)
	refused := func(c Claim, subnets ...netip.Prefix) {
		t.Helper()
		g, err := s.Allocate(bg, c, subnets)
		if !errors.Is(err, unix.ENOSPC) || errors.Is(err, ErrFull) {
			t.Errorf("%s got %v, %v; want no space", c.Attachment, g.Addrs, err)
		}
		if got, err := s.Lookup(bg, c.Attachment); len(got) != 0 || err != nil {
			t.Errorf("the refused one has %v, %v", got, err)
		}
	}
	refused(Claim{Attachment: pod(100)}, subnet)
	refused(Claim{Attachment: pod(100)}, subnet, further)
	refused(Claim{Attachment: pod(100), Want: addrs("10.0.0.200")}, subnet)
	release(t, s, pod(7))
	if got := claim(t, s, Claim{Attachment: pod(101)}, subnet, further); got[0] != "10.0.0.9" {
		t.Errorf("got %v, want 10.0.0.9, which was freed", got)
	}
	release(t, s, pod(8))
	claim(t, s, Claim{Attachment: pod(102), Sticky: true, Pod: "shop/db"}, subnet)
	if _, err := s.List(bg); err != nil {
		t.Errorf("list: %v", err)
	}
	check(t, s, subnet)
	free()
	if got := claim(t, s, Claim{Attachment: pod(100)}, subnet); got[0] != "10.0.0.64" {
		t.Errorf("with space again: %v", got)
	}
	check(t, s, subnet)
	if left, _ := filepath.Glob(filepath.Join(s.dir, "*.new")); len(left) != 0 || len(notes) != 0 {
		t.Errorf("left %v, made anew: %v", left, notes)
	}
}

// TestUnwritable: where nothing can be written nothing is handed out or freed,
// and the error says so; nothing is lost either.
func TestUnwritable(t *testing.T) {
	dir := tinyDisk(t, "1m")
	s := open(t, dir, Options{})
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	allocate(t, s, pod(1), subnet)
	remount := func(flags uintptr) {
		t.Helper()
		if err := unix.Mount("", dir, "", unix.MS_REMOUNT|flags, ""); err != nil {
			t.Fatal(err)
		}
	}
	remount(unix.MS_RDONLY)
	_, err1 := s.Allocate(bg, Claim{Attachment: pod(2)}, []netip.Prefix{subnet})
	_, err2 := s.Release(bg, pod(1))
	err3 := s.Open(bg, nil)
	_, err4 := s.Return(bg, subnet)
	for i, err := range []error{err1, err2, err3, err4} {
		if !errors.Is(err, unix.EROFS) || !strings.Contains(err.Error(), s.dir) {
			t.Errorf("call %d: %v, want a read-only file system and where", i+1, err)
		}
	}
	remount(0)
	if got, err := s.Lookup(bg, pod(1)); err != nil || len(got) != 1 {
		t.Errorf("has %v, %v", got, err)
	}
}

// TestOneFileOfSeveralUnusable: what cannot be opened costs what is in it. A
// directory in the place of a file is neither a file nor to be replaced by one.
func TestOneFileOfSeveralUnusable(t *testing.T) {
	s := open(t, t.TempDir(), Options{})
	good, bad, six := netip.MustParsePrefix("10.0.0.0/30"), netip.MustParsePrefix("10.0.1.0/24"), netip.MustParsePrefix("fd00::/64")
	if err := os.MkdirAll(filepath.Join(s.path(bad), "x"), 0o700); err != nil {
		t.Fatal(err)
	}
	if got := claim(t, s, Claim{Attachment: pod(1)}, bad, good, six); fmt.Sprint(got) != "[10.0.0.2 fd00::2]" {
		t.Errorf("got %v", got)
	}
	for _, want := range [][]netip.Addr{nil, addrs("10.0.1.5")} {
		_, err := s.Allocate(bg, Claim{Attachment: pod(2), Want: want}, []netip.Prefix{bad, good, six})
		if err == nil || errors.Is(err, ErrFull) || errors.Is(err, ErrOutside) || !strings.Contains(err.Error(), s.path(bad)) {
			t.Errorf("asked for %v: %v, want what is wrong with the file", want, err)
		}
	}
	if freed, err := s.Release(bg, pod(1)); len(freed) != 2 || err == nil {
		t.Errorf("released %v, %v: want both and the file's error", freed, err)
	}
	// Every subnet that can be closed is.
	if err := s.Open(bg, []netip.Prefix{six}); err == nil || !strings.Contains(err.Error(), s.path(bad)) {
		t.Errorf("open: %v", err)
	}
	if _, err := s.Allocate(bg, Claim{Attachment: pod(3)}, []netip.Prefix{good}); !errors.Is(err, ErrClosed) {
		t.Errorf("of the closed one: %v", err)
	}
}

// TestLockHeldByAStoppedProcess: who holds the lock and was frozen costs the
// others their time, not more; when it is gone the lock is free.
func TestLockHeldByAStoppedProcess(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir, Options{})
	cmd, out := start(t, "hold", dir, 0)
	if _, err := out.Read(make([]byte, 1)); err != nil { // it has the lock
		t.Fatal(err)
	}
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	subnet := netip.MustParsePrefix("10.0.0.0/24")
	_, err1 := s.Allocate(ctx, Claim{Attachment: pod(1)}, []netip.Prefix{subnet})
	_, err2 := s.Release(ctx, pod(1))
	_, err3 := s.Counts(ctx)
	for i, err := range []error{err1, err2, err3, s.Open(ctx, nil)} {
		if !errors.Is(err, ErrBusy) || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("call %d: %v, want busy", i+1, err)
		}
		if want := fmt.Sprintf(": %d (", cmd.Process.Pid); !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), ") in state ") {
			t.Errorf("call %d: %v, want it to say who", i+1, err)
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	allocate(t, s, pod(1), subnet)
}
