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

// Starts are medians from the start of a program to its exit.
type Starts struct{ Version, Nothing time.Duration }

// nothing is the smallest Go program that says something.
const nothing = `package main

import "os"

func main() { os.Stdout.WriteString("hello, world\n") }
`

// starts compares the plugin's VERSION with a program that does nothing. It
// needs the Go tool to build that.
func starts(ctx context.Context, bin lab.Binaries, h *lab.Host, rounds int) (s Starts, err error) {
	dir, err := os.MkdirTemp("", "weft-bench-")
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	source, hello := filepath.Join(dir, "main.go"), filepath.Join(dir, "hello")
	if err := os.WriteFile(source, []byte(nothing), 0o600); err != nil {
		return s, err
	}
	build := exec.CommandContext(ctx, "go", "build", "-ldflags", "-s -w", "-o", hello, source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return s, fmt.Errorf("build %s: %w: %s", source, err, out)
	}
	var version, other []time.Duration
	for range rounds {
		for path, times := range map[string]*[]time.Duration{bin.CNI: &version, hello: &other} {
			cmd := exec.CommandContext(ctx, path)
			cmd.Env = []string{"CNI_COMMAND=VERSION"}
			c, err := measure(h, cmd)
			if err != nil {
				return s, err
			}
			*times = append(*times, c.wall)
		}
	}
	return Starts{Version: median(version), Nothing: median(other)}, nil
}

// Allocation is the median time for one address of a /16, as the plugin asks for
// it: with many in use, and with none.
type Allocation struct{ Full, Empty time.Duration }

// allocation measures in this process, on the file system that /run is.
func allocation(ctx context.Context, taken, rounds int) (a Allocation, err error) {
	subnet := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/16")}
	var slots [2]*ipam.Slots
	for i, n := range []int{taken, 1} {
		dir, err := os.MkdirTemp("/run", "weft-bench-")
		if err != nil {
			return a, err
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
		if slots[i], err = ipam.NewSlots(dir, ipam.Options{}); err != nil {
			return a, err
		}
		for k := range n {
			if _, err := slots[i].Allocate(ctx, claim("pod", k), subnet); err != nil {
				return a, err
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
				return a, err
			}
			if _, err := s.Release(ctx, c.Attachment); err != nil {
				return a, err
			}
		}
	}
	return Allocation{Full: median(times[0]), Empty: median(times[1])}, nil
}

func claim(word string, n int) ipam.Claim {
	return ipam.Claim{Attachment: ipam.Attachment{Container: fmt.Sprintf("%s-%d", word, n), Interface: "eth0"}, Network: "weft"}
}
