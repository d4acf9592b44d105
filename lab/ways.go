package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// Peers asks the agent how it reaches its peers; name is that of one, or empty.
func (a *Agent) Peers(ctx context.Context, name string) ([]api.PeerPaths, error) {
	return a.api.Peers(ctx, name)
}

// Ways is how the host reaches another, by family.
func (h *Host) Ways(ctx context.Context, to *Host) (out fabric.PerFamily[api.FamilyPath], err error) {
	peers, err := h.Agent.Peers(ctx, to.Spec.Name)
	if err != nil {
		return out, err
	}
	if len(peers) != 1 {
		return out, fmt.Errorf("host %s has no peer %s", h.Spec.Name, to.Spec.Name)
	}
	for _, f := range fabric.Families {
		for _, w := range peers[0].Families {
			if w.Family == f.String() {
				out.Set(f, w)
			}
		}
	}
	return out, nil
}

// WaitWays waits, at most a minute, until ok is content with how the host
// reaches another in each family.
func (h *Host) WaitWays(ctx context.Context, to *Host, what string, ok func(api.FamilyPath) error) error {
	wait, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return h.Agent.explain(await(wait, fmt.Sprintf("%s to reach %s %s", h.Spec.Name, to.Spec.Name, what), func() error {
		if !h.Agent.Alive() {
			return errNotRunning
		}
		ways, err := h.Ways(ctx, to)
		if err != nil {
			return err
		}
		for _, f := range fabric.Families {
			if w := ways.Get(f); w.Family == "" {
				return errors.New("there is no way in " + f.String())
			} else if err := ok(w); err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
		}
		return nil
	}))
}

// WaitWay waits, at most a minute, until the host sends to another by a path, in
// both families.
func (h *Host) WaitWay(ctx context.Context, to *Host, path fabric.PathKind) error {
	return h.WaitWays(ctx, to, "by "+string(path), func(w api.FamilyPath) error {
		if w.Path != string(path) {
			return fmt.Errorf("it is %s, next %q: %s; %+v", w.Path, w.Next, w.Reason, w.Offers)
		}
		return nil
	})
}

// WaitAllWays waits, at most a minute each, until every host sends to every
// other as way says.
func (l *Lab) WaitAllWays(ctx context.Context, way func(from, to *Host) fabric.PathKind) error {
	for _, from := range l.Hosts {
		for _, to := range l.Hosts {
			if from == to {
				continue
			}
			if err := from.WaitWay(ctx, to, way(from, to)); err != nil {
				return err
			}
		}
	}
	return nil
}

// BetweenRacks is direct in a rack and path from one rack to another.
func BetweenRacks(path fabric.PathKind) func(from, to *Host) fabric.PathKind {
	return func(from, to *Host) fabric.PathKind {
		if from.rack == to.rack {
			return fabric.PathDirect
		}
		return path
	}
}
