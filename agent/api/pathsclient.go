package api

import "context"

// Peers asks how peers are reached: the one of this name, or all where it is
// empty. A name that no peer has gives an empty list.
func (c *Client) Peers(ctx context.Context, name string) ([]PeerPaths, error) {
	var out []PeerPaths
	if err := c.get(ctx, PathPeers, map[string]string{"peer": name}, &out); err != nil {
		return nil, err
	}
	return out, nil
}
