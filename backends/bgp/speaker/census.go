package speaker

import (
	"context"
	"time"

	"github.com/osrg/gobgp/v4/api"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// A census counts each session's routes, for two reasons. GoBGP knows how many
// it received, but not how many of them the rules keep out: they are judged one
// by one, for the sessions that sent something since the last time. And its own
// limit on prefixes walks the whole table with every UPDATE, so that 100000
// routes take several times as long to receive: the limit is looked after here.
const (
	// surveyEvery bounds how long a far end can go on above its limit, and
	// countEvery how old the counts are; neither takes more than one part in
	// share of the time.
	surveyEvery = time.Second
	countEvery  = 2 * time.Second
	share       = 20
)

// census is when the routes are counted, and what was counted.
type census struct {
	nextSurvey, nextCount time.Time
	seen                  map[string]uint64 // UPDATEs received until the last count, by session
}

func (c *census) due() bool { return !time.Now().Before(c.nextSurvey) }

// again makes the next census count all sessions: rules or routes of our own
// changed.
func (c *census) again() { c.seen = nil }

// numbers are what GoBGP itself counts on a session.
type numbers struct {
	updates  uint64
	hold     time.Duration
	received fabric.PerFamily[uint64]
}

// count takes a census and reports whether there is news.
func (s *Speaker) count(ctx context.Context) (news bool) {
	up := s.board.up()
	if len(up) == 0 {
		s.census.seen = nil
		return false
	}
	began := time.Now()
	peers, err := s.survey(ctx)
	s.census.nextSurvey = time.Now().Add(max(surveyEvery, share*time.Since(began)))
	if err != nil {
		return false
	}
	for _, r := range up {
		news = s.limit(r, peers[r.addr.String()]) || news
	}
	if time.Now().Before(s.census.nextCount) {
		return news
	}
	began = time.Now()
	seen := make(map[string]uint64, len(up))
	for _, r := range up {
		n, key := peers[r.addr.String()], r.session.Key
		seen[key] = n.updates
		if before, ok := s.census.seen[key]; ok && before == n.updates && r.hold == n.hold {
			continue
		}
		counts, err := s.countSession(ctx, r)
		if err != nil {
			delete(seen, key) // it went down while we looked
			continue
		}
		s.board.count(key, n.hold, counts)
		news = true
	}
	s.census.seen = seen
	s.census.nextCount = time.Now().Add(max(countEvery, share*time.Since(began)))
	return news
}

func (s *Speaker) survey(ctx context.Context) (map[string]numbers, error) {
	peers := map[string]numbers{}
	err := s.server.ListPeer(ctx, &api.ListPeerRequest{}, func(p *api.Peer) {
		n := numbers{
			updates: p.GetState().GetMessages().GetReceived().GetUpdate(),
			hold:    time.Duration(p.GetTimers().GetState().GetNegotiatedHoldTime()) * time.Second,
		}
		for _, a := range p.GetAfiSafis() {
			if f := a.GetState().GetFamily(); f.GetAfi() == api.Family_AFI_IP {
				n.received.IPv4 = a.GetState().GetReceived()
			} else if f.GetAfi() == api.Family_AFI_IP6 {
				n.received.IPv6 = a.GetState().GetReceived()
			}
		}
		peers[p.GetState().GetNeighborAddress()] = n
	})
	return peers, err
}

// limit notes a session with more routes than it may have.
func (s *Speaker) limit(r row, n numbers) bool {
	for _, f := range fabric.Families {
		if r.session.MaxPrefixes > 0 && n.received.Get(f) > uint64(r.session.MaxPrefixes) {
			s.board.exceeds(r.session.Key, f)
			return true
		}
	}
	return false
}

func (s *Speaker) countSession(ctx context.Context, r row) (fabric.PerFamily[bgp.FamilyStatus], error) {
	var out fabric.PerFamily[bgp.FamilyStatus]
	for _, f := range fabric.Families {
		if !r.families.Get(f).Negotiated {
			continue
		}
		var c bgp.FamilyStatus
		err := s.eachReceived(ctx, r, f, func(p bgp.Path) {
			c.Received++
			if p.Rejected == "" {
				c.Accepted++
			} else {
				c.Rejected++
			}
			if p.Stale {
				c.Stale++
			}
		})
		if err != nil {
			return out, err
		}
		if c.Advertised, err = s.countAdvertised(ctx, r, f); err != nil {
			return out, err
		}
		out.Set(f, c)
	}
	return out, nil
}

// countAdvertised counts what a session is told. Where only our own routes can
// be, they are judged; else GoBGP must look at every route it has.
func (s *Speaker) countAdvertised(ctx context.Context, r row, f fabric.Family) (uint64, error) {
	if r.session.ClusterID.IsValid() || r.session.ReflectorClient || s.want.Global.Transit {
		paths, err := s.list(ctx, advertisedRequest(r.addr, f))
		return uint64(len(paths)), err
	}
	j, err := newJudge(r.session.Export)
	if err != nil {
		return 0, err
	}
	n := uint64(0)
	for _, a := range s.want.Announcements {
		if fabric.FamilyOf(a.Prefix.Addr()) != f {
			continue
		}
		path := bgp.Path{Prefix: a.Prefix.Masked(), Communities: a.Communities, LargeCommunities: a.LargeCommunities}
		if r.remoteASN != s.asnOf(r.session) {
			path.ASPath = []uint32{s.asnOf(r.session)}
		}
		if ok, _ := j.decide(path); ok {
			n++
		}
	}
	return n, nil
}
