package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

func TestIsTerminal(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "file"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pty.Close()
	if isTerminal(file) || !isTerminal(pty) {
		t.Errorf("a file: %t, a terminal: %t", isTerminal(file), isTerminal(pty))
	}
}

// TestInterrupted: ^C reaches the command, and does not end the program.
func TestInterrupted(t *testing.T) {
	for _, s := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		ctx, stop := interrupted(t.Context())
		if err := syscall.Kill(os.Getpid(), s); err != nil {
			t.Fatal(err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Minute):
			t.Errorf("nothing is heard of %v", s)
		}
		stop()
	}
}
