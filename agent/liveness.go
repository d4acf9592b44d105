package agent

import (
	"context"
	"net/netip"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/fabric"
)

// An agent that is gone does not mean that its host is: it may be stopped,
// frozen or being upgraded while its data path works. Only a host that also
// answers none of a few echo requests counts as down.
const (
	probeTick  = 250 * time.Millisecond
	probesLost = 3  // unanswered in a row: down
	probeSlow  = 20 // ticks between probes of a host whose state is known
	probeRate  = 50 // per second at most, whatever the number of peers
)

// pinger sends echo requests and reports who answered. See icmp.go.
type pinger interface {
	send(to netip.Addr) error
	answers() <-chan netip.Addr
}

// suspect is a peer whose agent is gone.
type suspect struct {
	addr  netip.Addr
	lost  int // probes sent since the last answer
	wait  int // ticks until the next probe
	down  bool
	heard bool // it has answered since it became a suspect
}

// liveness decides which peers are down. All its state belongs to run.
type liveness struct {
	log      *logrus.Entry
	self     fabric.NodeID
	ping     pinger
	snapshot func() *fabric.Snapshot
	set      func(fabric.NodeID, bool)

	suspects map[fabric.NodeID]*suspect
	seen     *fabric.Snapshot // the last one followed
	budget   int              // probes left in this second
	ticks    int
}

func (l *liveness) run(ctx context.Context) error {
	l.suspects = map[fabric.NodeID]*suspect{}
	tick := time.NewTicker(probeTick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case from := <-l.ping.answers():
			l.heard(from)
		case <-tick.C:
			l.follow(l.snapshot())
			l.probe()
		}
	}
}

// follow keeps the suspects in step with the snapshot. A cached snapshot says
// nothing about who lives now, and a held peer's keys are gone for a reason
// that is not understood: neither makes a suspect.
func (l *liveness) follow(s *fabric.Snapshot) {
	if s == nil || s.Cached || s == l.seen {
		return
	}
	l.seen = s
	seen := 0
	for _, p := range s.Peers {
		if l.suspicious(p) {
			seen++
			l.suspect(p)
		}
	}
	if seen == len(l.suspects) {
		return
	}
	for id := range l.suspects {
		if p := s.Peer(id); p == nil || !l.suspicious(p) {
			l.clear(id)
		}
	}
}

func (l *liveness) suspicious(p *fabric.Peer) bool { return !p.Alive && !p.Held && p.ID != l.self }

// suspect begins to probe a peer, or begins anew where its address changed.
func (l *liveness) suspect(p *fabric.Peer) {
	addr := p.Underlay.IPv4
	if !addr.IsValid() {
		addr = p.Underlay.IPv6
	}
	if have := l.suspects[p.ID]; addr.IsValid() && (have == nil || have.addr != addr) {
		l.clear(p.ID)
		l.suspects[p.ID] = &suspect{addr: addr}
	}
}

// clear forgets a suspect: its agent is back, or it is no longer a node.
func (l *liveness) clear(id fabric.NodeID) {
	if s := l.suspects[id]; s != nil && s.down {
		l.say(id, false)
	}
	delete(l.suspects, id)
}

func (l *liveness) say(id fabric.NodeID, down bool) {
	if down {
		l.log.WithField("peer", id).Warn("peer is down: its agent is gone and its host answers no probe")
	} else {
		l.log.WithField("peer", id).Info("peer is back")
	}
	l.set(id, down)
}

// probe sends what is due. Map order spreads a short budget fairly.
func (l *liveness) probe() {
	perSecond := int(time.Second / probeTick)
	if l.ticks%perSecond == 0 {
		l.budget = probeRate
	}
	l.ticks++
	for id, s := range l.suspects {
		if s.wait > 0 {
			s.wait--
			continue
		}
		if s.lost >= probesLost && !s.down {
			s.down = true
			l.say(id, true)
		}
		if l.budget == 0 {
			continue
		}
		l.budget--
		if l.ping.send(s.addr) != nil {
			continue // nothing was asked, so silence means nothing
		}
		s.lost++
		if s.down || s.heard && s.lost == 1 {
			s.wait = probeSlow
		}
	}
}

// heard takes an answer from an address.
func (l *liveness) heard(from netip.Addr) {
	for id, s := range l.suspects {
		if s.addr != from {
			continue
		}
		s.lost, s.heard = 0, true
		if s.down {
			s.down = false
			l.say(id, false)
		}
	}
}
