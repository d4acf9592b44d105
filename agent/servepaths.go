package agent

import (
	"context"
	"net/http"
	"slices"
	"strings"

	"github.com/weft-net/weft/agent/api"
	"github.com/weft-net/weft/fabric"
)

// peersAtOnce is how many peers the loop looks at before its other work has a
// turn.
const peersAtOnce = 256

func (a *agent) pathPages(mux *http.ServeMux) {
	mux.HandleFunc("GET "+api.PathPeers, listed(func(ctx context.Context, r *http.Request) (any, error) {
		return a.loop.listPaths(ctx, r.URL.Query().Get("peer"))
	}))
}

// listPaths says how the peer of this name is reached, or all where it is empty.
func (l *loop) listPaths(ctx context.Context, name string) (out []api.PeerPaths, err error) {
	out = []api.PeerPaths{}
	for after, more := fabric.NodeID(""), true; more; {
		err := l.ask(ctx, func() {
			peers := l.peersAfter(after, peersAtOnce)
			if more = len(peers) == peersAtOnce; more {
				after = peers[len(peers)-1].ID
			}
			for _, p := range peers {
				if name == "" || p.Name == name {
					out = append(out, l.want.peerPaths(p))
				}
			}
		})
		if err != nil {
			return nil, errBusy
		}
	}
	return out, nil
}

// migrationStatus is how far the migration under way is, and this node in it;
// nil: there is none.
func migrationStatus(s *fabric.Snapshot, self string) *api.Migration {
	if s.Migration == nil {
		return nil
	}
	own, p := s.Report(self), s.Progress()
	out := &api.Migration{Phase: p.Phase, Moved: own.Moved, Total: own.Total, Reason: own.Reason}
	if out.Total == 0 {
		out.Total = max(len(s.Peers)-1, 0)
	}
	if p.Pause != nil {
		out.Paused = pauseWords(p.Pause)
	}
	return out
}

// pauseWords say who stopped a migration, where and why.
func pauseWords(p *fabric.Pause) string {
	words := []string{p.By, p.Node, p.Peer, p.Reason}
	return strings.Join(slices.DeleteFunc(words, func(w string) bool { return w == "" }), ": ")
}
