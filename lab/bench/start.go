package bench

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/weft-net/weft/ipam"
	"github.com/weft-net/weft/lab"
)

// hello is the smallest Go program that says something.
const hello = `package main

import "os"

func main() { os.Stdout.WriteString("hello, world\n") }
`

// starts compares the plugin's VERSION with a program that does nothing: medians
// from the start to the exit. It needs the Go tool to build that program.
func starts(ctx context.Context, bin lab.Binaries, h *lab.Host, rounds int) (version, nothing time.Duration, err error) {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return 0, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source, other := filepath.Join(dir, "main.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte(hello), 0o600); err != nil {
		return 0, 0, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", other, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return 0, 0, fmt.Errorf("build %s: %w: %s", source, err, out)
	}
	var ours, theirs []time.Duration
	for range rounds {
		for path, times := range map[string]*[]time.Duration{bin.CNI: &ours, other: &theirs} {
			cmd := exec.CommandContext(ctx, path)
			cmd.Env = []string{"CNI_COMMAND=VERSION"}
			c, err := measure(h, cmd)
			if err != nil {
				return 0, 0, err
			}
			*times = append(*times, c.wall)
		}
	}
	return median(ours), median(theirs), nil
}

// allocation is the median time for one address of a /16, as the plugin asks for
// it, with many in use and with none: in this process, on the file system that
// /run is.
func allocation(ctx context.Context, taken, rounds int) (full, empty time.Duration, err error) {
	subnet := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	var slots [2]*ipam.Slots
	for i, n := range []int{taken, 1} {
		dir, err := os.MkdirTemp("/run", "weft-bench-")
		if err != nil {
			return 0, 0, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if slots[i], err = ipam.NewSlots(dir, ipam.Options{}); err != nil {
			return 0, 0, err
		}
		for k := range n {
			if _, err := slots[i].Allocate(ctx, claim("pod", k), subnet); err != nil {
				return 0, 0, err
			}
		}
	}
	var times [2][]time.Duration
	for k := range rounds {
		for i, s := range slots {
			c := claim("bench", k)
			began := time.Now()
			_, err := s.Allocate(ctx, c, subnet)
			times[i] = append(times[i], time.Since(began))
			if err != nil {
				return 0, 0, err
			}
			if _, err := s.Release(ctx, c.Attachment); err != nil {
				return 0, 0, err
			}
		}
	}
	return median(times[0]), median(times[1]), nil
}

func claim(word string, n int) ipam.Claim {
	return ipam.Claim{Attachment: ipam.Attachment{Container: fmt.Sprintf("%s-%d", word, n), Interface: "eth0"}, Network: "weft"}
}
