package runtimes

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
)

// Container is a running container of the image, whichever runtime runs it.
type Container struct {
	Name string // which it serves
	ID   string // the runtime's
	exec func(ctx context.Context, args ...string) (string, error)
}

// Exec runs a program in the container.
func (c *Container) Exec(ctx context.Context, args ...string) (string, error) {
	return c.exec(ctx, args...)
}

// Interface is what a container sees of one of its interfaces.
type Interface struct {
	MAC   net.HardwareAddr
	Addrs []netip.Prefix // of global scope, IPv4 first
}

// Interface asks the container itself.
func (c *Container) Interface(ctx context.Context, name string) (Interface, error) {
	out, err := c.Exec(ctx, "ip", "address", "show", "dev", name)
	if err != nil {
		return Interface{}, err
	}
	return parseInterface(out)
}

// parseInterface reads what busybox's `ip address` says of one interface.
func parseInterface(text string) (i Interface, err error) {
	words := strings.Fields(text)
	for n, word := range words[:max(len(words)-1, 0)] {
		switch value := words[n+1]; word {
		case "link/ether":
			i.MAC, err = net.ParseMAC(value)
		case "inet", "inet6":
			var p netip.Prefix
			p, err = netip.ParsePrefix(value)
			if !p.Addr().IsLinkLocalUnicast() {
				i.Addrs = append(i.Addrs, p)
			}
		}
		if err != nil {
			return i, fmt.Errorf("ip address: %w", err)
		}
	}
	return i, nil
}

// Reach asks the web server at an address for its name, again until ctx ends
// while it does not answer: one that has just started does not listen yet.
func (c *Container) Reach(ctx context.Context, to netip.AddrPort) (name string, err error) {
	err = await(ctx, fmt.Sprintf("%s to be answered by %s", c.Name, to), func() error {
		// Not wget's own -T, of which Debian's busybox 1.35 dies.
		out, err := c.Exec(ctx, "timeout", "2", "wget", "-q", "-O", "-", "http://"+to.String()+"/name")
		name = strings.TrimSpace(out)
		return err
	})
	return name, err
}

// Equal reports whether two interfaces have the same MAC and addresses.
func (i Interface) Equal(j Interface) bool {
	return bytes.Equal(i.MAC, j.MAC) && slices.Equal(i.Addrs, j.Addrs)
}
