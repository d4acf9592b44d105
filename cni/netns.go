package cni

import (
	"errors"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// netns is an open network namespace of a container.
type netns struct {
	*os.File
	inode uint64
}

// openNetns opens a network namespace by any kind of path: a bind mount,
// /proc/PID/ns/net, or /proc/PID/fd/N. The host's own is refused.
func openNetns(path string) (netns, error) {
	if path == "" {
		return netns{}, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_NETNS must be set")
	}
	f, err := os.Open(path)
	if err != nil {
		return netns{}, fail(types.ErrInvalidNetNS, err, "CNI_NETNS")
	}
	n := netns{File: f}
	if err := n.check(); err != nil {
		return netns{}, errors.Join(fail(types.ErrInvalidNetNS, err, "CNI_NETNS %s", path), f.Close())
	}
	return n, nil
}

func (n *netns) check() error {
	kind, err := unix.IoctlRetInt(int(n.Fd()), unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return errors.New("not a network namespace")
	}
	var own, theirs unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return err
	}
	if err := unix.Fstat(int(n.Fd()), &theirs); err != nil {
		return err
	}
	if own.Dev == theirs.Dev && own.Ino == theirs.Ino {
		return errors.New("this is the host's own namespace")
	}
	n.inode = theirs.Ino
	return nil
}
