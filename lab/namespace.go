package lab

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where iproute2 keeps named namespaces.
const netnsDir = "/run/netns"

// Namespace is one named network namespace of a lab. Its methods may be
// called from any goroutine.
type Namespace struct {
	Name   string // as `ip netns` shows it
	handle netns.NsHandle
	links  *netlink.Handle
	spawn  *spawner
}

// makeNamespace makes a namespace with a name, lo up, and nothing else.
func makeNamespace(name string, spawn *spawner) (*Namespace, error) {
	err := atHome(func() error {
		h, err := netns.NewNamed(name)
		if err != nil {
			return err
		}
		defer h.Close()
		lo, err := netlink.LinkByName("lo")
		if err != nil {
			return err
		}
		return netlink.LinkSetUp(lo)
	})
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	return openNamespace(name, spawn)
}

// openNamespace opens a namespace that is there.
func openNamespace(name string, spawn *spawner) (*Namespace, error) {
	h, err := netns.GetFromName(name)
	if err != nil {
		return nil, fmt.Errorf("network namespace %s: %w", name, err)
	}
	links, err := netlink.NewHandleAt(h, unix.NETLINK_ROUTE)
	if err != nil {
		h.Close()
		return nil, fmt.Errorf("netlink in %s: %w", name, err)
	}
	return &Namespace{Name: name, handle: h, links: links, spawn: spawn}, nil
}

// close lets go of the namespace without removing it.
func (n *Namespace) close() {
	n.links.Close()
	n.handle.Close()
}

// removeNamespace takes the name away; the namespace goes when the last
// process and socket in it are gone. One that is not there is fine.
func removeNamespace(name string) error {
	path := filepath.Join(netnsDir, name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// Path is the file that stands for the namespace.
func (n *Namespace) Path() string { return filepath.Join(netnsDir, n.Name) }

// Do runs fn on a thread inside the namespace. Sockets that fn opens and
// files below /proc/sys/net that it touches are the namespace's; goroutines
// that it starts are not inside.
func (n *Namespace) Do(fn func() error) error {
	return atHome(func() error {
		if err := netns.Set(n.handle); err != nil {
			return fmt.Errorf("enter %s: %w", n.Name, err)
		}
		return fn()
	})
}

// atHome runs fn, which may change its thread's network namespace, and
// returns the thread to the one it had. A thread that cannot return is never
// used again.
func atHome(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		home, err := netns.Get()
		if err != nil {
			result <- err
			return // locked: the thread ends here
		}
		defer home.Close()
		err = fn()
		if back := netns.Set(home); back != nil {
			result <- errors.Join(err, fmt.Errorf("return from a network namespace: %w", back))
			return
		}
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

// Sysctl sets a file below /proc/sys, such as net/ipv4/ip_forward.
func (n *Namespace) Sysctl(path, value string) error {
	return n.Do(func() error {
		if err := os.WriteFile(filepath.Join("/proc/sys", path), []byte(value), 0); err != nil {
			return fmt.Errorf("sysctl in %s: %w", n.Name, err)
		}
		return nil
	})
}

// Dial connects from inside the namespace. The address is a literal: there is
// no name service in a lab.
func (n *Namespace) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() (err error) {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// ListenTCP opens a listener inside the namespace.
func (n *Namespace) ListenTCP(at netip.AddrPort) (l *net.TCPListener, err error) {
	err = n.bind(func() (err error) {
		l, err = net.ListenTCP("tcp", net.TCPAddrFromAddrPort(at))
		return err
	})
	return l, err
}

// ListenUDP opens a socket inside the namespace.
func (n *Namespace) ListenUDP(at netip.AddrPort) (conn *net.UDPConn, err error) {
	err = n.bind(func() (err error) {
		conn, err = net.ListenUDP("udp", net.UDPAddrFromAddrPort(at))
		return err
	})
	return conn, err
}

// bind runs open inside the namespace, again for a second while the address
// is in use: a socket that was closed lives on for a moment in a child that
// some other goroutine has forked and that has not reached its exec yet.
func (n *Namespace) bind(open func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var other error
	err := await(ctx, "the address", func() error {
		err := n.Do(open)
		if errors.Is(err, unix.EADDRINUSE) {
			return err
		}
		other = err
		return nil
	})
	return errors.Join(err, other)
}
