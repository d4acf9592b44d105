package cni

import (
	"errors"
	"os"

	"github.com/containernetworking/cni/pkg/types"
	"golang.org/x/sys/unix"
)

// netns is an open network namespace of a container. It is a bare descriptor: an
// os.File would try to poll it, which takes five system calls to be refused.
type netns struct {
	fd    int
	inode uint64
}

func (n netns) Close() error { return unix.Close(n.fd) }

// openNetns opens a network namespace by any kind of path: a bind mount,
// /proc/PID/ns/net, or /proc/PID/fd/N. The host's own is refused.
func openNetns(path string) (netns, error) {
	if path == "" {
		return netns{}, fail(types.ErrInvalidEnvironmentVariables, nil, "CNI_NETNS must be set")
	}
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK, 0)
	if err != nil {
		return netns{}, fail(types.ErrInvalidNetNS, &os.PathError{Op: "open", Path: path, Err: err}, "CNI_NETNS")
	}
	n := netns{fd: fd}
	if err := n.check(); err != nil {
		return netns{}, errors.Join(fail(types.ErrInvalidNetNS, err, "CNI_NETNS %s", path), n.Close())
	}
	return n, nil
}

func (n *netns) check() error {
	kind, err := unix.IoctlRetInt(n.fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		return errors.New("not a network namespace")
	}
	var own, theirs unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &own); err != nil {
		return err
	}
	if err := unix.Fstat(n.fd, &theirs); err != nil {
		return err
	}
	if own.Dev == theirs.Dev && own.Ino == theirs.Ino {
		return errors.New("this is the host's own namespace")
	}
	n.inode = theirs.Ino
	return nil
}
