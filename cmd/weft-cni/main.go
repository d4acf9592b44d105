// One processor or many is all the same to a process of a few milliseconds: it
// need not read its control group to find out.
//
//go:debug containermaxprocs=0
//go:debug updatemaxprocs=0

// Command weft-cni is weft's CNI plugin, installed as /opt/cni/bin/weft: container
// runtimes start it once for each pod. See package cni.
//
// # The entry point
//
// Built as `make build` builds it, the process does not begin in Go's runtime but
// at weft_cni_entry (entry_GOARCH.s, the linker's -E), which makes three system
// calls and goes on where it would have begun. What they keep the runtime from
// was a fifth of an ADD's processor time (docs/design/plugin-start.md). Without
// the flag, and on other architectures, nothing is missing but the time.
package main

import (
	"os"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni"
	"github.com/weft-net/weft/internal/version"
)

func main() {
	// The runtime's threads may oversleep (weft_cni_entry); those who wait for a
	// lock should not. 0 is what the process was started with.
	_ = unix.Prctl(unix.PR_SET_TIMERSLACK, 0, 0, 0, 0)
	os.Exit(cni.Main(cni.Process(), "weft "+version.String()))
}
