package paths

import (
	"time"

	"github.com/weft-net/weft/fabric"
)

// How a way is trusted again. One that was lost must have been there for Stable
// before it is gone back to, twice as long after each further loss, up to
// MostStable; losses are forgotten when none came for Forgotten. One by which no
// probe was answered yet is gone to after Patience: there need not be probes.
const (
	Stable     = 5 * time.Second
	MostStable = 2 * time.Minute
	Forgotten  = 10 * time.Minute
	Patience   = 10 * time.Second
)

// Chooser holds the choices for all peers. Time is what its callers say it is,
// and never runs backwards.
type Chooser struct {
	peers  map[fabric.NodeID]entries
	alarms alarms
	base   time.Time // moments are counted from here
	last   moment    // the newest that was seen
}

// moment is a time in nanoseconds since Chooser.base; 0: none.
type moment int64

// entries are those of a peer; nil: of that family there is none.
type entries struct{ ipv4, ipv6 *entry }

func (e *entries) of(f fabric.Family) **entry {
	if f == fabric.IPv6 {
		return &e.ipv6
	}
	return &e.ipv4
}

// entry is one choice and what is remembered for its sake. There are twenty
// thousand of them in a large fabric: it is kept small.
type entry struct {
	current, next code
	why           why
	up            uint8 // ways that were Up at the last Choose, by code.bit
	known         bool  // there was a choice before
	ordered       bool  // the preference changed, and was not followed yet
	switches      uint32
	prefer        uint64   // names the preference of the last Choose
	since         moment   // of current
	due           moment   // when time alone may change the choice
	tracks        *[]track // nil: nothing is
}

// track is what is remembered of a way that was lost, or is waited for.
type track struct {
	bit    uint8
	losses uint8
	up     moment // since when it is Up
	lost   moment // the last time; 0: it was not
}

// Expect makes room for the choices for that many peers, where there are none
// yet.
func (c *Chooser) Expect(peers int) {
	if len(c.peers) == 0 {
		c.peers = make(map[fabric.NodeID]entries, peers)
	}
}

// New makes a Chooser that knows of nobody.
func New() *Chooser { return &Chooser{peers: make(map[fabric.NodeID]entries)} }

// Adopt says which way an earlier life of the agent left in place. It is what is
// used until there are reasons to leave it, as if it had been chosen; where
// there is a choice already, nothing happens.
func (c *Chooser) Adopt(k Key, p fabric.Path) {
	if e := c.entry(k); !e.known {
		e.known, e.current = true, encode(p)
	}
}

// Choose makes the choice for k and says why. See Decide.
func (c *Chooser) Choose(k Key, prefer []fabric.Path, offers []Offer, now time.Time) Choice {
	var list ways
	return c.choice(c.decide(&list, k, prefer, offers, now), &list)
}

// Decide makes the choice for k: the way to use, and Choice.Next. Prefer are the ways that may be used, best
// first; offers are all that there are, in any order. A way in use that is
// preferred no more is kept as long as it is offered and none that is preferred
// can be had.
func (c *Chooser) Decide(k Key, prefer []fabric.Path, offers []Offer, now time.Time) (use, next fabric.Path) {
	var list ways
	e := c.decide(&list, k, prefer, offers, now)
	return e.current.path(), e.next.path()
}

func (c *Chooser) decide(list *ways, k Key, prefer []fabric.Path, offers []Offer, now time.Time) *entry {
	at := c.moment(now)
	e := c.entry(k)
	list.take(e, prefer, offers)
	e.order(list.name(), at)
	e.note(offers, list.bits(), at)
	to := list.at(e.current)
	if to < 0 || list.all[to].state != Up {
		to = list.best(e, at)
	}
	to = list.wait(e, to, at)
	e.enter(list, to, at)
	if e.due != 0 {
		c.alarms.push(alarm{e.due, k})
	}
	return e
}

// Last is the choice that Choose made last, or that was adopted, with the reason
// in fewer words.
func (c *Chooser) Last(k Key) (Choice, bool) {
	e := c.find(k)
	if e == nil || !e.known {
		return Choice{}, false
	}
	return c.choice(e, nil), true
}

// Forget ends what is known of a node, both families.
func (c *Chooser) Forget(id fabric.NodeID) { delete(c.peers, id) }

// Due gives the keys for which Choose must be called again because time has
// passed, each once, and when it must be asked again: zero if not before another
// Choose.
func (c *Chooser) Due(now time.Time) (keys []Key, next time.Time) {
	at := c.moment(now)
	for len(c.alarms) > 0 {
		first := c.alarms[0]
		e := c.find(first.key)
		switch {
		case e == nil || e.due != first.at: // it was settled otherwise
		case first.at > at:
			return keys, c.time(first.at)
		default:
			e.due = 0
			keys = append(keys, first.key)
		}
		c.alarms.pop()
	}
	return keys, time.Time{}
}

// find is what is remembered for k, or nil.
func (c *Chooser) find(k Key) *entry {
	both := c.peers[k.Peer]
	return *both.of(k.Family)
}

func (c *Chooser) entry(k Key) *entry {
	both := c.peers[k.Peer]
	e := both.of(k.Family)
	if *e == nil {
		*e = new(entry)
		c.peers[k.Peer] = both
	}
	return *e
}

func (c *Chooser) moment(now time.Time) moment {
	if c.base.IsZero() {
		c.base = now.Add(-time.Second)
	}
	c.last = max(c.last, moment(now.Sub(c.base)))
	return c.last
}

func (c *Chooser) time(m moment) time.Time {
	if m == 0 {
		return time.Time{}
	}
	return c.base.Add(time.Duration(m))
}

func (c *Chooser) choice(e *entry, list *ways) Choice {
	return Choice{
		Path: e.current.path(), Next: e.next.path(), Reason: e.words(list),
		Since: c.time(e.since), Switches: int(e.switches),
	}
}
