package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// The paths of the control socket.
const (
	PathStatus      = "/v1/status"
	PathReleaseHold = "/v1/hold/release"
)

// ErrNotRunning says that no agent listens on the socket.
var ErrNotRunning = errors.New("weftd is not running here")

// Client talks to the agent on this host.
type Client struct {
	path string
	http http.Client
}

// Dial returns a client for the agent whose run directory is given. It
// connects at the first call.
func Dial(runDir string) *Client {
	path := filepath.Join(runDir, Socket)
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}
	return &Client{path: path, http: http.Client{
		Timeout:   10 * time.Second,
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true},
	}}
}

// Status asks the agent how it is.
func (c *Client) Status(ctx context.Context) (*Status, error) {
	var s Status
	if err := c.get(ctx, PathStatus, nil, &s); err != nil {
		return nil, err
	}
	return &s, nil
}

// ReleaseHold lets a held-back mass disappearance take effect.
func (c *Client) ReleaseHold(ctx context.Context) error {
	return c.call(ctx, &c.http, http.MethodPost, PathReleaseHold, nil)
}

// get asks for a page; a query without a value is left out.
func (c *Client) get(ctx context.Context, path string, query map[string]string, out any) error {
	values := url.Values{}
	for k, v := range query {
		if v != "" {
			values.Set(k, v)
		}
	}
	if len(values) > 0 {
		path += "?" + values.Encode()
	}
	return c.call(ctx, &c.http, http.MethodGet, path, out)
}

func (c *Client) call(ctx context.Context, client *http.Client, method, path string, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://weftd"+path, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return c.explain(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("weftd: %s: %s", resp.Status, strings.TrimSpace(string(text)))
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(resp.Body).Decode(out); err != nil {
		return fmt.Errorf("weftd's answer: %w", err)
	}
	return nil
}

func (c *Client) explain(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return fmt.Errorf("%w (no listener at %s)", ErrNotRunning, c.path)
	}
	return err
}
