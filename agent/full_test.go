package agent

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/nodefile"
)

// fullDisk mounts a tiny file system in a mount namespace of the test's own
// and fills it. The mount goes with the thread.
func fullDisk(t *testing.T) (dir string, free func()) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_FS | unix.CLONE_NEWNS); err != nil {
		t.Fatalf("new mount namespace: %v", err)
	}
	dir = t.TempDir()
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		t.Fatalf("make mounts private: %v", err)
	}
	if err := unix.Mount("weft-test", dir, "tmpfs", 0, "size=64k"); err != nil {
		t.Fatalf("mount tmpfs: %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	filler := filepath.Join(dir, "filler")
	if err := os.WriteFile(filler, make([]byte, 128<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	return dir, func() {
		if err := os.Remove(filler); err != nil {
			t.Fatal(err)
		}
	}
}

// A full disk costs new pods, not the data path, and heals by itself.
func TestFullDiskCostsOnlyTheNodeFile(t *testing.T) {
	l := testLoop(t)
	dir, free := fullDisk(t)
	l.files.runDir, l.files.cni.Write = dir, false
	l.in.setSnapshot(snapshotOf(testPeer(2, "198.18.0.2")))
	s := l.roundWant(t, false)
	if !strings.Contains(strings.Join(s.reasons, ";"), "no space left") || !strings.Contains(routes(t), "10.244.2.0/24") {
		t.Errorf("reasons %v, routes\n%s", s.reasons, routes(t))
	}
	if nextRetry(0, s) == 0 {
		t.Error("it would never be tried again")
	}
	free()
	l.roundWant(t, true)
	if _, err := nodefile.Read(dir); err != nil {
		t.Error(err)
	}
}
