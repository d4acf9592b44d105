package speaker

import (
	"context"
	"net/netip"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// Options are what a Speaker is made of.
type Options struct {
	Log *logrus.Entry
	// Kick is called from any goroutine and must not block: Take, Synced or
	// Sessions have news. Nil: nobody is told.
	Kick func()
}

// Speaker is an embedded BGP speaker. Its methods may be called from any
// goroutine; nothing runs before the first Set.
type Speaker struct {
	log  *logrus.Entry
	kick func()
}

// New makes a speaker that does nothing yet.
func New(o Options) *Speaker {
	if o.Kick == nil {
		o.Kick = func() {}
	}
	return &Speaker{log: o.Log, kick: o.Kick}
}

// Set makes the speaker do what d says and changes only what differs from what
// it does. A session that cannot be configured costs only itself: the reason is
// in its status, and the next Set tries again. An error concerns the speaker as
// a whole (the port is taken, the server does not start); nothing else was done
// then, and the next Set tries again.
func (s *Speaker) Set(ctx context.Context, d bgp.Desired) error { return nil }

// Take hands out what changed since the last call, at most `most` prefixes:
// the whole set of next hops for each, newest only. More says that further
// changes wait.
func (s *Speaker) Take(most int) (changes []bgp.Change, more bool) { return nil, false }

// Synced reports whether the peers have told all of a family: at least one
// session is established, each of those that are has sent end-of-RIB, and all
// others had the restart time since they were configured to come up. Once true
// it stays true.
func (s *Speaker) Synced(f fabric.Family) bool { return false }

// Sessions are the states of all sessions, sorted by key. It is cheap.
func (s *Speaker) Sessions() []bgp.SessionStatus { return nil }

// Routes are the routes to a prefix, best first, or all where it is invalid.
func (s *Speaker) Routes(ctx context.Context, prefix netip.Prefix) ([]bgp.Path, error) {
	return nil, nil
}

// Advertised are the routes told on a session.
func (s *Speaker) Advertised(ctx context.Context, key string) ([]bgp.Path, error) { return nil, nil }

// Received are the routes heard on a session, also those that the import rules
// keep out, with the rule that does.
func (s *Speaker) Received(ctx context.Context, key string) ([]bgp.Path, error) { return nil, nil }

// Detach ends the speaker without a word, as the end of the process would: the
// peers keep our routes for the restart time. For a restart or an upgrade.
func (s *Speaker) Detach() {}

// Shutdown withdraws everything, tells the peers that this is an administrative
// shutdown (RFC 9003) and stops. No peer keeps a route of ours.
func (s *Speaker) Shutdown(ctx context.Context) error { return nil }
