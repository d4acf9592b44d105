package api

import (
	"context"
	"net/http"
	"time"
)

// shutdownTimeout bounds BGPShutdown: the stages take some ten seconds.
const shutdownTimeout = time.Minute

// BGP asks how the speaker is.
func (c *Client) BGP(ctx context.Context) (*BGP, error) {
	var out BGP
	if err := c.get(ctx, PathBGP, nil, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// BGPRoutes lists the ways to a prefix, to the longest prefix that an address is
// in, or all of them where it is empty.
func (c *Client) BGPRoutes(ctx context.Context, prefix string) ([]BGPRoute, error) {
	return c.bgpRoutes(ctx, PathBGPRoutes, map[string]string{"prefix": prefix})
}

// BGPAdvertised lists what a session's far end is told. The session is given by
// its key, its address or the BGPPeer's name; empty: all sessions.
func (c *Client) BGPAdvertised(ctx context.Context, session string) ([]BGPRoute, error) {
	return c.bgpRoutes(ctx, PathBGPAdvertised, map[string]string{"session": session})
}

// BGPReceived lists what a session's far end told, also what the policies keep
// out. The session is given as for BGPAdvertised.
func (c *Client) BGPReceived(ctx context.Context, session string) ([]BGPRoute, error) {
	return c.bgpRoutes(ctx, PathBGPReceived, map[string]string{"session": session})
}

func (c *Client) bgpRoutes(ctx context.Context, path string, query map[string]string) ([]BGPRoute, error) {
	var out []BGPRoute
	if err := c.get(ctx, path, query, &out); err != nil {
		return nil, err
	}
	return out, nil
}

// BGPWhy asks at which station the way to a prefix, or to an address, ends.
func (c *Client) BGPWhy(ctx context.Context, prefix string) (*Why, error) {
	var out Why
	if err := c.get(ctx, PathBGPWhy, map[string]string{"prefix": prefix}, &out); err != nil {
		return nil, err
	}
	return &out, nil
}

// BGPShutdown takes this node out of routing for good and returns when that is
// done: see PathBGPShutdown.
func (c *Client) BGPShutdown(ctx context.Context) error {
	patient := c.http
	patient.Timeout = shutdownTimeout
	return c.call(ctx, &patient, http.MethodPost, PathBGPShutdown, nil)
}
