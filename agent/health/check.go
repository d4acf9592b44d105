package health

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"time"

	"github.com/weft-net/weft/fabric"
)

// Defaults of a condition that says nothing of them.
const (
	defaultInterval = 2 * time.Second
	defaultTimeout  = time.Second
	defaultRise     = 2
	defaultFall     = 3
)

// Probe tries a condition once; nil: it holds. It ends with ctx.
func Probe(ctx context.Context, p fabric.BGPPrefixSpec) error {
	switch h := p.Health; {
	case h.TCP != "":
		conn, err := dial(ctx, h.TCP)
		if err != nil {
			return err
		}
		return conn.Close()
	case h.HTTP != "":
		return fetch(ctx, h.HTTP)
	default:
		return present(h.Interface, p.Prefixes)
	}
}

func dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, explain(address, err)
	}
	return conn, nil
}

// explain shortens what package net says of a connection.
func explain(address string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		return fmt.Errorf("%s does not answer in time", address)
	}
	var op *net.OpError
	if errors.As(err, &op) {
		err = op.Err
	}
	return fmt.Errorf("%s: %w", address, err)
}

// fetch asks for a page and is content with 2xx and 3xx; it follows nothing.
// Every probe is a connection of its own, as a new client's would be.
func fetch(ctx context.Context, text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return err
	}
	port := u.Port()
	if port == "" {
		port = map[bool]string{true: "443", false: "80"}[u.Scheme == "https"]
	}
	address := net.JoinHostPort(u.Hostname(), port)
	conn, err := dial(ctx, address)
	if err != nil {
		return err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		if err := conn.SetDeadline(deadline); err != nil {
			return err
		}
	}
	raw := conn // a server that hangs must not hold up the agent's stop
	defer context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })()
	if u.Scheme == "https" { // whether the service answers is asked, not who it is: it is on this host
		conn = tls.Client(conn, &tls.Config{ServerName: u.Hostname(), InsecureSkipVerify: true})
	}
	resp, err := exchange(ctx, conn, text)
	if err != nil {
		return explain(address, err)
	}
	if resp.StatusCode < 200 || resp.StatusCode > 399 {
		return fmt.Errorf("%s answers %s", text, resp.Status)
	}
	return nil
}

// exchange sends the request and reads the head of the answer.
func exchange(ctx context.Context, conn net.Conn, url string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "weftd")
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	resp, err := http.ReadResponse(bufio.NewReader(io.LimitReader(conn, 64<<10)), req)
	if err != nil {
		return nil, err
	}
	return resp, resp.Body.Close()
}

// present looks for an address in each of the prefixes on an interface.
func present(name string, prefixes []netip.Prefix) error {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, explainInterface(err))
	}
	addrs, err := link.Addrs()
	if err != nil {
		return fmt.Errorf("interface %s: %w", name, err)
	}
	for _, p := range prefixes {
		if !slices.ContainsFunc(addrs, func(a net.Addr) bool { return within(a, p) }) {
			return fmt.Errorf("interface %s has no address in %s", name, p)
		}
	}
	return nil
}

func explainInterface(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}

func within(a net.Addr, p netip.Prefix) bool {
	n, ok := a.(*net.IPNet)
	if !ok {
		return false
	}
	ip, ok := netip.AddrFromSlice(n.IP)
	return ok && p.Contains(ip.Unmap())
}
