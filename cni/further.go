package cni

import (
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/weft-net/weft/cni/nodefile"
	"github.com/weft-net/weft/ipam"
)

const (
	// furtherWait is how long an ADD waits for the agent to lease a further
	// subnet when every address is in use: a burst of pods takes a small subnet
	// faster than etcd answers, and a runtime that is refused tries again after
	// seconds or not at all.
	furtherWait = 2 * time.Second
	furtherLook = 5 * time.Millisecond
	// furtherTry is how often it looks meanwhile whether another pod has gone.
	furtherTry = 100 * time.Millisecond
)

// allocate takes addresses of the subnets. Where all are in use, or the subnets
// were given up, it waits a moment for what the agent has next, if there is an
// agent and it has not said that there is no more.
func (a *attempt) allocate(ctx context.Context, files *ipam.Slots, subnets []netip.Prefix) (ipam.Grant, error) {
	var late <-chan time.Time
	for {
		grant, err := files.Allocate(ctx, a.claim(), subnets)
		full, why := a.full(err)
		more := full && why == "" || errors.Is(err, ipam.ErrClosed)
		if !more || late == nil && !agentRuns(a.conf.RunDir) {
			return grant, err
		}
		if late == nil {
			late = time.After(furtherWait)
		}
		if subnets = a.others(ctx, subnets, late); subnets == nil {
			return grant, err
		}
	}
}

// others returns the subnets to try next: other ones as soon as the node file
// offers them or says why there are none, else the same after a while; nil: it is
// too late.
func (a *attempt) others(ctx context.Context, subnets []netip.Prefix, late <-chan time.Time) []netip.Prefix {
	tick := time.NewTicker(furtherLook)
	defer tick.Stop()
	again := time.After(furtherTry)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-late:
			return nil
		case <-again:
			return subnets
		case <-tick.C:
		}
		node, next, err := readNode(a.conf)
		if err == nil && (node.Full != a.node.Full || !slices.Equal(next, subnets)) {
			a.node = node
			return next
		}
	}
}

// agentRuns reports whether an agent listens on its socket.
func agentRuns(runDir string) bool {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: filepath.Join(runDir, nodefile.Socket)})
	return err == nil || errors.Is(err, unix.EAGAIN) // its backlog is full
}
