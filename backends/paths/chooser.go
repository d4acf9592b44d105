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
	peers  map[fabric.NodeID]*[2]entry
	alarms alarms
	base   time.Time // moments are counted from here
	last   moment    // the newest that was seen
}

// moment is a time in nanoseconds since Chooser.base; 0: none.
type moment int64

// entry is one choice and what is remembered for its sake. There are twenty
// thousand of them in a large fabric: it is kept small.
type entry struct {
	current, next code
	why           why
	up            uint8 // ways that were Up at the last Choose, by code.bit
	known         bool  // there was a choice before
	ordered       bool  // the preference changed, and was not followed yet
	switches      uint32
	prefer        uint64 // names the preference of the last Choose
	since         moment // of current
	due           moment // when time alone may change the choice
	tracks        []track
}

// track is what is remembered of a way that was lost, or is waited for.
type track struct {
	bit    uint8
	losses uint8
	up     moment // since when it is Up
	lost   moment // the last time; 0: it was not
}

// New makes a Chooser that knows of nobody.
func New() *Chooser { return &Chooser{peers: make(map[fabric.NodeID]*[2]entry)} }

// Adopt says which way an earlier life of the agent left in place. It is what is
// used until there are reasons to leave it, as if it had been chosen; where
// there is a choice already, nothing happens.
func (c *Chooser) Adopt(k Key, p fabric.Path) {
	if e := c.entry(k); !e.known {
		e.known, e.current = true, encode(p)
	}
}

// Choose makes the choice for k. Prefer are the ways that may be used, best
// first; offers are all that there are, in any order. A way in use that is
// preferred no more is kept as long as it is offered and none that is preferred
// can be had.
func (c *Chooser) Choose(k Key, prefer []fabric.Path, offers []Offer, now time.Time) Choice {
	at := c.moment(now)
	e := c.entry(k)
	var list ways
	list.take(e, prefer, offers)
	e.order(list.name(), at)
	e.note(offers, list.bits(), at)
	to := list.at(e.current)
	if to < 0 || list.all[to].state != Up {
		to = list.best(e, at)
	}
	to = list.wait(e, to, at)
	e.enter(&list, to, at)
	if e.due != 0 {
		c.alarms.push(alarm{e.due, k})
	}
	return c.choice(e, &list)
}

// Last is the choice that Choose made last, or that was adopted, with the reason
// in fewer words.
func (c *Chooser) Last(k Key) (Choice, bool) {
	pair := c.peers[k.Peer]
	if pair == nil || !pair[half(k.Family)].known {
		return Choice{}, false
	}
	return c.choice(&pair[half(k.Family)], nil), true
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
		pair := c.peers[first.key.Peer]
		switch {
		case pair == nil || pair[half(first.key.Family)].due != first.at: // it was settled otherwise
		case first.at > at:
			return keys, c.time(first.at)
		default:
			pair[half(first.key.Family)].due = 0
			keys = append(keys, first.key)
		}
		c.alarms.pop()
	}
	return keys, time.Time{}
}

func (c *Chooser) entry(k Key) *entry {
	pair := c.peers[k.Peer]
	if pair == nil {
		pair = new([2]entry)
		c.peers[k.Peer] = pair
	}
	return &pair[half(k.Family)]
}

func half(f fabric.Family) int {
	if f == fabric.IPv4 {
		return 0
	}
	return 1
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
