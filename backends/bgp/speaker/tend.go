package speaker

import (
	"context"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/weft-net/weft/fabric"
)

const (
	// tendEvery is how often the speaker looks after what is left to do.
	tendEvery = time.Second
	// retryAfter is how long a session that was refused by GoBGP rests.
	retryAfter = 5 * time.Second
	// penalty is how long a session stays down that told too many prefixes, or
	// turned out to be in our own AS.
	penalty = time.Minute
	// stuckAfter is how long a connection may be open without a session. The far
	// end's KEEPALIVE follows our OPEN at once.
	stuckAfter = 10 * time.Second
)

// tend is the speaker's one goroutine: it does what Set could not do at once,
// and what follows from events.
func (s *Speaker) tend(ctx context.Context) {
	tick := time.NewTicker(tendEvery)
	defer tick.Stop()
	for {
		woken := false
		select {
		case <-ctx.Done():
			return
		case <-s.woken:
			woken = true
		case <-tick.C:
		}
		s.tendOnce(ctx, woken)
	}
}

func (s *Speaker) tendOnce(ctx context.Context, woken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || ctx.Err() != nil {
		return
	}
	if woken || s.pending {
		if err := s.converge(ctx); err != nil {
			s.log.WithError(err).Debug("the speaker is not yet as wanted")
		}
	}
	if s.server == nil {
		return
	}
	s.punish(ctx)
	if !woken {
		s.unstick(ctx)
	}
	s.settleSynced()
	if s.census.due() && s.count(ctx) {
		s.kick()
		s.punish(ctx)
	}
}

// punish keeps sessions down that must not be up, and lets them try again
// after a while.
func (s *Speaker) punish(ctx context.Context) {
	now := time.Now()
	for _, r := range s.board.offenders() {
		key := r.session.Key
		until, known := s.penalties[key]
		switch {
		case !known:
			s.penalties[key] = now.Add(penalty)
			if r.own {
				s.board.mistaken(key, ownWords(r.remoteASN))
			}
			s.adminState(ctx, r, false)
		case r.lifted, now.After(until):
			s.readmit(ctx, r)
		}
	}
}

// readmit lets a session try again.
func (s *Speaker) readmit(ctx context.Context, r row) {
	delete(s.penalties, r.session.Key)
	s.board.pardon(r.session.Key)
	s.adminState(ctx, r, true)
}

// unstick closes connections on which nothing comes after the OPEN: GoBGP
// would wait for minutes or, before the first session, for ever, and meanwhile
// refuse every other connection of that far end.
func (s *Speaker) unstick(ctx context.Context) {
	for key, r := range s.reopen {
		delete(s.reopen, key)
		s.adminState(ctx, r, true)
	}
	for _, r := range s.board.stuck(stuckAfter) {
		s.adminState(ctx, r, false)
		s.reopen[r.session.Key] = r
	}
}

func (s *Speaker) adminState(ctx context.Context, r row, up bool) {
	var err error
	if up {
		err = s.server.EnablePeer(ctx, &api.EnablePeerRequest{Address: r.addr.String()})
	} else {
		err = s.server.DisablePeer(ctx, &api.DisablePeerRequest{Address: r.addr.String(), Communication: "not wanted here"})
	}
	if err != nil {
		s.log.WithError(err).WithField("session", r.session.Key).Debug("session cannot be switched: it has just gone")
	}
}

// settleSynced looks whether the peers have told all, and drops what nobody
// told again since GoBGP was started anew.
func (s *Speaker) settleSynced() {
	grace := s.want.Global.RestartTime
	if grace <= 0 {
		grace = time.Duration(fabric.BGPRestartTime)
	}
	all := true
	for i, f := range fabric.Families {
		ok := s.board.synced(f, grace, time.Now())
		all = all && ok
		if ok && !s.synced[i].Swap(true) {
			s.kick()
		}
	}
	if all && !s.server.swept {
		s.server.swept = true
		if s.rib.sweep() {
			s.kick()
		}
	}
}
