package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weft-net/weft/fabric"
	"github.com/weft-net/weft/store"
)

// underway is the fabric while a migration is; a failure where there is none.
func underway(ctx context.Context, s *store.Store) (*fabric.Snapshot, error) {
	snap, err := s.View(ctx)
	switch {
	case err != nil:
		return nil, unreachable(err)
	case snap.Spec == nil || snap.Migration == nil:
		return nil, &failure{code: exitFailed, err: errors.New("no migration is under way"), hint: "one that is finished goes back by another one; see `weft migrate --help`"}
	}
	return snap, nil
}

// change changes the migration under way, and says in words where somebody has
// ended it meanwhile.
func change(ctx context.Context, s *store.Store, id string, how func(*fabric.Migration) error) error {
	err := s.ChangeMigration(ctx, id, how)
	if errors.Is(err, store.ErrNotFound) {
		return &failure{code: exitFailed, err: errors.New("somebody ended the migration meanwhile"), hint: "`weft migrate status`"}
	}
	return refused(err)
}

func (a *app) migratePauseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "pause [REASON...]", Short: "Stop a migration where it is", Args: cobra.ArbitraryArgs,
		Long: "Stop a migration where it is: no node moves a further peer, and none moves back.\nBoth ways stay open, for as long as it takes. The reason is shown to others.",
	}
	cmd.RunE = func(cmd *cobra.Command, given []string) error {
		return a.withStore(cmd.Context(), func(ctx context.Context, s *store.Store) error {
			snap, err := underway(ctx, s)
			if err != nil {
				return err
			}
			pause := &fabric.Pause{By: a.who(), Reason: strings.Join(given, " "), At: a.Now().UTC()}
			var before *fabric.Pause
			err = change(ctx, s, snap.Migration.ID, func(m *fabric.Migration) error {
				if before = m.Pause; before == nil {
					m.Pause = pause
				}
				return nil
			})
			switch {
			case err != nil:
				return err
			case before != nil:
				a.printf("paused already, %s\n", pauseReason(before))
			default:
				a.printf("paused; `weft migrate resume` goes on, `weft migrate undo` takes it back\n")
			}
			return nil
		})
	}
	return cmd
}

// turn is a command that lets a migration go on, and tells how it goes.
type turn struct {
	*cobra.Command
	note     func(m *fabric.Migration) string // what to say first; empty: nothing
	how      func(m *fabric.Migration)
	detached string // what to say instead of how it goes
}

func (a *app) migrateResumeCommand() *cobra.Command {
	return a.turnCommand(turn{
		Command: &cobra.Command{
			Use: "resume", Short: "Let a paused migration go on, and tell how it goes", Args: args(),
			Long: "Let a paused migration go on from where it is, in the direction that it had, and\ntell how it goes. What stopped it is looked at again first.",
		},
		note: func(m *fabric.Migration) string {
			if m.Pause == nil {
				return "it is not paused"
			}
			return ""
		},
		how:      func(m *fabric.Migration) { m.Pause = nil },
		detached: "it goes on; `weft migrate status --follow` tells how",
	})
}

func (a *app) migrateUndoCommand() *cobra.Command {
	return a.turnCommand(turn{
		Command: &cobra.Command{
			Use: "undo", Short: "Take a migration back, from wherever it is", Args: args(),
			Long: "Take a migration back, from wherever it is, also a paused one: the nodes move\ntheir peers back one after the other, with the same care, and nothing is left of\nit. One that is finished goes back by another migration.",
		},
		note: func(m *fabric.Migration) string {
			if m.Undo {
				return "it is being taken back already"
			}
			return ""
		},
		how:      func(m *fabric.Migration) { m.Undo, m.Pause = true, nil },
		detached: "it is taken back; `weft migrate status --follow` tells how",
	})
}

func (a *app) turnCommand(t turn) *cobra.Command {
	detach := t.Flags().Bool("detach", false, "return at once instead of telling how it goes")
	t.RunE = func(cmd *cobra.Command, _ []string) error {
		return a.withStoreFor(cmd.Context(), forever, func(ctx context.Context, s *store.Store) error {
			snap, err := underway(ctx, s)
			if err != nil {
				return err
			}
			m := *snap.Migration
			if note := t.note(&m); note != "" {
				fmt.Fprintln(a.Err, "note: "+note)
			}
			t.how(&m)
			if err := change(ctx, s, m.ID, func(m *fabric.Migration) error { t.how(m); return nil }); err != nil {
				return err
			}
			if *detach {
				a.printf("%s\n", t.detached)
				return nil
			}
			return a.follow(ctx, s, &m, story{checked: true})
		})
	}
	return t.Command
}
