package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// migrationState is what `weft migrate status -o json` shows.
type migrationState struct {
	Migration *fabric.Migration `json:"migration"` // null: none is under way
	Phase     string            `json:"phase,omitempty"`
	Waiting   []string          `json:"waiting,omitempty"`
	Left      map[string]string `json:"left,omitempty"`    // why they take no part, by name
	Unready   map[string]string `json:"unready,omitempty"` // what is in the way of its finish, by name
	// Nodes and peers as the people's form counts them.
	NodesMoved int                               `json:"nodesMoved"`
	Nodes      int                               `json:"nodes"`
	PeersMoved int                               `json:"peersMoved"`
	Peers      int                               `json:"peers"`
	Reports    map[string]fabric.MigrationReport `json:"reports,omitempty"`
}

func stateOf(snap *fabric.Snapshot) migrationState {
	if snap.Migration == nil {
		return migrationState{}
	}
	t := tallyOf(snap)
	unready := map[string]string{}
	for _, u := range snap.Unready() {
		unready[u.Node] = u.Reason
	}
	return migrationState{
		Migration: snap.Migration, Phase: t.Phase, Waiting: t.Waiting, Left: t.why, Unready: unready,
		NodesMoved: t.done, Nodes: t.movers, PeersMoved: t.peersDone, Peers: t.peersAll, Reports: snap.Reports,
	}
}

func (a *app) migrateStatusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "status", Short: "Show how far a migration is, and who it waits for", Args: args(),
		Long: "Show how far a migration is, on every node, and who it waits for. Exits with 3\nwhile it is paused or refused. --follow goes on to tell how it goes, as the\ncommand does that began it.",
	}
	f := formFlag(cmd)
	follow := cmd.Flags().Bool("follow", false, "tell how it goes until it is through")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withStoreFor(cmd.Context(), forever, func(ctx context.Context, s *store.Store) error {
			snap, err := s.View(ctx)
			if err != nil {
				return unreachable(err)
			}
			table := *f == formTable || *f == formWide
			switch m := snap.Migration; {
			case !table:
				err = a.print(*f, stateOf(snap), nil)
			case m == nil:
				a.printf("no migration is under way\n")
			case *follow:
				a.printf("%s", beginningText(m))
				return a.follow(ctx, s, m, story{checked: snap.Progress().Phase != fabric.PhaseChecking, watched: true})
			default:
				a.printf("%s", migrationText(snap, a.Now(), *f == formWide))
			}
			if m := snap.Migration; err == nil && m != nil && (m.Pause != nil || snap.Progress().Phase == fabric.PhaseRefused) {
				return answerNo()
			}
			return err
		})
	}
	return cmd
}

// migrationText is how far a migration is: in words, and node by node.
func migrationText(snap *fabric.Snapshot, now time.Time, wide bool) string {
	m, t := snap.Migration, tallyOf(snap)
	var b strings.Builder
	b.WriteString(beginningText(m))
	say := sayer(&b, wide)
	say("begun", fmt.Sprintf("%s ago by %s", span(now.Sub(m.Created)), cmp.Or(m.By, "somebody")))
	say("phase", phaseWords(t, now))
	if m.Pause != nil {
		say("paused", pauseWords(m.Pause, now)...)
	}
	if m.Pause == nil {
		say("waits", t.waitWords(now)...)
	}
	told := story{}
	told.tellLeft(t, say)
	for _, x := range findings(snap) {
		say(x.margin(), x.words())
	}
	b.WriteString("\n" + reportsTable(t, wide).String())
	if t.Phase == fabric.PhaseMoved && m.Pause == nil {
		b.WriteString(movedText(snap))
		for _, u := range snap.Unready() {
			fmt.Fprintf(&b, "  %s: %s\n", u.Node, u.Reason)
		}
	}
	return b.String()
}

// phaseWords is the phase and how far it is.
func phaseWords(t tally, now time.Time) string {
	s := story{since: now, first: t.peersDone}
	words := t.Phase
	switch _, line := s.line(t, now); {
	case line != "":
		line, _, _ = strings.Cut(line, "; waits")
		words += ": " + line
	case t.Phase == fabric.PhaseRefused:
		words += ": nothing moves, a check failed"
	case t.Phase == fabric.PhaseMoved:
		words += ": every node sends the new way"
	case t.Phase == fabric.PhaseUndone:
		words += ": every node sends the old way"
	}
	return words
}

func reportsTable(t tally, wide bool) *table {
	tab := newTable(wide, "NODE…", "STATE", "PEERS", "SAYS…")
	for _, p := range byName(t.snap.Peers) {
		r := t.snap.Report(p.Name)
		peers := "-"
		if r.Total > 0 || r.Moved > 0 {
			peers = fmt.Sprintf("%d/%d", r.Moved, max(r.Total, r.Moved))
		}
		says := cmp.Or(t.why[p.Name], t.checkTrouble(r), r.Reason)
		tab.add(p.Name, reportState(t, p, r), peers, says)
	}
	return tab
}

// reportState is how far a node is, in a word.
func reportState(t tally, p *fabric.Peer, r fabric.MigrationReport) string {
	_, left := t.why[p.Name]
	switch {
	case left && r.Cursor == "" && !r.Done:
		return "left out"
	case r.Moving:
		return "moving"
	case r.Done:
		return "moved"
	case r.Cursor != "":
		return "partly"
	case r.Armed:
		return "armed"
	case len(r.Failed()) > 0:
		return "refused"
	case len(r.Checks) > 0:
		return "checked"
	}
	return "asked"
}
