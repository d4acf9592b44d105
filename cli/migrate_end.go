package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// over reports whether a migration that came out so does nothing any more.
func over(m *fabric.Migration, end ending) bool {
	return end == endRefused || end == endTurned || end == endReached && (m.DryRun || m.Undo)
}

// conclude says what a migration's end means and what can be done now.
func (a *app) conclude(snap *fabric.Snapshot, m *fabric.Migration, end ending) error {
	switch end {
	case endPaused:
		p := snap.Migration.Pause
		return &failure{code: exitFailed, err: fmt.Errorf("the migration is paused: %s", pauseReason(p)),
			hint: "`weft migrate resume` goes on from here, `weft migrate undo` takes it back"}
	case endRefused:
		if m.DryRun {
			a.printf("nothing was changed; not every node can go along\n")
			return answerNo()
		}
		return &failure{code: exitFailed, err: fmt.Errorf("nothing was moved: %s failed a check", count(len(snap.Progress().Waiting), "node", "nodes")),
			hint: "put that right and repeat this; with --dry-run it only looks"}
	case endTurned:
		return errors.New("somebody took the migration back meanwhile; every node sends the old way")
	case endGone:
		return a.concludeGone(snap, m)
	}
	switch {
	case m.DryRun:
		a.printf("nothing was changed; every node that takes part can go along\n")
	case !m.Undo:
		a.printf("%s", movedText(snap))
	}
	return nil
}

// concludeGone tells from the Fabric how a migration ended that somebody else
// has put an end to.
func (a *app) concludeGone(snap *fabric.Snapshot, m *fabric.Migration) error {
	done := snap.Spec.Plan().Equal(m.To) || m.Nodes != nil && len(snap.Spec.PathRules) > 0 && maps.Equal(snap.Spec.PathRules[0].Nodes, m.Nodes)
	switch {
	case done && !m.Undo:
		a.printf("finished  by somebody else: the fabric has the new plan\n")
		return nil
	case !done && (m.Undo || m.DryRun):
		a.printf("ended     by somebody else: the fabric has the old plan\n")
		return nil
	}
	return fmt.Errorf("somebody else ended the migration meanwhile; spec.backend is %s", snap.Spec.Backend)
}

// takeAway ends a migration that does nothing any more. That it stays is no
// harm: the next one takes its place.
func (a *app) takeAway(ctx context.Context, s *store.Store, snap *fabric.Snapshot) {
	err := s.FinishMigration(ctx, snap.Migration.ID, snap.Revision, nil)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		fmt.Fprintf(a.Err, "note: its record stays for now, and does nothing: %v\n", err)
	}
}

// movedText is what to do when all have moved.
func movedText(snap *fabric.Snapshot) string {
	var b strings.Builder
	b.WriteString("\nEvery node still receives the old way too, until you say otherwise:\n" +
		"  weft migrate finish   gives the old way up, for good\n" +
		"  weft migrate undo     takes all of it back\n")
	if n := len(snap.Unready()); n > 0 {
		fmt.Fprintf(&b, "Before it can be finished, %s must follow: see `weft migrate status`.\n", count(n, "node", "nodes"))
	}
	return b.String()
}

// pauseWords says who stopped it, where and why, and what that means.
func pauseWords(p *fabric.Pause, now time.Time) []string {
	out := []string{pauseReason(p)}
	if !p.At.IsZero() {
		out[0] = span(now.Sub(p.At)) + " ago, " + out[0]
	}
	out = append(out, "every node stays where it is: what has moved goes the new way, the rest the old")
	if p.Node != "" && p.Peer != "" {
		out = append(out, fmt.Sprintf("`weft peers %s` on %s shows what each way says", p.Peer, p.Node))
	}
	return out
}

// pauseReason is where it stopped and why, in one line.
func pauseReason(p *fabric.Pause) string {
	where := "by " + p.By
	switch {
	case p.Node != "" && p.Peer != "":
		where = fmt.Sprintf("on the way from %s to %s", p.Node, p.Peer)
	case p.Node != "":
		where = "by " + p.Node
	case p.By == "":
		where = "by an operator"
	}
	if p.Reason == "" {
		return where
	}
	return where + ": " + p.Reason
}
