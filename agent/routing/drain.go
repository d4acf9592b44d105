package routing

import (
	"time"

	"github.com/weft-net/weft/fabric"
)

const (
	// grace is how long routes are told with the graceful-shutdown community
	// before they are withdrawn: neighbours have moved to other ways by then
	// (RFC 8326, section 4).
	grace = 5 * time.Second
	// quietAfter is how long no packet must have come before traffic counts
	// as gone.
	quietAfter = 5 * time.Second
)

// stage is how far routes are on their way out.
type stage uint8

const (
	staying   stage = iota
	leaving         // told with the graceful-shutdown community
	withdrawn       // no longer told
	quiet           // and nobody sends any more
)

// words are the states of a fabric.Drain.
func (s stage) String() string { return [...]string{"", "leaving", "withdrawn", "quiet"}[s] }

// drain takes the extra prefixes of a node out of routing, one stage after the
// other, for as long as an operator's record asks for it.
type drain struct {
	record  time.Time // Since of the record that is being followed
	stage   stage
	entered time.Time
	packets uint64    // seen so far
	last    time.Time // when one was seen last
}

// follow takes the record, nil for none. A record that an earlier life of the
// agent had worked on is taken up where that life was: what was withdrawn must
// not come back for a restart.
func (d *drain) follow(rec *fabric.Drain, now time.Time) stage {
	switch {
	case rec == nil:
		*d = drain{}
		return staying
	case d.stage == staying || !rec.Since.Equal(d.record):
		*d = drain{record: rec.Since}
		first := leaving
		if rec.State == withdrawn.String() || rec.State == quiet.String() {
			first = withdrawn
		}
		d.enter(first, now)
	case d.stage == leaving && now.Sub(d.entered) >= grace:
		d.enter(withdrawn, now)
	}
	return d.stage
}

func (d *drain) enter(s stage, now time.Time) { d.stage, d.entered = s, now }

// heard takes the number of packets that came for the prefixes so far.
func (d *drain) heard(packets uint64, now time.Time) {
	if d.stage < withdrawn {
		return
	}
	if packets != d.packets {
		d.packets, d.last = packets, now
		d.stage = withdrawn
	}
	if since := later(d.last, d.entered); d.stage == withdrawn && now.Sub(since) >= quietAfter {
		d.stage = quiet
	}
}

// restart says that packets are counted from now on.
func (d *drain) restart(now time.Time) {
	d.packets, d.last = 0, now
	d.stage = min(d.stage, withdrawn)
}

// nothing says that this node has nothing that could leave.
func (d *drain) nothing() {
	if d.stage != staying {
		d.stage = quiet
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
