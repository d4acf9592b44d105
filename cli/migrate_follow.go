package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

const (
	// followPoll is how often a follower looks. A fabric is one range read, and
	// where that takes longer it looks less often: followShare times as long
	// passes in between.
	followPoll  = 500 * time.Millisecond
	followShare = 20
	followRead  = 5 * time.Second // of one look
)

// follower tells how a migration goes, until it comes to an end or the operator
// has seen enough. It changes nothing: the nodes go on by themselves.
type follower struct {
	a     *app
	store *store.Store
	id    string
	story story

	onScreen bool // there is a line on the screen that is written over
	word     string
	line     string // as it was last said
	saidAt   time.Time
	away     bool // etcd, and that was said
}

// follow returns the last snapshot and how the migration came out. The error is
// the context's.
func (f *follower) follow(ctx context.Context) (*fabric.Snapshot, ending, error) {
	defer f.wipe()
	for {
		began := time.Now()
		snap, err := f.look(ctx)
		if ctx.Err() != nil {
			return nil, endNone, ctx.Err()
		}
		f.connection(err)
		if err == nil {
			if snap.Migration == nil || snap.Migration.ID != f.id {
				return snap, endGone, nil
			}
			c := f.story.tell(snap, f.a.Now())
			f.show(c)
			if c.end != endNone {
				return snap, c.end, nil
			}
		}
		select {
		case <-ctx.Done():
			return nil, endNone, ctx.Err()
		case <-time.After(max(followPoll, followShare*time.Since(began))):
		}
	}
}

// errNoFabric says that etcd answers, but not with a fabric.
var errNoFabric = errors.New("etcd holds no Fabric object: was it wiped?")

func (f *follower) look(ctx context.Context) (*fabric.Snapshot, error) {
	ctx, cancel := context.WithTimeout(ctx, followRead)
	defer cancel()
	snap, err := f.store.View(ctx)
	if err == nil && snap.Spec == nil {
		err = errNoFabric // a record that is missing there ends nothing
	}
	return snap, err
}

// connection says once that etcd is away, and once that it is back.
func (f *follower) connection(err error) {
	switch {
	case err != nil && !f.away:
		f.wipe()
		fmt.Fprintf(f.a.Err, "note: %v; traffic flows on, nothing more moves until it is back; still trying\n", err)
	case err == nil && f.away:
		f.wipe()
		fmt.Fprintln(f.a.Err, "note: etcd answers again")
	}
	f.away = err != nil
}

// show prints what is new. On a terminal the last line is written over; into a
// file it is said now and then.
func (f *follower) show(c chapter) {
	if c.text != "" {
		f.wipe()
		f.a.printf("%s", c.text)
	}
	now := f.a.Now()
	switch {
	case c.line == "" || c.end != endNone:
		f.wipe()
	case f.a.Interactive:
		f.a.printf("\r%s\x1b[K", shorten(fmt.Sprintf("%-*s%s", margin, c.what, c.line), screen-1))
		f.onScreen = true
	case c.what != f.word || c.line != f.line && now.Sub(f.saidAt) >= sayEvery:
		sayer(f.a.Out, false)(c.what, c.line)
		f.word, f.line, f.saidAt = c.what, c.line, now
	}
}

// wipe clears the line that is written over.
func (f *follower) wipe() {
	if f.onScreen {
		f.a.printf("\r\x1b[K")
		f.onScreen = false
	}
}
