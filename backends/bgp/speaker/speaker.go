package speaker

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	gobgp "github.com/osrg/gobgp/v4/pkg/server"
	"github.com/sirupsen/logrus"

	"github.com/weft-net/weft/backends/bgp"
	"github.com/weft-net/weft/fabric"
)

// ErrEnded is what calls get after Detach or Shutdown.
var ErrEnded = errors.New("the speaker was ended")

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
	log   *logrus.Entry
	kick  func()
	board *board
	rib   *rib
	links *links
	woken chan struct{} // one slot: the tending goroutine has something to do
	life  atomic.Uint32 // of the server; events of an earlier one are not heard
	// synced is sticky; it is read without mu.
	synced [2]atomic.Bool // by the index in fabric.Families

	// mu guards all below. It is held over calls of GoBGP, so GoBGP's callbacks
	// must not take it.
	mu        sync.Mutex
	want      bgp.Desired
	server    *server // nil while none runs
	ended     bool
	sessions  map[string]*session
	ranges    map[netip.Prefix]*session // applied templates
	announced map[netip.Prefix]bgp.Announcement
	policies  string            // signature of those in force
	keys      map[string]string // of each far end's import and export rules in force
	stations  map[string]netip.AddrPort
	pending   bool                 // something is left to do: converge again soon
	penalties map[string]time.Time // until when sessions stay down
	reopen    map[string]row       // sessions that were closed to be opened again
	census    census
	stopTend  context.CancelFunc
	tending   sync.WaitGroup
}

// server is one life of GoBGP.
type server struct {
	*gobgp.BgpServer
	global  bgp.Global
	started time.Time
	unwatch context.CancelFunc
	closing *atomic.Bool // its complaints are of no interest any more
	served  chan struct{}
	swept   bool // what an earlier life told was dropped
}

// session is what GoBGP was told of one session.
type session struct {
	applied wire
	addr    netip.Addr
}

// New makes a speaker that does nothing yet.
func New(o Options) *Speaker {
	if o.Kick == nil {
		o.Kick = func() {}
	}
	if o.Log == nil {
		o.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	s := &Speaker{
		log: o.Log, kick: o.Kick, board: newBoard(), rib: newRIB(), woken: make(chan struct{}, 1),
		sessions: map[string]*session{}, ranges: map[netip.Prefix]*session{}, announced: map[netip.Prefix]bgp.Announcement{},
		keys: map[string]string{}, stations: map[string]netip.AddrPort{}, penalties: map[string]time.Time{}, reopen: map[string]row{},
	}
	s.links = newLinks(s.wake)
	return s
}

// Set makes the speaker do what d says and changes only what differs from what
// it does. A session that cannot be configured costs only itself: the reason is
// in its status, and it is tried again. An error concerns the speaker as a whole
// (the port is taken, the router id is none); the next Set tries again.
func (s *Speaker) Set(ctx context.Context, d bgp.Desired) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return ErrEnded
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	s.want = d
	if s.stopTend == nil {
		tendCtx, stop := context.WithCancel(context.Background())
		s.stopTend = stop
		s.tending.Add(1)
		go func() {
			defer s.tending.Done()
			s.tend(tendCtx)
		}()
	}
	return s.converge(ctx)
}

// Take hands out what changed since the last call, at most `most` prefixes:
// the whole set of next hops for each, newest only. More says that further
// changes wait.
func (s *Speaker) Take(most int) (changes []bgp.Change, more bool) { return s.rib.take(most) }

// Again makes Take hand out all that was learnt anew, for a caller that begins
// with nothing.
func (s *Speaker) Again() {
	if s.rib.again() {
		s.kick()
	}
}

// Synced reports whether the peers have told all of a family: at least one
// session is established, each of those that are has sent end-of-RIB, and all
// others had the restart time since they were configured to come up. Once true
// it stays true.
func (s *Speaker) Synced(f fabric.Family) bool {
	return s.synced[familyIndex(f)].Load()
}

func familyIndex(f fabric.Family) int {
	if f == fabric.Families[0] {
		return 0
	}
	return 1
}

// Sessions are the states of all sessions, sorted by key. It is cheap: the
// counts of routes are those of the last census, some seconds ago while routes
// change.
func (s *Speaker) Sessions() []bgp.SessionStatus { return s.board.statuses() }

// Detach ends the speaker without a word: the connections end with the process,
// as in a crash, and the peers keep our routes for the restart time. For a
// restart or an upgrade; the process must end then. GoBGP is left running until
// it does, as stopping it would withdraw at a reflector's clients what the
// other clients told.
func (s *Speaker) Detach() { s.end() }

// end stops what is the speaker's own.
func (s *Speaker) end() (first bool) {
	s.mu.Lock()
	first = !s.ended
	s.ended = true
	stop := s.stopTend
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	s.tending.Wait()
	s.links.stop()
	return first
}

func (s *Speaker) wake() {
	select {
	case s.woken <- struct{}{}:
	default:
	}
}
